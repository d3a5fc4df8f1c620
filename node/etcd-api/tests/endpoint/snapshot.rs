//! Snapshots: what we send is a database that etcd's tools and a real etcd take.

use std::io::Write;

use aws_lc_rs::digest;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::etcdserverpb::request_op::Request;
use tonic::Code;

use crate::real::{RealEtcd, hash, run};
use crate::support::{Login, Node, ROOT_PASSWORD, SDK_PASSWORD};

/// Changes of every kind, the same on any server: also such that a compaction leaves only in part.
pub async fn fill(login: &mut Login, lease: i64) {
    let grant = pb::LeaseGrantRequest { id: lease, ttl: 3600 };
    login.lease.lease_grant(grant).await.expect("grant");
    for round in 0..40 {
        for key in 0..7 {
            login
                .put(&format!("k/{key}"), format!("value {round}").repeat(round))
                .await;
        }
        remove(login, &format!("k/{}", round % 5)).await;
    }
    let leased = pb::PutRequest {
        key: "leased".into(),
        value: "v".into(),
        lease,
        ..Default::default()
    };
    login.kv.put(leased).await.expect("put");
    login.put("large", vec![b'x'; 700_000]).await;
    login.put("old and unchanged", "1").await;
    remove(login, "k/6").await;
    let compacted = login.put("k/1", "before the compaction").await;
    let compact = pb::CompactionRequest {
        revision: compacted - 1,
        physical: true,
    };
    login.kv.compact(compact).await.expect("compact");
    let put = |key: &str| pb::RequestOp {
        request: Some(Request::RequestPut(pb::PutRequest {
            key: key.to_owned().into(),
            value: "txn".into(),
            ..Default::default()
        })),
    };
    let several = pb::TxnRequest {
        success: (0..50).map(|number| put(&format!("t/{number}"))).collect(),
        ..Default::default()
    };
    login.kv.txn(several).await.expect("txn");
    let range = pb::DeleteRangeRequest {
        key: "t/2".into(),
        range_end: "t/3".into(),
        ..Default::default()
    };
    login.kv.delete_range(range).await.expect("delete");
    for number in 0..500 {
        login.put(&format!("many/{number}"), "value").await;
    }
}

async fn remove(login: &mut Login, key: &str) {
    let request = pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    login.kv.delete_range(request).await.expect("delete");
}

/// A user `reader` who may read `k/`.
pub async fn add_reader(login: &mut Login) {
    let role = pb::AuthRoleAddRequest { name: "readers".into() };
    login.auth.role_add(role).await.expect("role");
    let permission = pb::AuthRoleGrantPermissionRequest {
        name: "readers".into(),
        perm: Some(quorate_etcd_api::pb::authpb::Permission {
            perm_type: 0,
            key: "k/".into(),
            range_end: "k0".into(),
        }),
    };
    login.auth.role_grant_permission(permission).await.expect("permission");
    let user = pb::AuthUserAddRequest {
        name: "reader".into(),
        password: "reading".into(),
        ..Default::default()
    };
    login.auth.user_add(user).await.expect("user");
    let grant = pb::AuthUserGrantRoleRequest {
        user: "reader".into(),
        role: "readers".into(),
    };
    login.auth.user_grant_role(grant).await.expect("grant");
}

/// Takes a snapshot into a file, checking how it arrives.
pub async fn save(login: &mut Login) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    let stream = login.maintenance.snapshot(pb::SnapshotRequest {}).await;
    let mut stream = stream.expect("snapshot").into_inner();
    let (mut received, mut total) = (0_u64, None);
    let mut sum = digest::Context::new(&digest::SHA256);
    while let Some(chunk) = stream.message().await.expect("no error") {
        assert_eq!(chunk.version, "3.6.0");
        let bytes = chunk.blob.len() as u64;
        let total = *total.get_or_insert(bytes + chunk.remaining_bytes);
        if received < total {
            assert!(bytes == 32 * 1024 || bytes == total - received, "{bytes} bytes");
            sum.update(&chunk.blob);
            received += bytes;
            assert_eq!(chunk.remaining_bytes, total - received);
        } else {
            assert_eq!(
                (&chunk.blob[..], chunk.remaining_bytes),
                (sum.clone().finish().as_ref(), 0)
            );
            received += bytes;
        }
        file.write_all(&chunk.blob).expect("written");
    }
    assert_eq!(received, total.expect("a chunk") + 32);
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_goes_on_from_our_snapshot() {
    let node = Node::start().await;
    let mut ours = node.root().await;
    fill(&mut ours, 0x77).await;
    add_reader(&mut ours).await;
    let file = save(&mut ours).await;
    let path = file.path().to_str().expect("text");
    let status = run("etcdutl", &["snapshot", "status", path, "-w", "json"]);
    let expected = hash(&mut ours).await;
    assert!(status.contains(r#""version":"3.6.0""#), "{status}");
    assert!(
        status.contains(&format!(r#""revision":{}"#, expected.hash_revision)),
        "{status}"
    );
    let real = RealEtcd::restored(file.path()).await;
    let mut theirs = real.login(Some(("root", ROOT_PASSWORD))).await;
    assert_eq!(hash(&mut theirs).await, expected);
    let users = theirs.auth.user_list(pb::AuthUserListRequest {}).await.expect("users");
    assert_eq!(users.into_inner().users, ["mas", "reader", "root"]);
    let role = theirs.auth.role_get(pb::AuthRoleGetRequest { role: "readers".into() });
    assert_eq!(role.await.expect("role").into_inner().perm[0].range_end, "k0");
    let lease = pb::LeaseTimeToLiveRequest { id: 0x77, keys: true };
    let lease = theirs
        .lease
        .lease_time_to_live(lease)
        .await
        .expect("lease")
        .into_inner();
    assert_eq!((lease.granted_ttl, lease.keys), (3600, vec!["leased".into()]));
    let mut reader = real.login(Some(("reader", "reading"))).await;
    assert_eq!(reader.get("k/1").await.as_deref(), Some(&b"before the compaction"[..]));
    real.login(Some(("mas", SDK_PASSWORD))).await;
    // It is a working etcd: it writes, and compacts what came from us.
    let written = theirs.put("k/1", "by etcd").await;
    assert_eq!(written, expected.hash_revision + 1);
    let compact = pb::CompactionRequest {
        revision: written,
        physical: true,
    };
    theirs.kv.compact(compact).await.expect("compact");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_keyspace_makes_a_snapshot_too() {
    let node = Node::start().await;
    let mut ours = node.root().await;
    let file = save(&mut ours).await;
    let real = RealEtcd::restored(file.path()).await;
    let mut theirs = real.login(Some(("root", ROOT_PASSWORD))).await;
    assert_eq!(hash(&mut theirs).await, hash(&mut ours).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_and_hashes_are_for_root_alone_and_few_run_at_a_time() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut sdk = node.login("mas", SDK_PASSWORD).await;
    let mut nobody = Login::new(node.channel().await, None);
    for (login, code, text) in [
        (&mut sdk, Code::PermissionDenied, "etcdserver: permission denied"),
        (&mut nobody, Code::InvalidArgument, "etcdserver: user name is empty"),
    ] {
        let refusals = [
            login.maintenance.snapshot(pb::SnapshotRequest {}).await.map(drop),
            login.maintenance.hash(pb::HashRequest {}).await.map(drop),
            login.maintenance.hash_kv(pb::HashKvRequest::default()).await.map(drop),
            login
                .maintenance
                .move_leader(pb::MoveLeaderRequest::default())
                .await
                .map(drop),
            login
                .maintenance
                .downgrade(pb::DowngradeRequest::default())
                .await
                .map(drop),
        ];
        for refused in refusals {
            let refused = refused.expect_err("refused");
            assert_eq!((refused.code(), refused.message()), (code, text));
        }
    }
    // Enough that a client that takes nothing holds the snapshot up.
    for number in 0..8 {
        root.put(&format!("large/{number}"), vec![b'x'; 1_000_000]).await;
    }
    let first = root
        .maintenance
        .snapshot(pb::SnapshotRequest {})
        .await
        .expect("snapshot");
    let second = root
        .maintenance
        .snapshot(pb::SnapshotRequest {})
        .await
        .expect("snapshot");
    let third = root
        .maintenance
        .snapshot(pb::SnapshotRequest {})
        .await
        .expect_err("too many");
    assert_eq!(third.message(), "etcdserver: too many requests");
    drop((first, second));
    let free_again = async {
        while root.maintenance.snapshot(pb::SnapshotRequest {}).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, free_again)
        .await
        .expect("a client that left holds nothing");
}
