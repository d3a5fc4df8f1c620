//! Logins, tokens and permissions.

use std::time::Instant;

use quorate_etcd_api::pb::authpb;
use quorate_etcd_api::pb::etcdserverpb as pb;
use tonic::Code;

use crate::support::{Login, Node, ROOT_PASSWORD, SDK_PASSWORD, authenticate};

fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn check<T: std::fmt::Debug>(result: Result<T, tonic::Status>, code: Code, text: &str) {
    let status = result.expect_err("refused");
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test]
async fn every_call_needs_a_good_token() {
    let node = Node::start().await;
    let channel = node.channel().await;
    let mut nobody = Login::new(channel.clone(), None);
    let empty = "etcdserver: user name is empty";
    check(nobody.kv.range(get("k")).await, Code::InvalidArgument, empty);
    check(
        nobody
            .kv
            .put(pb::PutRequest {
                key: "k".into(),
                ..Default::default()
            })
            .await,
        Code::InvalidArgument,
        empty,
    );
    check(
        nobody.kv.compact(pb::CompactionRequest::default()).await,
        Code::InvalidArgument,
        empty,
    );
    check(
        nobody.lease.lease_grant(pb::LeaseGrantRequest { ttl: 9, id: 0 }).await,
        Code::InvalidArgument,
        empty,
    );
    check(
        nobody.cluster.member_list(pb::MemberListRequest::default()).await,
        Code::InvalidArgument,
        empty,
    );
    check(
        nobody.maintenance.alarm(pb::AlarmRequest::default()).await,
        Code::InvalidArgument,
        empty,
    );
    let mut forger = Login::new(channel.clone(), Some("forged"));
    check(
        forger.kv.range(get("k")).await,
        Code::Unauthenticated,
        "etcdserver: invalid auth token",
    );
    let failed = "etcdserver: authentication failed, invalid user ID or password";
    check(
        authenticate(channel.clone(), "root", "wrong").await,
        Code::InvalidArgument,
        failed,
    );
    check(
        authenticate(channel, "nobody", "x").await,
        Code::InvalidArgument,
        failed,
    );
}

#[tokio::test]
async fn a_token_may_stand_behind_bearer_in_authorization() {
    let node = Node::start().await;
    let channel = node.channel().await;
    let token = authenticate(channel.clone(), "root", ROOT_PASSWORD)
        .await
        .expect("login");
    let mut request = tonic::Request::new(get("k"));
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    pb::kv_client::KvClient::new(channel)
        .range(request)
        .await
        .expect("allowed");
}

#[tokio::test]
async fn the_sdk_user_reads_its_tree_and_nothing_else() {
    let node = Node::start().await;
    let mut sdk = node.login("mas", SDK_PASSWORD).await;
    sdk.kv.range(get("/mas-monitor/x")).await.expect("allowed");
    let denied = "etcdserver: permission denied";
    check(sdk.kv.range(get("/other")).await, Code::PermissionDenied, denied);
    check(
        sdk.kv
            .put(pb::PutRequest {
                key: "/mas-monitor/x".into(),
                ..Default::default()
            })
            .await,
        Code::PermissionDenied,
        denied,
    );
    check(
        sdk.auth.user_list(pb::AuthUserListRequest {}).await,
        Code::PermissionDenied,
        denied,
    );
    let own = sdk
        .auth
        .user_get(pb::AuthUserGetRequest { name: "mas".to_owned() })
        .await
        .expect("own user");
    assert_eq!(own.into_inner().roles, ["mas"]);
}

#[tokio::test]
async fn users_and_roles_are_managed_and_old_tokens_end() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let user = pb::AuthUserAddRequest {
        name: "alice".to_owned(),
        password: "one".to_owned(),
        ..Default::default()
    };
    root.auth.user_add(user).await.expect("user");
    root.auth
        .role_add(pb::AuthRoleAddRequest {
            name: "orders".to_owned(),
        })
        .await
        .expect("role");
    let perm = authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite as i32,
        key: "orders/".into(),
        range_end: "orders0".into(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest {
        name: "orders".to_owned(),
        perm: Some(perm.clone()),
    };
    root.auth.role_grant_permission(grant).await.expect("permission");
    let mut alice = node.login("alice", "one").await;
    let put = pb::PutRequest {
        key: "orders/1".into(),
        ..Default::default()
    };
    check(
        alice.kv.put(put.clone()).await,
        Code::PermissionDenied,
        "etcdserver: permission denied",
    );
    let grant = pb::AuthUserGrantRoleRequest {
        user: "alice".to_owned(),
        role: "orders".to_owned(),
    };
    root.auth.user_grant_role(grant).await.expect("grant");
    alice
        .kv
        .put(put.clone())
        .await
        .expect("the same token carries the new role");
    let role = alice
        .auth
        .role_get(pb::AuthRoleGetRequest {
            role: "orders".to_owned(),
        })
        .await
        .expect("own role");
    assert_eq!(role.into_inner().perm, [perm]);
    let change = pb::AuthUserChangePasswordRequest {
        name: "alice".to_owned(),
        password: "two".to_owned(),
        ..Default::default()
    };
    root.auth.user_change_password(change).await.expect("changed");
    check(
        alice.kv.put(put).await,
        Code::Unauthenticated,
        "etcdserver: invalid auth token",
    );
    let channel = node.channel().await;
    assert!(
        authenticate(channel.clone(), "alice", "one").await.is_err(),
        "the cache forgets the old password"
    );
    authenticate(channel, "alice", "two").await.expect("new password");
    let status = root
        .auth
        .auth_status(pb::AuthStatusRequest {})
        .await
        .expect("status")
        .into_inner();
    assert!(status.enabled);
}

#[tokio::test]
async fn without_authentication_tokens_do_not_matter() {
    let node = Node::start().await;
    let mut root = node.root().await;
    root.auth
        .auth_disable(pb::AuthDisableRequest {})
        .await
        .expect("disabled");
    let channel = node.channel().await;
    let mut nobody = Login::new(channel.clone(), Some("forged"));
    nobody.put("k", "v").await;
    check(
        authenticate(channel, "root", ROOT_PASSWORD).await,
        Code::FailedPrecondition,
        "etcdserver: authentication is not enabled",
    );
    nobody
        .auth
        .auth_enable(pb::AuthEnableRequest {})
        .await
        .expect("enabled");
    assert!(nobody.kv.range(get("k")).await.is_err());
}

#[tokio::test]
async fn a_repeated_login_is_fast() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let user = pb::AuthUserAddRequest {
        name: "bob".to_owned(),
        password: "pw".to_owned(),
        ..Default::default()
    };
    root.auth.user_add(user).await.expect("user with a hash of full cost");
    let channel = node.channel().await;
    authenticate(channel.clone(), "bob", "pw").await.expect("first login");
    let start = Instant::now();
    for _ in 0..20 {
        authenticate(channel.clone(), "bob", "pw").await.expect("login");
    }
    // Twenty full bcrypt checks would take more than a second.
    assert!(start.elapsed().as_millis() < 800, "{:?}", start.elapsed());
}

#[tokio::test]
async fn passwords_that_bcrypt_would_cut_and_hashes_that_take_hours_are_refused() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let add = |password: String, hashed_password: String| pb::AuthUserAddRequest {
        name: "ann".to_owned(),
        password,
        hashed_password,
        ..Default::default()
    };
    let change = |hashed_password: String| pb::AuthUserChangePasswordRequest {
        name: "ann".to_owned(),
        hashed_password,
        ..Default::default()
    };
    let refused = root.auth.user_add(add("a".repeat(73), String::new())).await;
    check(refused, Code::Unknown, "bcrypt: password length exceeds 72 bytes");
    let hash = bcrypt::hash("secret", 4).expect("hash");
    let encode = |hash: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
    root.auth
        .user_add(add("a".repeat(72), encode(&hash)))
        .await
        .expect("the longest password, and a hash that does not count");
    let channel = node.channel().await;
    authenticate(channel.clone(), "ann", &"a".repeat(72))
        .await
        .expect("login");
    assert!(authenticate(channel.clone(), "ann", "secret").await.is_err());
    for bad in ["not a hash", &hash.replacen("$04$", "$31$", 1)] {
        let refused = root.auth.user_change_password(change(encode(bad))).await;
        check(
            refused,
            Code::InvalidArgument,
            "quorate: hashedPassword is no bcrypt hash of a cost up to 14",
        );
    }
    root.auth
        .user_change_password(change(encode(&hash)))
        .await
        .expect("a good hash");
    authenticate(channel, "ann", "secret").await.expect("login");
}
