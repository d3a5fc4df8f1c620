//! Three real nodes compare their states: equal ones go on, one that differs is fenced, and where no majority agrees clients
//! write no more.

use std::path::Path;
use std::time::Instant;

use futures_util::future::join_all;
use quorate::reconcilers::watch_consistency;
use quorate_machine::{EventCode, RefusalCode, Reply};
use quorate_raft::testing::TestCluster;
use quorate_raft::{CallError, Committed, Handle, Retention, STATE_HASH_EVERY_ENTRIES};

use crate::support::{CALL, PATIENCE, bootstrapped, put, turn};

/// Puts under way at once: so few that an entry holds few of them, and that the state is still small after thousands of entries.
const BATCH: u64 = 16;
/// Writes in a row that must be neighbours in the log for a cluster to count as idle otherwise.
const QUIET_WRITES: u32 = 100;

/// Three nodes with their first command applied everywhere, each comparing its state.
async fn cluster(directory: &Path, retention: Retention) -> TestCluster {
    let cluster = bootstrapped(directory, retention).await;
    for node in cluster.nodes() {
        tokio::spawn(watch_consistency(node.clone()));
    }
    cluster
}

/// Writes until every node has reported its hash of one log index above the present one; a large state is not hashed at each
/// index where it could be.
async fn write_until_all_report(cluster: &TestCluster, handle: &Handle) {
    let nodes: Vec<u64> = cluster.nodes().map(Handle::node_id).collect();
    let from = handle.applied_index() / STATE_HASH_EVERY_ENTRIES + 1;
    write_until(handle, || {
        let to = handle.applied_index() / STATE_HASH_EVERY_ENTRIES;
        (from..=to).any(|number| {
            let index = number * STATE_HASH_EVERY_ENTRIES;
            nodes.iter().all(|node| reported(handle, *node, index))
        })
    })
    .await;
}

/// Writes until this node has hashed a state that it does not have yet.
async fn write_until_hashed(handle: &Handle) {
    let (hashes, from) = (handle.state_hashes(), handle.applied_index());
    write_until(handle, || hashes.borrow().is_some_and(|hash| hash.index > from)).await;
}

/// Writes until `done`, and until something was written.
async fn write_until(handle: &Handle, mut done: impl FnMut() -> bool) {
    let (begun, mut written) = (Instant::now(), false);
    while !written || !done() {
        assert!(begun.elapsed() < PATIENCE, "what the writes are for does not come");
        // A busy machine loses its leader now and then, which is not the question here.
        for committed in write_some(handle).await.into_iter().flatten() {
            assert_eq!(committed.reply.refusal(), None);
            written = true;
        }
    }
}

/// Waits until a single writer's entries follow each other: reports that were on their way have arrived, and make no others.
async fn wait_until_idle(handle: &Handle) {
    let (begun, mut quiet, mut last) = (Instant::now(), 0, 0);
    while quiet < QUIET_WRITES {
        assert!(
            begun.elapsed() < PATIENCE,
            "something is proposed although nothing happens"
        );
        let next = handle.propose(put("next"), CALL).await.expect("a put").log_index;
        quiet = if next == last + 1 { quiet + 1 } else { 0 };
        last = next;
    }
}

async fn write_some(handle: &Handle) -> Vec<Result<Committed, CallError>> {
    let puts = (0..BATCH).map(|number| handle.propose(put(&format!("key-{number}")), CALL));
    join_all(puts).await
}

fn reported(handle: &Handle, node: u64, index: u64) -> bool {
    handle.read(|state| state.hash_report_at(node, index).is_some())
}

fn assert_agreed(cluster: &TestCluster) {
    for node in cluster.nodes() {
        assert_eq!(node.status().borrow().fenced, None, "node {}", node.node_id());
        let (divergent, lost) = node.read(|state| (state.divergent_nodes(), state.hash_majority_lost()));
        assert!(divergent.is_empty() && !lost, "{divergent:?} {lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_states_agree_through_snapshots_and_restarts_and_an_idle_cluster_stays_idle() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let small = Retention {
        snapshot_every_entries: 300,
        kept_entries: 10,
        ..Retention::default()
    };
    let mut cluster = cluster(directory.path(), small).await;
    let writer = cluster.node(1).clone();
    write_until_all_report(&cluster, &writer).await;
    assert_agreed(&cluster);

    // One misses an index altogether and comes back by snapshot; one replays its log.
    let leader = cluster.wait_for_leader().await;
    let (absent, restarted) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.stop(absent).await;
    let writer = cluster.node(leader).clone();
    write_until_hashed(&writer).await;
    cluster.kill(restarted).await;
    for id in [absent, restarted] {
        cluster.restart(id).await;
    }
    cluster.wait_for_leader().await;
    for id in [absent, restarted] {
        cluster.node(id).read_index(CALL).await.expect("it catches up");
        tokio::spawn(watch_consistency(cluster.node(id).clone()));
    }
    let writer = cluster.node(absent).clone();
    write_until_all_report(&cluster, &writer).await;
    assert_agreed(&cluster);

    let installed = cluster.node(absent).metrics().snapshot_install.count();
    assert!(installed >= 1, "it came back by its log alone");
    wait_until_idle(&cluster.node(leader).clone()).await;
    cluster.stop_all().await;
}

/// Node `corrupted` gets another state than the others; it alone is fenced, and the others go on.
async fn assert_fenced(cluster: &mut TestCluster, corrupted: u64) {
    let other = corrupted % 3 + 1;
    let (bad, good) = (cluster.node(corrupted).clone(), cluster.node(other).clone());
    // No heartbeats run here: who has not reported yet does not count, and two that differ would be no majority.
    write_until_all_report(cluster, &good).await;
    bad.corrupt(put("only-here"));
    let status = bad.status();
    write_until(&good, || status.borrow().fenced.is_some()).await;
    let fenced = status.borrow();
    assert!(
        fenced.fenced.as_deref().unwrap_or_default().contains("join again"),
        "{fenced:?}"
    );
    assert!(!fenced.serving && !fenced.watchable);
    drop(fenced);
    assert_eq!(bad.propose(put("refused"), CALL).await, Err(CallError::NoLeader));
    assert_eq!(bad.read_index(CALL).await, Err(CallError::NoLeader));
    let mut status = good.status();
    let led = status
        .wait_for(|status| status.leader.is_some_and(|leader| leader != corrupted))
        .await;
    drop(led.expect("it runs"));
    write_until_hashed(&good).await;
    good.read_index(CALL).await.expect("a quorum");
    assert_eq!(good.status().borrow().fenced, None);
    let told = good.read(|state| {
        let mut events = state.events().iter();
        events.any(|event| event.code == EventCode::StateDiverged as i32)
    });
    assert!(told, "an event says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_state_differs_is_fenced_and_stays_so() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = cluster(directory.path(), Retention::default()).await;
    let leader = cluster.wait_for_leader().await;
    let corrupted = leader % 3 + 1;
    assert_fenced(&mut cluster, corrupted).await;
    // It takes no leadership, also when it is asked to.
    let leading = cluster.nodes().find(|node| node.is_leader()).expect("a leader").clone();
    let refused = leading.transfer_leadership(Some(corrupted), CALL).await;
    assert!(matches!(refused, Err(CallError::Remote(_))), "{refused:?}");
    // A restart makes nothing good.
    cluster.stop(corrupted).await;
    cluster.restart(corrupted).await;
    let mut status = cluster.node(corrupted).status();
    let heard = status
        .wait_for(|status| status.last_contact.is_some())
        .await
        .expect("it runs");
    assert!(heard.fenced.is_some() && !heard.serving);
    drop(heard);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_state_differs_hands_over_and_is_fenced() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = cluster(directory.path(), Retention::default()).await;
    let leader = cluster.wait_for_leader().await;
    assert_fenced(&mut cluster, leader).await;
    assert!(!cluster.node(leader).is_leader());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_majority_agrees_clients_write_no_more() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = cluster(directory.path(), Retention::default()).await;
    cluster.node(1).corrupt(put("only-on-one"));
    cluster.node(2).corrupt(put("only-on-two"));
    let writer = cluster.node(3).clone();
    let refused = |reply: &Reply| {
        let refusal = reply.refusal();
        refusal.is_some_and(|refusal| refusal.code == RefusalCode::StateHashesDiffer as i32)
    };
    let mut stopped = false;
    while !stopped {
        assert!(
            writer.applied_index() < 3 * STATE_HASH_EVERY_ENTRIES,
            "clients still write"
        );
        let puts = (0..BATCH).map(|number| writer.propose(put(&format!("key-{number}")), CALL));
        let outcomes = join_all(puts).await;
        stopped = outcomes
            .iter()
            .any(|outcome| refused(&outcome.as_ref().expect("a reply").reply));
    }
    for node in cluster.nodes() {
        assert_eq!(node.status().borrow().fenced, None, "nobody is chosen");
    }
    // The refusal came from the leader, which may be ahead of this node.
    writer.read_index(CALL).await.expect("a quorum");
    let told = writer.read(|state| {
        let mut events = state.events().iter();
        events.any(|event| event.code == EventCode::StateHashMajorityLost as i32)
    });
    assert!(told, "an event says so");
    cluster.stop_all().await;
}
