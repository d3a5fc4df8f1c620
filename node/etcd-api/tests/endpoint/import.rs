//! Imports: a snapshot of a real etcd becomes the content of an instance.

use bytes::Bytes;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::quoratepb::ImportBlock;
use quorate_etcd_api::{SnapshotError, SnapshotFile};
use quorate_kv::{ImportWriter, KeyValue};
use tonic::{Code, Status};

use crate::real::{RealEtcd, hash};
use crate::snapshot::{add_reader, fill, save};
use crate::support::{Login, Node, ROOT_PASSWORD, SDK_PASSWORD};

fn blocks(file: &std::path::Path) -> Vec<Bytes> {
    let mut blocks = Vec::new();
    let read = SnapshotFile::open(file).and_then(|snapshot| {
        snapshot.blocks(|block| {
            blocks.push(block);
            Ok::<_, SnapshotError>(())
        })
    });
    read.expect("a snapshot");
    blocks
}

async fn import(login: &mut Login, blocks: Vec<Bytes>) -> Result<i64, Status> {
    let messages = blocks.into_iter().map(|block| ImportBlock { block });
    let done = login.import.import(tokio_stream::iter(messages)).await?;
    Ok(done.into_inner().header.expect("header").revision)
}

fn refused(result: Result<i64, Status>, code: Code, text: &str) {
    let status = result.expect_err("refused");
    assert_eq!(status.code(), code, "{}", status.message());
    assert!(status.message().contains(text), "{}", status.message());
}

/// Grants a role read and then both on one range, which etcd keeps beside each other: it does not find the first again.
async fn hold_a_range_twice(theirs: &mut Login) {
    for (perm_type, key, range_end) in [(0, "k/", "k/5"), (2, "t/", "t/5"), (0, "t/", "t0"), (2, "t/", "t0")] {
        let permission = pb::AuthRoleGrantPermissionRequest {
            name: "readers".into(),
            perm: Some(quorate_etcd_api::pb::authpb::Permission {
                perm_type,
                key: key.into(),
                range_end: range_end.into(),
            }),
        };
        theirs.auth.role_grant_permission(permission).await.expect("permission");
    }
    let role = theirs.auth.role_get(pb::AuthRoleGetRequest { role: "readers".into() });
    assert_eq!(role.await.expect("role").into_inner().perm.len(), 5);
}

/// Blocks of a store that holds one key.
fn one_key(key: &str, revision: i64) -> Vec<Bytes> {
    let mut writer = ImportWriter::new(revision, -1, false, 1);
    let kv = KeyValue {
        key: key.to_owned().into(),
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        ..KeyValue::default()
    };
    assert!(writer.change(kv, false).is_none());
    writer.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_real_etcd_comes_whole_and_goes_back() {
    let real = RealEtcd::start().await;
    let mut theirs = real.login(None).await;
    fill(&mut theirs, 0x55).await;
    add_reader(&mut theirs).await;
    hold_a_range_twice(&mut theirs).await;
    let expected = hash(&mut theirs).await;
    let file = save(&mut theirs).await;
    let blocks = blocks(file.path());
    assert!(blocks.len() > 2, "a snapshot of several blocks");
    let node = Node::start().await;
    let mut ours = node.root().await;
    let revision = import(&mut ours, blocks.clone()).await.expect("imported");
    assert_eq!(revision, expected.hash_revision);
    assert_eq!(hash(&mut ours).await, expected);
    let mut reader = node.login("reader", "reading").await;
    assert_eq!(reader.get("k/1").await.as_deref(), Some(&b"before the compaction"[..]));
    let role = ours.auth.role_get(pb::AuthRoleGetRequest { role: "readers".into() });
    let held = role.await.expect("role").into_inner().perm;
    let held: Vec<_> = held
        .iter()
        .map(|held| (held.perm_type, &held.key[..], &held.range_end[..]))
        .collect();
    assert_eq!(
        held,
        [
            (0, &b"k/"[..], &b"k/5"[..]),
            (0, b"k/", b"k0"),
            (2, b"t/", b"t/5"),
            (2, b"t/", b"t0")
        ]
    );
    // Those who were there keep their passwords.
    node.login("mas", SDK_PASSWORD).await;
    let lease = pb::LeaseTimeToLiveRequest { id: 0x55, keys: true };
    let lease = ours.lease.lease_time_to_live(lease).await.expect("lease").into_inner();
    assert_eq!((lease.granted_ttl, lease.keys), (3600, vec!["leased".into()]));
    // History came along: a revision before the last ones can still be read.
    let past = pb::RangeRequest {
        key: "t/2".into(),
        revision: expected.hash_revision - 501,
        ..Default::default()
    };
    assert_eq!(ours.kv.range(past).await.expect("range").into_inner().count, 1);
    // Writing and compacting go on as on the original.
    for login in [&mut ours, &mut theirs] {
        let last = login.put("k/1", "after").await;
        let compact = pb::CompactionRequest {
            revision: last,
            physical: true,
        };
        login.kv.compact(compact).await.expect("compact");
        assert_eq!(login.put("k/2", "after").await, expected.hash_revision + 2);
    }
    let after = hash(&mut theirs).await;
    assert_eq!(hash(&mut ours).await, after);
    let back = save(&mut ours).await;
    let again = RealEtcd::restored(back.path()).await;
    let mut again = again.login(Some(("root", ROOT_PASSWORD))).await;
    assert_eq!(hash(&mut again).await, after);
    // A second import finds the keyspace in use.
    refused(
        import(&mut ours, blocks).await,
        Code::FailedPrecondition,
        "has keys or leases already",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_imported_is_refused_and_changes_nothing() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut sdk = node.login("mas", SDK_PASSWORD).await;
    let before = hash(&mut root).await;
    refused(
        import(&mut sdk, one_key("k", 2)).await,
        Code::PermissionDenied,
        "permission denied",
    );
    refused(
        import(&mut root, one_key("/mas-monitor/x", 2)).await,
        Code::InvalidArgument,
        "/mas-monitor/",
    );
    let garbage = vec![Bytes::from_static(b"\x01\x00garbage")];
    refused(import(&mut root, garbage).await, Code::InvalidArgument, "damaged");
    refused(
        import(&mut root, one_key("k", 3)).await,
        Code::InvalidArgument,
        "damaged or inconsistent",
    );
    refused(
        import(&mut root, Vec::new()).await,
        Code::FailedPrecondition,
        "start it again",
    );
    assert_eq!(hash(&mut root).await, before);
    assert_eq!(root.get("k").await, None);
    // Nothing of the refused ones stands in the way.
    assert_eq!(import(&mut root, one_key("k", 2)).await.expect("imported"), 2);
    assert_eq!(root.get("k").await.as_deref(), Some(&b""[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_that_was_used_takes_only_later_revisions() {
    let node = Node::start().await;
    let mut root = node.root().await;
    root.put("k", "v").await;
    let request = pb::DeleteRangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    root.kv.delete_range(request).await.expect("delete");
    refused(
        import(&mut root, one_key("other", 2)).await,
        Code::FailedPrecondition,
        "import into a new instance",
    );
}

#[test]
fn files_that_are_no_snapshots_are_named() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("file");
    let error = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        let error = SnapshotFile::open(&path).err().expect("refused");
        error.to_string()
    };
    assert!(error(b"").contains("no bbolt database"));
    assert!(error(&[7; 4096]).contains("no bbolt database"));
    assert!(error(&[7; 4096 + 32]).contains("checksum does not match"));
    let mut summed = vec![7; 4096];
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &summed);
    summed.extend_from_slice(sum.as_ref());
    assert!(error(&summed).contains("no bbolt database"));
}
