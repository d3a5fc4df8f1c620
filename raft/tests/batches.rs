//! Many proposals at a time share entries: in order, each with its own reply, each applied once, also when the leader dies.

mod cluster_common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_common::*;
use futures_util::future::join_all;
use quorate_kv::KvResult;
use quorate_machine::ReplyKind;
use quorate_raft::testing::{TestCluster, three_nodes, wait_until};
use quorate_raft::{Committed, Handle};

/// Proposals of one node at a time.
const AT_ONCE: usize = 400;

async fn bootstrapped(directory: &std::path::Path) -> TestCluster {
    let cluster = three_nodes(directory).await;
    let committed = cluster.node(1).propose(bootstrap(), CALL).await;
    assert_carried_out(&committed.expect("the cluster answers").reply);
    for node in cluster.nodes() {
        node.read_index(CALL).await.expect("every node reads");
    }
    cluster
}

/// Puts of one node, all at once, in the order of their numbers.
async fn put_all(handle: &Handle, round: usize) -> Vec<(String, Committed)> {
    let node = handle.node_id();
    let puts = (0..AT_ONCE).map(|number| async move {
        let key = format!("{node}-{round}-{number}");
        let committed = must_put(handle, &key, &key, Duration::from_secs(10)).await;
        (key, committed)
    });
    join_all(puts).await
}

fn revision(committed: &Committed) -> i64 {
    match &committed.reply.kind {
        Some(ReplyKind::Kv(reply)) if matches!(reply.result, Some(KvResult::Put(_))) => reply.revision,
        other => panic!("not the reply of a put: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_proposals_share_entries_and_each_has_its_reply() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = bootstrapped(directory.path()).await;
    let all = join_all(cluster.nodes().map(|handle| put_all(handle, 0))).await;
    let (mut indexes, mut revisions) = (BTreeSet::new(), BTreeMap::new());
    for of_one_node in &all {
        let order: Vec<i64> = of_one_node.iter().map(|(_, committed)| revision(committed)).collect();
        assert!(order.is_sorted(), "what a node proposes first comes first: {order:?}");
        for (key, committed) in of_one_node {
            indexes.insert(committed.log_index);
            let taken = revisions.insert(revision(committed), key.clone());
            assert_eq!(taken, None, "a revision was given twice");
        }
    }
    let puts = 3 * AT_ONCE;
    assert_eq!(revisions.len(), puts);
    assert!(indexes.len() < puts / 4, "{} entries for {puts} puts", indexes.len());
    for handle in cluster.nodes() {
        handle.read_index(CALL).await.expect("the node reads");
        for (key, _) in all.iter().flatten() {
            assert_eq!(
                get(handle, key),
                Some((key.clone(), 1)),
                "{key} on node {}",
                handle.node_id()
            );
        }
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_under_way_when_the_leader_dies_are_applied_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = bootstrapped(directory.path()).await;
    let leader = cluster.wait_for_leader().await;
    let writers: Vec<_> = (1..=3)
        .filter(|id| *id != leader)
        .map(|id| {
            let handle = cluster.node(id).clone();
            tokio::spawn(async move {
                let mut keys = Vec::new();
                for round in 0..10 {
                    keys.extend(put_all(&handle, round).await.into_iter().map(|(key, _)| key));
                }
                keys
            })
        })
        .collect();
    let watched = cluster.node(if leader == 1 { 2 } else { 1 }).clone();
    let first = format!("{}-1-0", watched.node_id());
    wait_until("the writers are under way", || get(&watched, &first).is_some()).await;
    cluster.kill(leader).await;
    let keys: Vec<String> = join_all(writers)
        .await
        .into_iter()
        .flat_map(|keys| keys.expect("no put failed"))
        .collect();
    cluster.restart(leader).await;
    for handle in cluster.nodes() {
        wait_until("the node has contact again", || handle.status().borrow().serving).await;
        handle.read_index(CALL).await.expect("the node reads");
        for key in &keys {
            assert_eq!(
                get(handle, key),
                Some((key.clone(), 1)),
                "{key} on node {}",
                handle.node_id()
            );
        }
    }
    cluster.stop_all().await;
}
