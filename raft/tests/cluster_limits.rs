//! Three real nodes at their limits: snapshots by bytes, a peer that is gone, an apply that stalls, nodes that stop together.

mod cluster_common;

use std::time::{Duration, Instant};

use cluster_common::*;
use quorate_raft::testing::{TestCluster, TestLinks, three_nodes, wait_until};
use quorate_raft::{CallError, Purpose, Retention};

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_purges_follow_the_bytes_of_the_log() {
    const VALUE_BYTES: usize = 4 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention {
        snapshot_every_entries: 1_000_000,
        snapshot_every_bytes: 64 * 1024,
        kept_entries: 1_000_000,
        kept_bytes: 16 * 1024,
    };
    let mut cluster = TestCluster::start_with(directory.path(), 3, retention, true).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    let leader = cluster.wait_for_leader().await;
    let behind = leader % 3 + 1;
    cluster.stop(behind).await;
    let writer = cluster.node(leader).clone();
    let value = "x".repeat(VALUE_BYTES);
    for number in 0..40 {
        must_put(&writer, &format!("key-{number}"), &value, CALL).await;
    }
    wait_until("a snapshot follows 64 KiB of entries", || {
        writer.status().borrow().snapshot_index > 0 && writer.metrics().log_since_snapshot_bytes < 64 * 1024
    })
    .await;
    assert!(writer.metrics().snapshot_build.count() >= 1);
    wait_until("what lies 16 KiB behind it is purged", || {
        writer.metrics().log_purged_index > 20
    })
    .await;
    // The log no longer reaches back to where the absent node stands: it gets the snapshot.
    cluster.restart(behind).await;
    cluster.wait_for_leader().await;
    let returned = cluster.node(behind).clone();
    assert!(linearizable_get(&returned, "key-39").await.unwrap().is_some());
    assert!(
        returned.metrics().snapshot_install.count() >= 1,
        "the log was not purged by bytes"
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_gone_is_dialled_with_pauses() {
    const ATTEMPTS: u64 = 10;
    let directory = tempfile::tempdir().unwrap();
    let links = TestLinks::default();
    let mut cluster = TestCluster::start_linked(directory.path(), Retention::default(), &links).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    let leader = cluster.wait_for_leader().await;
    let gone = leader % 3 + 1;
    cluster.kill(gone).await;
    must_put(cluster.node(leader), "key", "value", CALL).await;
    let (before, begun) = (links.dialled(leader, gone, Purpose::Append), Instant::now());
    wait_until("the peer is looked for", || {
        links.dialled(leader, gone, Purpose::Append) >= before + ATTEMPTS
    })
    .await;
    // 50 ms between two of them, were the clocks exact.
    let elapsed = begun.elapsed();
    assert!(
        elapsed > Duration::from_millis(20 * ATTEMPTS),
        "{ATTEMPTS} attempts in {elapsed:?}"
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_apply_stalls_hands_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = three_nodes(directory.path()).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    let leader = cluster.wait_for_leader().await;
    let other = cluster.node(leader % 3 + 1).clone();
    other.read_index(CALL).await.unwrap();
    let term = other.status().borrow().term;
    // A reader that does not let go of the state: nothing is applied meanwhile.
    let stalled = cluster.node(leader).clone();
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let (holding, is_held) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        stalled.read(|_| {
            holding.send(()).expect("the test waits");
            // An error means that the test has failed, which ends the hold as well.
            let _ = held.recv_timeout(Duration::from_secs(10));
        });
    });
    is_held.recv().expect("the reader holds the state");
    let begun = Instant::now();
    let key = "through the stall";
    must_put(&other, key, "value", CALL).await;
    let mut status = other.status();
    let led = status
        .wait_for(|status| status.leader.is_some_and(|now| now != leader) && status.term > term)
        .await;
    drop(led.expect("the node runs"));
    println!(
        "leadership moved and the write was answered {:?} after the stall began",
        begun.elapsed()
    );
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(let_go);
    reader.join().expect("the reader ends");
    assert_eq!(get(&other, key).map(|(_, version)| version), Some(1));
    cluster.wait_for_leader().await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_stop_together_do_not_wait_for_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = three_nodes(directory.path()).await;
    let begun = Instant::now();
    let stops = cluster.nodes().map(|node| node.shutdown());
    futures_util::future::join_all(stops).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_nobody_who_stops() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = three_nodes(directory.path()).await;
    let leader = cluster.wait_for_leader().await;
    let (stopping, staying) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.node(stopping).prepare_stop();
    let leading = cluster.node(leader).clone();
    let refused = leading.transfer_leadership(Some(stopping), CALL).await;
    assert!(matches!(refused, Err(CallError::Remote(_))), "{refused:?}");
    assert!(leading.is_leader(), "a refusal costs nothing");
    leading.transfer_leadership(None, CALL).await.unwrap();
    assert_eq!(cluster.wait_for_leader().await, staying);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consensus_measures_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = TestCluster::start(directory.path(), 1).await;
    let node = cluster.node(1).clone();
    node.propose(bootstrap(), CALL).await.unwrap();
    for number in 0..5 {
        must_put(&node, &format!("key-{number}"), "value", CALL).await;
    }
    let metrics = node.metrics();
    assert_eq!((metrics.proposals_answered, metrics.proposals_pending), (6, 0));
    assert_eq!(metrics.proposals_failed, 0);
    assert_eq!(metrics.leader_changes, 1);
    assert!(
        metrics.fsync.count() >= 6 && metrics.fsync.sum > Duration::ZERO,
        "{:?}",
        metrics.fsync
    );
    assert!(metrics.apply.count() >= 6, "{:?}", metrics.apply);
    assert!(metrics.log_since_snapshot_bytes > 0);
    node.trigger_snapshot().await.unwrap();
    wait_until("the snapshot is counted", || node.metrics().snapshot_build.count() == 1).await;
    cluster.stop_all().await;
    let refused = node.propose(put(&node, "late", "value"), CALL).await;
    assert_eq!(refused, Err(CallError::Stopped));
    assert_eq!(node.metrics().proposals_failed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_written_stops_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = TestCluster::start(directory.path(), 1).await;
    let node = cluster.node(1).clone();
    node.propose(bootstrap(), CALL).await.unwrap();
    let snapshots = directory.path().join("node-1/snapshots");
    std::fs::remove_dir_all(&snapshots).unwrap();
    node.trigger_snapshot().await.unwrap();
    wait_until("a snapshot has failed", || node.metrics().snapshots_failed > 0).await;
    for number in 0..20 {
        must_put(&node, &format!("key-{number}"), "value", CALL).await;
    }
    assert_eq!(node.status().borrow().fatal, None);
    assert_eq!(node.metrics().snapshot_build.count(), 0, "nothing was written");
    std::fs::create_dir(&snapshots).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.status().borrow().snapshot_index == 0 {
        assert!(Instant::now() < deadline, "no snapshot although there is room again");
        node.trigger_snapshot().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.stop_all().await;
    cluster.restart(1).await;
    cluster.wait_for_leader().await;
    assert!(linearizable_get(cluster.node(1), "key-19").await.unwrap().is_some());
    cluster.stop_all().await;
}
