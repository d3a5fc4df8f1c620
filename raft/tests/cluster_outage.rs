//! What becomes of calls under way while the whole cluster is without a quorum for a while, and of reads at a node that was away
//! itself.

mod cluster_common;

use std::time::{Duration, Instant};

use cluster_common::*;
use quorate_raft::testing::{TestCluster, three_nodes, wait_until};
use quorate_raft::{CallError, Handle};

/// Longer than any outage here.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than a node goes on serving after its last contact, shorter than the outage.
const SHORT: Duration = Duration::from_millis(1500);

/// A cluster with a leader, both other nodes of which are killed just now; gives the leader.
async fn left_alone(directory: &std::path::Path) -> (TestCluster, u64) {
    let mut cluster = three_nodes(directory).await;
    let reply = cluster.node(1).propose(bootstrap(), CALL).await;
    assert_carried_out(&reply.expect("the cluster answers").reply);
    for node in cluster.nodes() {
        node.read_index(CALL).await.expect("every node reads");
    }
    let leader = cluster.wait_for_leader().await;
    for other in (1..=3).filter(|id| *id != leader) {
        cluster.kill(other).await;
    }
    (cluster, leader)
}

/// Reads as soon as the node serves again: right after an outage it may lose its contact once more.
async fn get_when_served(node: &Handle, key: &str) -> Option<(String, i64)> {
    let reading = async {
        let mut status = node.status();
        loop {
            status.wait_for(|status| status.serving).await.unwrap();
            if let Ok(found) = linearizable_get(node, key).await {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it is served")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_call_waits_through_the_loss_of_a_quorum() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cluster, leader) = left_alone(directory.path()).await;
    let alone = cluster.node(leader).clone();
    let begun = Instant::now();
    let propose = |key: &'static str, patient: bool, deadline: Duration| {
        let handle = alone.clone();
        tokio::spawn(async move {
            let proposal = put(&handle, key, "value");
            match patient {
                true => handle.propose_patiently(proposal, deadline).await,
                false => handle.propose(proposal, deadline).await,
            }
        })
    };
    let impatient = propose("impatient", false, PATIENCE);
    let patient = propose("patient", true, PATIENCE);
    let short = propose("short", true, SHORT);

    let lost = impatient.await.unwrap();
    assert_eq!(lost, Err(CallError::TimedOutLeaderLost), "it went to its own log");
    assert!(begun.elapsed() < SHORT, "who can go elsewhere is told at once");
    let unknown = short.await.unwrap();
    assert_eq!(unknown, Err(CallError::TimedOutLeaderLost));
    assert!(begun.elapsed() >= SHORT, "not before its deadline");
    assert!(!alone.status().borrow().serving);
    assert!(!patient.is_finished(), "it waits");
    let refused = alone.propose_patiently(put(&alone, "late", "value"), PATIENCE).await;
    assert_eq!(
        refused,
        Err(CallError::NoLeader),
        "what was not taken in is refused at once"
    );

    cluster.restart(leader % 3 + 1).await;
    let committed = patient.await.unwrap().expect("there is a quorum again");
    assert_carried_out(&committed.reply);
    let (_, version) = get_when_served(&alone, "patient").await.expect("it is there");
    assert_eq!(version, 1, "applied once");
    assert_eq!(get_when_served(&alone, "late").await, None);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_call_on_a_follower_waits_for_the_next_leader() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = three_nodes(directory.path()).await;
    let reply = cluster.node(1).propose(bootstrap(), CALL).await;
    assert_carried_out(&reply.expect("the cluster answers").reply);
    for node in cluster.nodes() {
        node.read_index(CALL).await.expect("every node reads");
    }
    let leader = cluster.wait_for_leader().await;
    let (alone, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let follower = cluster.node(alone).clone();
    cluster.kill(third).await;
    cluster.kill(leader).await;
    let calling = tokio::spawn({
        let follower = follower.clone();
        async move {
            let proposal = put(&follower, "key", "value");
            follower.propose_patiently(proposal, PATIENCE).await
        }
    });
    let mut status = follower.status();
    status.wait_for(|status| !status.serving).await.unwrap();
    wait_until("the call is the only one under way", || {
        follower.metrics().proposals_pending == 1
    })
    .await;
    assert!(!calling.is_finished(), "it waits");
    cluster.restart(third).await;
    let committed = calling.await.unwrap().expect("there is a quorum again");
    assert_carried_out(&committed.reply);
    let (_, version) = get_when_served(&follower, "key").await.expect("it is there");
    assert_eq!(version, 1, "applied once");
    cluster.stop_all().await;
}

/// Nothing is applied again when the snapshot holds everything: what the node knows of itself comes from the snapshot alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_restarted_on_its_snapshot_reads_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = three_nodes(directory.path()).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    let leader = cluster.wait_for_leader().await;
    must_put(cluster.node(leader), "key", "value", CALL).await;
    let id = leader % 3 + 1;
    let follower = cluster.node(id).clone();
    follower.read_index(CALL).await.expect("the follower reads");
    let applied = follower.applied_index();
    follower.trigger_snapshot().await.unwrap();
    wait_until("the snapshot holds everything", || {
        follower.status().borrow().snapshot_index == applied
    })
    .await;
    cluster.stop(id).await;
    cluster.restart(id).await;
    cluster.wait_for_leader().await;
    let restarted = cluster.node(id).clone();
    let found = linearizable_get(&restarted, "key").await;
    assert_eq!(found, Ok(Some(("value".to_owned(), 1))));
    assert_eq!(restarted.applied_index(), applied, "something was written meanwhile");
    cluster.stop_all().await;
}
