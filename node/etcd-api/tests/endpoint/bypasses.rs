//! Ways around permissions that were found in etcd in 2026, and calls that must not answer strangers.

use quorate_etcd_api::pb::authpb;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_etcd_api::pb::etcdserverpb::request_op::Request as Op;
use quorate_etcd_api::pb::v3electionpb;
use tonic::{Code, Status};

use crate::support::{Login, Node};

/// A user that reads and writes `a/`, only writes `w/`, only reads `r/`; `secret` and lease 5, which holds it, are root's.
async fn alice(node: &Node) -> (Login, Login) {
    let mut root = node.root().await;
    let add = pb::AuthUserAddRequest {
        name: "alice".to_owned(),
        password: "pw".to_owned(),
        ..Default::default()
    };
    root.auth.user_add(add).await.expect("user");
    root.auth
        .role_add(pb::AuthRoleAddRequest {
            name: "some".to_owned(),
        })
        .await
        .expect("role");
    use authpb::permission::Type;
    for (kind, key, end) in [
        (Type::Readwrite, "a/", "a0"),
        (Type::Write, "w/", "w0"),
        (Type::Read, "r/", "r0"),
    ] {
        let perm = authpb::Permission {
            perm_type: kind as i32,
            key: key.into(),
            range_end: end.into(),
        };
        let grant = pb::AuthRoleGrantPermissionRequest {
            name: "some".to_owned(),
            perm: Some(perm),
        };
        root.auth.role_grant_permission(grant).await.expect("permission");
    }
    let grant = pb::AuthUserGrantRoleRequest {
        user: "alice".to_owned(),
        role: "some".to_owned(),
    };
    root.auth.user_grant_role(grant).await.expect("role of the user");
    root.lease
        .lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 5 })
        .await
        .expect("lease");
    let secret = pb::PutRequest {
        key: "secret".into(),
        value: "s".into(),
        lease: 5,
        ..Default::default()
    };
    root.kv.put(secret).await.expect("secret");
    root.put("w/1", "old").await;
    let alice = node.login("alice", "pw").await;
    (root, alice)
}

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        ..Default::default()
    }
}

fn range(key: &str, end: &[u8]) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_vec().into(),
        ..Default::default()
    }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// The operation in every place that a transaction has for it.
fn everywhere(request: Op) -> Vec<pb::TxnRequest> {
    let success = pb::TxnRequest {
        success: vec![op(request.clone())],
        ..Default::default()
    };
    let failure = pb::TxnRequest {
        failure: vec![op(request)],
        ..Default::default()
    };
    let nest = |inner: &pb::TxnRequest| Op::RequestTxn(inner.clone());
    let mut all = Vec::new();
    for inner in [&success, &failure] {
        all.push(pb::TxnRequest {
            success: vec![op(nest(inner))],
            ..Default::default()
        });
        all.push(pb::TxnRequest {
            failure: vec![op(nest(inner))],
            ..Default::default()
        });
    }
    let twice = pb::TxnRequest {
        failure: vec![op(nest(&all[3]))],
        ..Default::default()
    };
    all.extend([success, failure, twice]);
    all
}

#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, Status>, what: &str) {
    let status = result.expect_err(what);
    let found = (status.code(), status.message());
    assert_eq!(
        found,
        (Code::PermissionDenied, "etcdserver: permission denied"),
        "{what}"
    );
}

#[tokio::test]
async fn transactions_are_checked_in_both_branches_and_however_deep() {
    let node = Node::start().await;
    let (mut root, mut alice) = alice(&node).await;
    let prev = pb::PutRequest {
        prev_kv: true,
        ..put("w/1")
    };
    let leased = pb::PutRequest { lease: 5, ..put("a/1") };
    let delete = |key: &str, prev_kv| pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        prev_kv,
        ..Default::default()
    };
    let forbidden = [
        ("a put elsewhere", Op::RequestPut(put("secret"))),
        ("a put on what may be read", Op::RequestPut(put("r/1"))),
        ("a put that shows the old value", Op::RequestPut(prev.clone())),
        ("a put with the lease of another's key", Op::RequestPut(leased.clone())),
        ("a read elsewhere", Op::RequestRange(range("secret", b""))),
        ("a read of what may be written", Op::RequestRange(range("w/1", b""))),
        ("a read of everything", Op::RequestRange(range("a/", b"\0"))),
        ("a delete elsewhere", Op::RequestDeleteRange(delete("secret", false))),
        (
            "a delete that shows the old value",
            Op::RequestDeleteRange(delete("w/1", true)),
        ),
    ];
    for (what, request) in forbidden {
        for txn in everywhere(request) {
            denied(alice.kv.txn(txn).await, what);
        }
    }
    denied(alice.kv.put(prev).await, "prev_kv without read permission");
    denied(alice.kv.put(leased).await, "a lease that holds another's key");
    denied(alice.kv.delete_range(delete("w/1", true)).await, "prev_kv of a delete");
    assert_eq!(
        root.get("secret").await.as_deref(),
        Some(&b"s"[..]),
        "nothing was changed"
    );
    assert_eq!(root.get("w/1").await.as_deref(), Some(&b"old"[..]));
    for txn in everywhere(Op::RequestPut(put("a/1"))) {
        alice.kv.txn(txn).await.expect("what is permitted goes through");
    }
}

#[tokio::test]
async fn compares_are_reads_however_deep() {
    let node = Node::start().await;
    let (_root, mut alice) = alice(&node).await;
    let compare = |key: &str, range_end: &'static [u8]| pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Value as i32,
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::Value("s".into())),
        range_end: range_end.into(),
    };
    for compare in [
        compare("secret", b""),
        compare("w/1", b""),
        compare("a/", b"\0"),
        compare("a/", b"b"),
    ] {
        let txn = pb::TxnRequest {
            compare: vec![compare],
            ..Default::default()
        };
        denied(alice.kv.txn(txn.clone()).await, "a compare");
        for nested in everywhere(Op::RequestTxn(txn)) {
            denied(alice.kv.txn(nested).await, "a nested compare");
        }
    }
    let permitted = pb::TxnRequest {
        compare: vec![compare("a/1", b"")],
        ..Default::default()
    };
    alice.kv.txn(permitted).await.expect("permitted");
}

#[tokio::test]
async fn watch_ranges_are_checked_as_they_were_asked_for() {
    let node = Node::start().await;
    let (_root, mut alice) = alice(&node).await;
    let ranges: [(&[u8], &[u8], bool); 8] = [
        (b"", b"", false),
        (b"", b"\0", false),
        (b"\0", b"", false),
        (b"a/", b"\0", false),
        (b"a/", b"b", false),
        (b"w/", b"w0", false),
        (b"a/", b"a0", true),
        (b"r/1", b"", true),
    ];
    for (key, range_end, permitted) in ranges {
        let create = pb::WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..Default::default()
        };
        let request = pb::WatchRequest {
            request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
        };
        let (requests, stream) = tokio::sync::mpsc::channel(1);
        requests.send(request).await.expect("room");
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        let mut answers = alice.watch.watch(stream).await.expect("stream").into_inner();
        let created = answers.message().await.expect("answer").expect("created");
        assert_eq!(
            created.canceled, !permitted,
            "{key:?} {range_end:?}: {}",
            created.cancel_reason
        );
        assert_eq!(created.cancel_reason.contains("permission denied"), !permitted);
    }
}

#[tokio::test]
async fn leases_of_others_are_neither_revoked_nor_shown() {
    let node = Node::start().await;
    let (mut root, mut alice) = alice(&node).await;
    denied(
        alice.lease.lease_revoke(pb::LeaseRevokeRequest { id: 5 }).await,
        "revoke",
    );
    let ask = pb::LeaseTimeToLiveRequest { id: 5, keys: true };
    denied(alice.lease.lease_time_to_live(ask).await, "keys of a lease");
    assert!(root.get("secret").await.is_some());
}

#[tokio::test]
async fn strangers_get_no_answer_of_any_service() {
    let node = Node::start().await;
    root_secret(&node).await;
    for token in [None, Some("forged")] {
        let mut stranger = Login::new(node.channel().await, token);
        let refused = |what: &str, status: Option<Status>| {
            let status = status.unwrap_or_else(|| panic!("{what} answered a stranger"));
            let refusals = [
                Code::InvalidArgument,
                Code::PermissionDenied,
                Code::Unauthenticated,
                Code::Unimplemented,
            ];
            assert!(refusals.contains(&status.code()), "{what}: {status:?}");
        };
        macro_rules! refuse {
            ($($service:ident.$method:ident($request:expr);)+) => {
                $(refused(stringify!($method), stranger.$service.$method($request).await.err());)+
            };
        }
        refuse! {
            kv.range(range("k", b"")); kv.put(put("k")); kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() });
            kv.txn(pb::TxnRequest::default()); kv.compact(pb::CompactionRequest { revision: 1, physical: false });
            lease.lease_grant(pb::LeaseGrantRequest { ttl: 9, id: 0 }); lease.lease_revoke(pb::LeaseRevokeRequest { id: 5 });
            lease.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 5, keys: false });
            lease.lease_leases(pb::LeaseLeasesRequest::default());
            cluster.member_list(pb::MemberListRequest::default());
            cluster.member_add(pb::MemberAddRequest::default()); cluster.member_remove(pb::MemberRemoveRequest::default());
            cluster.member_update(pb::MemberUpdateRequest::default()); cluster.member_promote(pb::MemberPromoteRequest::default());
            maintenance.alarm(pb::AlarmRequest::default()); maintenance.defragment(pb::DefragmentRequest::default());
            maintenance.hash(pb::HashRequest::default()); maintenance.hash_kv(pb::HashKvRequest::default());
            maintenance.move_leader(pb::MoveLeaderRequest::default()); maintenance.downgrade(pb::DowngradeRequest::default());
            auth.auth_enable(pb::AuthEnableRequest {}); auth.auth_disable(pb::AuthDisableRequest {});
            auth.auth_status(pb::AuthStatusRequest {}); auth.user_list(pb::AuthUserListRequest {});
            auth.user_get(pb::AuthUserGetRequest { name: "root".to_owned() });
            auth.user_add(pb::AuthUserAddRequest { name: "x".to_owned(), password: "x".to_owned(), ..Default::default() });
            auth.user_delete(pb::AuthUserDeleteRequest { name: "mas".to_owned() });
            auth.user_change_password(pb::AuthUserChangePasswordRequest { name: "root".to_owned(), password: "x".to_owned(), ..Default::default() });
            auth.user_grant_role(pb::AuthUserGrantRoleRequest { user: "mas".to_owned(), role: "root".to_owned() });
            auth.user_revoke_role(pb::AuthUserRevokeRoleRequest { name: "mas".to_owned(), role: "mas".to_owned() });
            auth.role_list(pb::AuthRoleListRequest {}); auth.role_get(pb::AuthRoleGetRequest { role: "root".to_owned() });
            auth.role_add(pb::AuthRoleAddRequest { name: "x".to_owned() });
            auth.role_delete(pb::AuthRoleDeleteRequest { role: "mas".to_owned() });
            auth.role_grant_permission(pb::AuthRoleGrantPermissionRequest { name: "mas".to_owned(), perm: None });
            auth.role_revoke_permission(pb::AuthRoleRevokePermissionRequest { role: "mas".to_owned(), key: "k".into(), range_end: "".into() });
        }
        let snapshot = match stranger.maintenance.snapshot(pb::SnapshotRequest {}).await {
            Ok(answers) => answers.into_inner().message().await.err(),
            Err(status) => Some(status),
        };
        refused("snapshot", snapshot);
        let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id: 5 }]);
        let keep_alive = match stranger.lease.lease_keep_alive(requests).await {
            Ok(answers) => answers.into_inner().message().await.err(),
            Err(status) => Some(status),
        };
        refused("keep-alive", keep_alive);
    }
}

async fn root_secret(node: &Node) {
    let mut root = node.root().await;
    root.lease
        .lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 5 })
        .await
        .expect("lease");
}

/// A watch on `a/1`, once it is created.
async fn watch(
    user: &mut Login,
) -> (
    tokio::sync::mpsc::Sender<pb::WatchRequest>,
    tonic::Streaming<pb::WatchResponse>,
) {
    let create = pb::WatchCreateRequest {
        key: "a/1".into(),
        ..Default::default()
    };
    let request = pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    };
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    requests.send(request).await.expect("room");
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = user.watch.watch(stream).await.expect("stream").into_inner();
    let created = answers.message().await.expect("answer").expect("created");
    assert!(created.created && !created.canceled, "{}", created.cancel_reason);
    (requests, answers)
}

#[tokio::test]
async fn a_watch_outlives_a_new_password_and_ends_with_its_permission() {
    let node = Node::start().await;
    let (mut root, mut alice) = alice(&node).await;
    let (_requests, mut answers) = watch(&mut alice).await;
    let change = pb::AuthUserChangePasswordRequest {
        name: "alice".to_owned(),
        password: "new".to_owned(),
        ..Default::default()
    };
    root.auth.user_change_password(change).await.expect("changed");
    assert!(alice.kv.put(put("a/1")).await.is_err(), "the token is void");
    root.put("a/1", "seen").await;
    let event = answers.message().await.expect("answer").expect("an event");
    assert_eq!(event.decode_events().expect("events").len(), 1);
    let revoke = pb::AuthUserRevokeRoleRequest {
        name: "alice".to_owned(),
        role: "some".to_owned(),
    };
    root.auth.user_revoke_role(revoke).await.expect("revoked");
    let end = tokio::time::timeout(crate::support::PATIENCE, answers.message())
        .await
        .expect("in time");
    let end = end.expect("answer").expect("the watcher ends");
    let reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    assert_eq!((end.canceled, end.cancel_reason.as_str()), (true, reason));
}

#[tokio::test]
async fn an_observer_hears_nothing_of_a_leader_it_may_no_longer_read() {
    let node = Node::start().await;
    let (mut root, mut alice) = alice(&node).await;
    root.put("a/e/1", "first").await;
    let name = bytes::Bytes::from_static(b"a/e");
    let request = v3electionpb::LeaderRequest { name };
    let mut leaders = alice.election.observe(request).await.expect("stream").into_inner();
    let value = |answer: v3electionpb::LeaderResponse| answer.kv.expect("leader").value;
    let first = leaders.message().await.expect("answer").expect("a leader");
    assert_eq!(value(first), "first");
    root.put("a/e/1", "second").await;
    let second = leaders.message().await.expect("answer").expect("its next value");
    assert_eq!(value(second), "second");
    let revoke = pb::AuthUserRevokeRoleRequest {
        name: "alice".to_owned(),
        role: "some".to_owned(),
    };
    root.auth.user_revoke_role(revoke).await.expect("revoked");
    root.put("a/e/1", "secret").await;
    let refused = tokio::time::timeout(crate::support::PATIENCE, leaders.message())
        .await
        .expect("in time")
        .expect_err("refused");
    assert_eq!(refused.message(), "etcdserver: permission denied");
}
