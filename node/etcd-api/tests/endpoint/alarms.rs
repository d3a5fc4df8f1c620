//! Alarms and shortage of space, as etcd clients meet them.

use bytes::Bytes;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_machine::{Command, ReportDisk, ReportStateHash, SetKeyspaceQuota, WorkerSeen};
use tonic::Code;

use crate::support::{INSTANCE, Login, Node, propose, propose_as_node, propose_as_root};

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

async fn alarm(login: &mut Login, action: pb::alarm_request::AlarmAction, member_id: u64) -> Vec<(u64, i32)> {
    let request = pb::AlarmRequest {
        action: action as i32,
        member_id,
        alarm: if member_id == 0 { 0 } else { 1 },
    };
    let response = login.maintenance.alarm(request).await.expect("alarm").into_inner();
    assert!(response.header.expect("header").revision > 0);
    response
        .alarms
        .iter()
        .map(|alarm| (alarm.member_id, alarm.alarm))
        .collect()
}

async fn refusals(login: &mut Login, value: &'static [u8]) -> Vec<(Code, String)> {
    let put = pb::PutRequest {
        key: "big".into(),
        value: Bytes::from_static(value),
        ..Default::default()
    };
    let op = pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(put.clone())),
    };
    let txn = pb::TxnRequest {
        failure: vec![op],
        ..Default::default()
    };
    let grant = pb::LeaseGrantRequest { ttl: 60, id: 0 };
    let outcomes = [
        login.kv.put(put).await.err(),
        login.kv.txn(txn).await.err(),
        login.lease.lease_grant(grant).await.err(),
    ];
    let refused = outcomes.into_iter().flatten();
    refused
        .map(|status| (status.code(), status.message().to_owned()))
        .collect()
}

async fn errors(login: &mut Login) -> Vec<String> {
    let status = login.maintenance.status(pb::StatusRequest {}).await;
    let status = status.expect("status").into_inner();
    assert!(status.db_size > 0 && status.db_size_in_use <= status.db_size);
    status.errors
}

#[tokio::test]
async fn a_full_keyspace_raises_an_alarm_until_it_is_disarmed() {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    let node = Node::start().await;
    let mut root = node.root().await;
    let quota = SetKeyspaceQuota {
        instance: INSTANCE,
        quota_bytes: 1 << 20,
    };
    propose_as_root(&node.handle, Command::SetKeyspaceQuota(quota)).await;
    let before = root.put("kept", "v").await;
    assert_eq!(alarm(&mut root, Get, 0).await, []);
    assert!(errors(&mut root).await.is_empty());

    static BIG: [u8; 1 << 20] = [b'v'; 1 << 20];
    let all = [(); 3].map(|()| (Code::ResourceExhausted, NO_SPACE.to_owned()));
    assert_eq!(refusals(&mut root, &BIG).await, all);
    let status = root.maintenance.status(pb::StatusRequest {}).await.expect("status");
    let status = status.into_inner();
    assert_eq!(status.db_size_quota, 1 << 20);
    let member = status.header.expect("header").member_id;
    assert_eq!(status.errors, [format!("memberID:{member} alarm:NOSPACE ")]);
    assert_eq!(alarm(&mut root, Get, 0).await, [(member, 1)]);
    // Reads, deletions, compaction and a transaction without puts go on; small puts do not.
    assert_eq!(refusals(&mut root, b"v").await, all);
    assert_eq!(root.get("kept").await.as_deref(), Some(&b"v"[..]));
    let delete = pb::DeleteRangeRequest {
        key: "kept".into(),
        ..Default::default()
    };
    root.kv.delete_range(delete).await.expect("a deletion");
    let compact = pb::CompactionRequest {
        revision: before,
        physical: false,
    };
    root.kv.compact(compact).await.expect("a compaction");

    assert_eq!(alarm(&mut root, Deactivate, member + 1).await, []);
    assert_eq!(alarm(&mut root, Deactivate, member).await, [(member, 1)]);
    assert_eq!(alarm(&mut root, Get, 0).await, []);
    root.put("kept", "w").await;
    // Raised by hand, for a member that need not exist, as in etcd.
    assert_eq!(alarm(&mut root, Activate, 123).await, [(123, 1)]);
    assert_eq!(refusals(&mut root, b"v").await, all);
    assert_eq!(alarm(&mut root, Deactivate, 123).await, [(123, 1)]);
    root.put("kept", "x").await;
}

#[tokio::test]
async fn alarms_are_told_to_users_and_changed_by_root() {
    let node = Node::start().await;
    let mut sdk = node.sdk().await;
    assert_eq!(alarm(&mut sdk, pb::alarm_request::AlarmAction::Get, 0).await, []);
    let request = pb::AlarmRequest {
        action: 1,
        member_id: 1,
        alarm: 1,
    };
    let refused = sdk.maintenance.alarm(request).await.expect_err("not root");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::PermissionDenied, "etcdserver: permission denied")
    );
    let mut nobody = node.anonymous().await;
    for action in [0, 1, 2] {
        let refused = nobody.maintenance.alarm(pb::AlarmRequest { action, ..request }).await;
        let refused = refused.expect_err("no user");
        assert_eq!(refused.message(), "etcdserver: user name is empty");
    }
}

#[tokio::test]
async fn corrupt_stops_every_change_and_no_read() {
    let node = Node::start().await;
    let mut root = node.root().await;
    root.put("k", "v").await;
    let request = |action: i32| pb::AlarmRequest {
        action,
        member_id: 5,
        alarm: pb::AlarmType::Corrupt as i32,
    };
    root.maintenance.alarm(request(1)).await.expect("raised");
    let all = [(); 3].map(|()| (Code::DataLoss, "etcdserver: corrupt cluster".to_owned()));
    assert_eq!(refusals(&mut root, b"v").await, all);
    assert_eq!(root.get("k").await.as_deref(), Some(&b"v"[..]));
    assert_eq!(errors(&mut root).await, ["memberID:5 alarm:CORRUPT "]);
    root.maintenance.alarm(request(2)).await.expect("disarmed");
    root.put("k", "w").await;
}

#[tokio::test]
async fn a_full_disk_is_told_as_an_alarm_that_ends_by_itself() {
    use pb::alarm_request::AlarmAction::{Deactivate, Get};
    let node = Node::start().await;
    let mut root = node.root().await;
    root.put("k", "v").await;
    let report = |sequence, short| {
        Command::ReportDisk(ReportDisk {
            node: 1,
            incarnation: 1,
            sequence,
            short,
            free_bytes: 1 << 20,
            total_bytes: 1 << 30,
        })
    };
    propose(&node.handle, report(1, true)).await;
    let all = [(); 3].map(|()| (Code::ResourceExhausted, NO_SPACE.to_owned()));
    assert_eq!(refusals(&mut root, b"v").await, all);
    let told = alarm(&mut root, Get, 0).await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        alarm(&mut root, Deactivate, told[0].0).await,
        [],
        "it cannot be disarmed"
    );
    assert_eq!(alarm(&mut root, Get, 0).await, told);
    assert_eq!(errors(&mut root).await.len(), 1);
    propose(&node.handle, report(2, false)).await;
    assert_eq!(alarm(&mut root, Get, 0).await, []);
    root.put("k", "w").await;
}

#[tokio::test]
async fn states_without_a_majority_are_told_as_corrupt_until_one_agrees() {
    use pb::alarm_request::AlarmAction::{Deactivate, Get};
    let node = Node::start_of(3).await;
    let mut root = node.root().await;
    root.put("k", "v").await;
    let report = |node: u64, hash: u8| {
        Command::ReportStateHash(ReportStateHash {
            node,
            index: 1,
            hash: Bytes::from(vec![hash; 32]),
        })
    };
    // All three serve: whoever never did is not waited for.
    let term = node.handle.status().borrow().term;
    for node_id in 1..=3 {
        let seen = WorkerSeen {
            node: node_id,
            incarnation: 1,
            term,
        };
        propose_as_node(&node.handle, node_id, Command::WorkerSeen(seen)).await;
    }
    for node_id in 1..=3 {
        assert_eq!(alarm(&mut root, Get, 0).await, []);
        propose_as_node(&node.handle, node_id, report(node_id, node_id as u8)).await;
    }
    let corrupt = pb::AlarmType::Corrupt as i32;
    let told = alarm(&mut root, Get, 0).await;
    assert_eq!(told.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), [corrupt; 3]);
    assert!(
        errors(&mut root)
            .await
            .iter()
            .all(|error| error.ends_with("alarm:CORRUPT "))
    );
    let all = [(); 3].map(|()| (Code::DataLoss, "etcdserver: corrupt cluster".to_owned()));
    assert_eq!(refusals(&mut root, b"v").await, all);
    assert_eq!(root.get("k").await.as_deref(), Some(&b"v"[..]));
    let disarm = pb::AlarmRequest {
        action: Deactivate as i32,
        member_id: told[0].0,
        alarm: corrupt,
    };
    let refused = root
        .maintenance
        .alarm(disarm)
        .await
        .expect_err("nothing is written now");
    assert_eq!(refused.code(), Code::DataLoss);
    assert_eq!(alarm(&mut root, Get, 0).await, told);

    propose_as_node(&node.handle, 2, report(2, 1)).await;
    assert_eq!(alarm(&mut root, Get, 0).await, []);
    assert!(errors(&mut root).await.is_empty());
    root.put("k", "w").await;
}
