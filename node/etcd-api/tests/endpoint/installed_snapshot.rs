//! A watcher on a follower that gets its state by snapshot goes on from history, without a gap and without seeing anything
//! twice.

use std::time::Duration;

use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_raft::testing::{TestCluster, TestLinks, wait_until};
use quorate_raft::{Purpose, Retention};

use crate::support::{Node, PATIENCE, bootstrap, turn};

/// Enough for several snapshots of [`SMALL`].
const PUTS: u64 = 120;

const SMALL: Retention = Retention {
    snapshot_every_entries: 25,
    snapshot_every_bytes: 1 << 20,
    kept_entries: 5,
    kept_bytes: 1 << 20,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_goes_on_over_an_installed_snapshot() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let links = TestLinks::default();
    let mut cluster = TestCluster::start_linked(directory.path(), SMALL, &links).await;
    let leader = cluster.wait_for_leader().await;
    bootstrap(cluster.node(leader), 3).await;
    let behind = leader % 3 + 1;
    let following = Node::on(cluster.node(behind).clone(), |_| {}).await;
    let leading = Node::on(cluster.node(leader).clone(), |_| {}).await;
    let mut at_leader = leading.root().await;

    let mut root = following.root().await;
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    let (requests, requested) = tokio::sync::mpsc::channel(1);
    let request = pb::WatchRequest { request_union: union };
    requests.send(request).await.expect("room");
    let requested = tokio_stream::wrappers::ReceiverStream::new(requested);
    let mut watch = root.watch.watch(requested).await.expect("stream").into_inner();
    assert!(watch.message().await.expect("response").expect("created").created);

    // Entries no longer arrive, heartbeats do: the follower falls behind and its watches stay.
    let all: Vec<u64> = (1..=3).collect();
    for from in all.iter().filter(|from| **from != behind) {
        links.cut(*from, behind, Purpose::Append);
    }
    for number in 0..PUTS {
        at_leader.put("k", number.to_string()).await;
    }
    let handle = cluster.node(leader).clone();
    wait_until("the log is purged beyond the follower", || {
        handle.status().borrow().snapshot_index > PUTS / 2
    })
    .await;
    for from in all.iter().filter(|from| **from != behind) {
        links.mend(*from, behind, Purpose::Append);
    }
    let mut seen = Vec::new();
    let receive = async {
        while seen.len() < PUTS as usize {
            let response = watch.message().await.expect("the stream lives").expect("events");
            let events = response.decode_events().expect("events");
            seen.extend(events.into_iter().map(|event| event.kv.expect("a key").value));
        }
    };
    tokio::time::timeout(PATIENCE, receive)
        .await
        .expect("every event in time");
    let expected: Vec<String> = (0..PUTS).map(|number| number.to_string()).collect();
    assert_eq!(seen, expected);
    let installed = cluster.node(behind).metrics().snapshot_install.count();
    assert!(
        installed >= 1,
        "the follower caught up from the log: this test showed nothing"
    );
    assert!(
        cluster
            .node(behind)
            .status()
            .borrow()
            .last_contact
            .expect("contact")
            .elapsed()
            < Duration::from_secs(2)
    );
    cluster.stop_all().await;
}
