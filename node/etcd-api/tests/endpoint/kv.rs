//! Service KV, Cluster and Maintenance.

use bytes::Bytes;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_etcd_api::pb::etcdserverpb::{request_op, response_op};
use tonic::Code;

use crate::support::Node;

fn put_op(key: &str, value: &str) -> pb::RequestOp {
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(request_op::Request::RequestPut(request)),
    }
}

fn get_op(key: &str) -> pb::RequestOp {
    let request = pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(request_op::Request::RequestRange(request)),
    }
}

fn exists(key: &str) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Greater as i32,
        target: CompareTarget::Create as i32,
        key: key.to_owned().into(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::CreateRevision(0)),
    }
}

#[tokio::test]
async fn puts_are_read_deleted_and_counted() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let first = root.put("a/1", "one").await;
    assert_eq!(root.put("a/2", "two").await, first + 1);
    assert_eq!(root.get("a/1").await, Some(Bytes::from("one")));
    let all = pb::RangeRequest {
        key: "a/".into(),
        range_end: "a0".into(),
        limit: 1,
        ..Default::default()
    };
    let response = root.kv.range(all.clone()).await.expect("range").into_inner();
    assert_eq!((response.kvs.len(), response.more, response.count), (1, true, 2));
    let header = response.header.expect("header");
    assert_eq!(header.revision, first + 1);
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
    let old = pb::RangeRequest {
        revision: first,
        serializable: true,
        ..all.clone()
    };
    assert_eq!(root.kv.range(old).await.expect("range").into_inner().count, 1);
    let delete = pb::DeleteRangeRequest {
        key: "a/".into(),
        range_end: "a0".into(),
        prev_kv: true,
    };
    let deleted = root.kv.delete_range(delete).await.expect("delete").into_inner();
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (2, 2));
    assert_eq!(root.get("a/1").await, None);
}

#[tokio::test]
async fn transactions_choose_their_branch() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let request = pb::TxnRequest {
        compare: vec![exists("k")],
        success: vec![get_op("k")],
        failure: vec![put_op("k", "v"), get_op("k")],
    };
    let response = root.kv.txn(request.clone()).await.expect("txn").into_inner();
    assert!(!response.succeeded);
    assert!(matches!(&response.responses[1].response,
        Some(response_op::Response::ResponseRange(range)) if range.kvs[0].value == "v"));
    let response = root.kv.txn(request).await.expect("txn").into_inner();
    assert!(response.succeeded && response.responses.len() == 1);
    let revision = response.header.expect("header").revision;
    let read_only = pb::TxnRequest {
        compare: vec![exists("k")],
        success: vec![get_op("k")],
        failure: vec![],
    };
    // Of the state itself: the published status follows `apply` at some distance, and may not yet show the write that was
    // just acknowledged.
    let applied = node.handle.read(|state| state.applied_index());
    let response = root.kv.txn(read_only).await.expect("txn").into_inner();
    assert!(response.succeeded);
    assert_eq!(response.header.expect("header").revision, revision);
    assert_eq!(
        node.handle.read(|state| state.applied_index()),
        applied,
        "a read makes no log entry"
    );
}

#[tokio::test]
async fn refusals_have_etcds_codes_and_texts() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let revision = root.put("k", "v").await;
    let check = |status: tonic::Status, code, text: &str| {
        assert_eq!((status.code(), status.message()), (code, text));
    };
    let empty = root.kv.put(pb::PutRequest::default()).await.expect_err("no key");
    check(empty, Code::InvalidArgument, "etcdserver: key is not provided");
    let large = pb::PutRequest {
        key: "k".into(),
        value: Bytes::from(vec![0; quorate_kv::MAX_REQUEST_BYTES + 1]),
        ..Default::default()
    };
    let large = root.kv.put(large).await.expect_err("too large");
    check(large, Code::InvalidArgument, "etcdserver: request is too large");
    let future = pb::RangeRequest {
        key: "k".into(),
        revision: revision + 10,
        ..Default::default()
    };
    let future = root.kv.range(future).await.expect_err("future");
    check(
        future,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision is a future revision",
    );
    let last = root.put("k", "w").await;
    root.kv
        .compact(pb::CompactionRequest {
            revision: last,
            physical: true,
        })
        .await
        .expect("compacted");
    let old = pb::RangeRequest {
        key: "k".into(),
        revision,
        ..Default::default()
    };
    let old = root.kv.range(old).await.expect_err("compacted");
    check(
        old,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted",
    );
    let twice = pb::TxnRequest {
        success: vec![put_op("k", "1"), put_op("k", "2")],
        ..Default::default()
    };
    let twice = root.kv.txn(twice).await.expect_err("twice");
    check(
        twice,
        Code::InvalidArgument,
        "etcdserver: duplicate key given in txn request",
    );
    let reserved = pb::PutRequest {
        key: "/mas-monitor/x".into(),
        ..Default::default()
    };
    let reserved = root.kv.put(reserved).await.expect_err("reserved");
    check(reserved, Code::PermissionDenied, "etcdserver: permission denied");
}

#[tokio::test]
async fn members_and_status_agree() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let members = root
        .cluster
        .member_list(pb::MemberListRequest { linearizable: true })
        .await;
    let members = members.expect("members").into_inner();
    assert_eq!(members.members.len(), 1);
    assert_eq!(members.members[0].client_ur_ls, ["https://127.0.0.1:2379"]);
    let status = root
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    assert_eq!(status.leader, members.members[0].id);
    assert_eq!(status.header.expect("header").member_id, members.members[0].id);
    assert!(status.errors.is_empty() && status.raft_applied_index > 0);
    let defragmented = root
        .maintenance
        .defragment(pb::DefragmentRequest {})
        .await
        .expect("defragment");
    assert_eq!(defragmented.into_inner().header, None);
}

#[tokio::test]
async fn unknown_keys_of_the_service_are_remembered() {
    let node = Node::start().await;
    let mut root = node.root().await;
    assert_eq!(root.get("/mas-monitor/conf/dds/services/a/m/servers").await, None);
    let unknown = node.clients.unknown_keys();
    assert_eq!(unknown.len(), 1);
    assert_eq!(
        (unknown[0].client.as_str(), unknown[0].key.as_str()),
        ("127.0.0.1", "/mas-monitor/conf/dds/services/a/m/servers")
    );
}
