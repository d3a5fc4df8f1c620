//! Three nodes: a follower serves everything, and a node without quorum says so.

use std::time::{Duration, Instant};

use futures_util::stream;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_raft::testing::three_nodes;
use tonic::Code;

use crate::support::{Node, PATIENCE, bootstrap, turn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_serves_and_a_node_without_quorum_lets_its_clients_go() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut cluster = three_nodes(directory.path()).await;
    let leader = cluster.wait_for_leader().await;
    bootstrap(cluster.node(leader), 3).await;
    let follower = if leader == 1 { 2 } else { 1 };
    let leading = Node::on(cluster.node(leader).clone(), |_| {}).await;
    let following = Node::on(cluster.node(follower).clone(), |_| {}).await;

    let mut root = following.root().await;
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    let (requests, requested) = tokio::sync::mpsc::channel(1);
    requests
        .send(pb::WatchRequest { request_union: union })
        .await
        .expect("room");
    let requested = tokio_stream::wrappers::ReceiverStream::new(requested);
    let mut watch = root.watch.watch(requested).await.expect("stream").into_inner();
    assert!(watch.message().await.expect("response").expect("created").created);

    // Written through the leader, read through the follower at once.
    let mut at_leader = leading.root().await;
    for number in 0..20 {
        let value = number.to_string();
        at_leader.put("k", value.clone()).await;
        assert_eq!(root.get("k").await.as_deref(), Some(value.as_bytes()));
    }
    let mut seen = 0;
    while seen < 20 {
        seen += watch.message().await.expect("response").expect("events").events.len();
    }
    let granted = root
        .lease
        .lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 })
        .await
        .expect("grant")
        .into_inner();
    let request = stream::iter([pb::LeaseKeepAliveRequest { id: granted.id }]);
    let mut renewed = root.lease.lease_keep_alive(request).await.expect("stream").into_inner();
    assert_eq!(
        renewed.message().await.expect("answer").expect("answer").ttl,
        60,
        "renewed at the leader"
    );

    for id in (1..=3).filter(|id| *id != follower) {
        cluster.kill(id).await;
    }
    let lost = Instant::now();
    let end = tokio::time::timeout(PATIENCE, watch.message())
        .await
        .expect("in time")
        .expect_err("broken");
    assert_eq!(end.code(), Code::Unavailable);
    assert!(
        end.message().starts_with("quorate: this node lost contact"),
        "{}",
        end.message()
    );
    assert!(lost.elapsed() < Duration::from_secs(5), "{:?}", lost.elapsed());
    let asked = Instant::now();
    let get = pb::RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    let refused = root.kv.range(get).await.expect_err("no quorum");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, "etcdserver: no leader")
    );
    assert!(
        asked.elapsed() < Duration::from_millis(200),
        "at once, not {:?}",
        asked.elapsed()
    );
    cluster.stop_all().await;
}
