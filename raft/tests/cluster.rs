//! Three real nodes on loopback: mutual TLS, RocksDB logs, real elections.

mod cluster_common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster_common::*;
use quorate_raft::testing::{TestCluster, single_node, three_nodes, wait_until};
use quorate_raft::{
    AskNodeError, CallError, Handle, LeaderRequestHandler, MAX_NODE_REQUEST_BYTES, NodeRequestHandler, Retention,
};

async fn bootstrapped(directory: &std::path::Path) -> TestCluster {
    let cluster = three_nodes(directory).await;
    let reply = cluster
        .node(1)
        .propose(bootstrap(), CALL)
        .await
        .expect("the cluster answers");
    assert_carried_out(&reply.reply);
    for node in cluster.nodes() {
        node.read_index(CALL).await.expect("every node reads");
    }
    cluster
}

/// Waits until the writers of every given node are well under way.
async fn wait_until_written(cluster: &TestCluster, by: &[u64]) {
    const WRITES: usize = 20;
    for id in by {
        let (handle, key) = (cluster.node(*id).clone(), format!("{id}-{WRITES}"));
        wait_until("the writers are under way", || get(&handle, &key).is_some()).await;
    }
}

/// Puts from every given node, one after the other on each, with a deadline of one second each.
fn writers(cluster: &TestCluster, on: &[u64], count: usize) -> Vec<tokio::task::JoinHandle<Vec<(String, Duration)>>> {
    on.iter()
        .map(|id| {
            let handle = cluster.node(*id).clone();
            tokio::spawn(async move {
                let mut done = Vec::new();
                for number in 0..count {
                    let key = format!("{}-{number}", handle.node_id());
                    let begun = Instant::now();
                    must_put(&handle, &key, "value", Duration::from_secs(1)).await;
                    done.push((key, begun.elapsed()));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                done
            })
        })
        .collect()
}

async fn assert_applied_once(handle: &Handle, keys: &[(String, Duration)]) {
    handle.read_index(CALL).await.expect("the node reads");
    for (key, _) in keys {
        let (_, version) = get(handle, key).unwrap_or_else(|| panic!("{key} was acknowledged and is lost"));
        assert_eq!(version, 1, "{key} was applied {version} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_proposes_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = TestCluster::start(directory.path(), 1).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    must_put(cluster.node(1), "key", "value", CALL).await;
    let incarnation = cluster.node(1).incarnation();
    cluster.stop(1).await;
    cluster.restart(1).await;
    cluster.wait_for_leader().await;
    assert_eq!(
        linearizable_get(cluster.node(1), "key").await.unwrap().unwrap().0,
        "value"
    );
    assert!(cluster.node(1).incarnation() > incarnation);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_serves() {
    let directory = tempfile::tempdir().unwrap();
    let handle = single_node(directory.path()).await;
    handle.read_index(CALL).await.unwrap();
    assert!(handle.is_leader());
    handle.confirm_leadership(CALL).await.unwrap();
    assert!(handle.status().borrow().serving);
    handle.shutdown().await;
    assert_eq!(handle.read_index(CALL).await, Err(CallError::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_proposes_and_reads_what_others_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = bootstrapped(directory.path()).await;
    for writer in 1..=3 {
        let key = format!("key-{writer}");
        must_put(cluster.node(writer), &key, "value", CALL).await;
        for reader in 1..=3 {
            let found = linearizable_get(cluster.node(reader), &key).await.unwrap();
            assert_eq!(
                found,
                Some(("value".to_owned(), 1)),
                "written on {writer}, read on {reader}"
            );
        }
    }
    let leader = cluster.wait_for_leader().await;
    let hashes: Vec<_> = cluster
        .nodes()
        .map(|node| node.read(|state| state.state_hash()))
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "the nodes' states differ");
    let started = cluster.node(leader).read(|state| state.current_term());
    assert_eq!(
        started,
        cluster.node(leader).status().borrow().term,
        "the term has begun with LeaderStarted"
    );
    wait_until("every peer is heard", || {
        cluster.node(1).reachable_peers(Duration::from_secs(1)) == [2, 3]
    })
    .await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_leader_fails_no_call_with_a_second_to_go() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = bootstrapped(directory.path()).await;
    let leader = cluster.wait_for_leader().await;
    let survivors: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let running = writers(&cluster, &survivors, 150);
    wait_until_written(&cluster, &survivors).await;
    cluster.kill(leader).await;
    let mut done = Vec::new();
    for writer in running {
        done.extend(writer.await.expect("no call failed"));
    }
    let longest = done.iter().map(|(_, took)| *took).max().unwrap();
    println!("longest call over the kill of the leader: {longest:?}");
    cluster.restart(leader).await;
    cluster.wait_for_leader().await;
    for node in cluster.nodes() {
        assert_applied_once(node, &done).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over_without_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = bootstrapped(directory.path()).await;
    let leader = cluster.wait_for_leader().await;
    let survivors: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let running = writers(&cluster, &survivors, 100);
    wait_until_written(&cluster, &survivors).await;
    cluster.stop(leader).await;
    let mut done = Vec::new();
    for writer in running {
        done.extend(writer.await.expect("no call failed"));
    }
    let longest = done.iter().map(|(_, took)| *took).max().unwrap();
    assert!(
        longest < Duration::from_millis(450),
        "a hand-over took {longest:?}, as long as an election"
    );
    assert_applied_once(cluster.node(survivors[0]), &done).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_to_the_node_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = bootstrapped(directory.path()).await;
    let leader = cluster.wait_for_leader().await;
    let heir = leader % 3 + 1;
    cluster
        .node(leader)
        .transfer_leadership(Some(heir), CALL)
        .await
        .unwrap();
    assert_eq!(cluster.wait_for_leader().await, heir);
    let refused = cluster.node(leader).transfer_leadership(None, CALL).await;
    assert_eq!(refused, Err(CallError::NoLeader));
    assert_eq!(
        cluster.node(leader).confirm_leadership(CALL).await,
        Err(CallError::NoLeader)
    );
    must_put(cluster.node(leader), "after", "value", CALL).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_quorum_fails_fast() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = bootstrapped(directory.path()).await;
    cluster.kill(2).await;
    cluster.kill(3).await;
    let alone = cluster.node(1).clone();
    let mut status = alone.status();
    status.wait_for(|status| !status.serving).await.unwrap();
    let begun = Instant::now();
    assert_eq!(alone.read_index(CALL).await, Err(CallError::NoLeader));
    assert_eq!(
        alone.propose(put(&alone, "key", "value"), CALL).await,
        Err(CallError::NoLeader)
    );
    assert!(
        begun.elapsed() < Duration::from_millis(100),
        "it waited although it does not serve"
    );
    status.wait_for(|status| !status.watchable).await.unwrap();
    cluster.restart(2).await;
    cluster.wait_for_leader().await;
    must_put(&alone, "key", "value", CALL).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_killed_and_restarted_keep_every_acknowledged_write() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = bootstrapped(directory.path()).await;
    let mut done = Vec::new();
    for writer in writers(&cluster, &[1, 2, 3], 20) {
        done.extend(writer.await.unwrap());
    }
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    cluster.wait_for_leader().await;
    for node in cluster.nodes() {
        assert_applied_once(node, &done).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_far_behind_and_a_new_node_catch_up_by_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let small = Retention {
        snapshot_every_entries: 50,
        kept_entries: 5,
        ..Retention::default()
    };
    let mut cluster = TestCluster::start_with(directory.path(), 3, small, true).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    let leader = cluster.wait_for_leader().await;
    let behind = leader % 3 + 1;
    cluster.stop(behind).await;
    cluster.wait_for_leader().await;
    let writer = cluster.nodes().next().unwrap().clone();
    writer.read_index(CALL).await.unwrap();
    for number in 0..200 {
        must_put(&writer, &format!("key-{number}"), "value", CALL).await;
    }
    wait_until("the log is purged", || writer.status().borrow().snapshot_index > 150).await;
    cluster.restart(behind).await;
    cluster.wait_for_leader().await;
    assert!(
        linearizable_get(cluster.node(behind), "key-199")
            .await
            .unwrap()
            .is_some()
    );
    let leader = cluster.wait_for_leader().await;
    cluster.start_new(4).await;
    let leading = cluster.node(leader).clone();
    leading.add_learner(4, cluster.member(4), CALL).await.unwrap();
    wait_until("the learner has caught up", || {
        get(cluster.node(4), "key-199").is_some()
    })
    .await;
    leading.promote(vec![4], CALL).await.unwrap();
    leading.remove(vec![behind], CALL).await.unwrap();
    assert!(!leading.status().borrow().voters.contains(&behind));
    must_put(cluster.node(4), "by-four", "value", CALL).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_members_wait_for_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = TestCluster::start(directory.path(), 3).await;
    let leader = cluster.wait_for_leader().await;
    cluster.start_new(4).await;
    cluster.start_new(5).await;
    let leading = cluster.node(leader).clone();
    let learn = |id| leading.add_learner(id, cluster.member(id), CALL);
    let (fourth, fifth) = tokio::join!(learn(4), learn(5));
    fourth.unwrap();
    fifth.unwrap();
    let promote = |id| leading.promote(vec![id], CALL);
    let (fourth, again, fifth) = tokio::join!(promote(4), promote(4), promote(5));
    fourth.unwrap();
    again.unwrap();
    fifth.unwrap();
    wait_until("five vote", || leading.status().borrow().voters.len() == 5).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_restarts_from_its_snapshot_and_falls_back_from_a_damaged_one() {
    let directory = tempfile::tempdir().unwrap();
    let small = Retention {
        snapshot_every_entries: 40,
        kept_entries: 1000,
        ..Retention::default()
    };
    let mut cluster = TestCluster::start_with(directory.path(), 1, small, true).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    let snapshots = directory.path().join("node-1/snapshots");
    for number in 0..100 {
        must_put(cluster.node(1), &format!("key-{number}"), "value", CALL).await;
        if number == 60 {
            wait_until("one snapshot is there", || {
                cluster.node(1).status().borrow().snapshot_index > 0
            })
            .await;
        }
    }
    // Asked again: while an older one is still being written, asking does nothing.
    let mut status = cluster.node(1).status();
    let begun = Instant::now();
    loop {
        cluster.node(1).trigger_snapshot().await.unwrap();
        let newer = status.wait_for(|status| status.snapshot_index > 90);
        if tokio::time::timeout(Duration::from_millis(200), newer).await.is_ok() {
            break;
        }
        assert!(begun.elapsed() < CALL, "the second snapshot is not there");
    }
    cluster.stop(1).await;
    let mut files: Vec<_> = std::fs::read_dir(snapshots)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 2, "the last two are kept");
    let newest = files.pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    cluster.restart(1).await;
    cluster.wait_for_leader().await;
    cluster.node(1).read_index(CALL).await.unwrap();
    for number in 0..100 {
        assert!(get(cluster.node(1), &format!("key-{number}")).is_some());
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_snapshots_are_all_damaged_refuses_to_start_and_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let small = Retention {
        snapshot_every_entries: 30,
        kept_entries: 1,
        ..Retention::default()
    };
    let mut cluster = TestCluster::start_with(directory.path(), 1, small, true).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    for number in 0..100 {
        must_put(cluster.node(1), &format!("key-{number}"), "value", CALL).await;
    }
    wait_until("there is a snapshot", || {
        cluster.node(1).status().borrow().snapshot_index > 60
    })
    .await;
    cluster.stop(1).await;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory.path().join("node-1/snapshots")).unwrap() {
        let path = entry.unwrap().path();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length / 2)
            .unwrap();
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    let refused = cluster
        .try_restart(1)
        .await
        .expect_err("there is no snapshot to start from")
        .to_string();
    names.sort();
    assert!(refused.contains(names.last().unwrap().as_str()), "{refused}");
    assert!(refused.contains("join again"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_data_does_not_start_as_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = three_nodes(directory.path()).await;
    cluster.stop(2).await;
    std::fs::remove_dir_all(directory.path().join("node-2")).unwrap();
    let refused = cluster
        .try_restart(2)
        .await
        .expect_err("an empty directory is refused")
        .to_string();
    assert!(refused.contains("quorate join"), "{refused}");
    cluster.stop_all().await;
}

struct Echo;

impl LeaderRequestHandler for Echo {
    fn handle(&self, from: u64, request: Bytes) -> futures_util::future::BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async move {
            if request.is_empty() {
                return Err("nothing to echo".to_owned());
            }
            Ok([&from.to_string().into_bytes()[..], &request[..]].concat().into())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_asks_the_leader() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = three_nodes(directory.path()).await;
    for node in cluster.nodes() {
        node.set_leader_request_handler(Arc::new(Echo));
    }
    for node in cluster.nodes() {
        let answer = node.ask_leader(Bytes::from_static(b"!"), CALL).await.unwrap();
        assert_eq!(answer, format!("{}!", node.node_id()).as_bytes());
        let refused = node.ask_leader(Bytes::new(), CALL).await;
        assert_eq!(refused, Err(CallError::Remote("nothing to echo".to_owned())));
    }
    cluster.stop_all().await;
}

impl NodeRequestHandler for Echo {
    fn handle(&self, from: u64, request: Bytes) -> futures_util::future::BoxFuture<'static, Result<Bytes, String>> {
        LeaderRequestHandler::handle(self, from, request)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_asks_any_other_and_names_the_silent_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = three_nodes(directory.path()).await;
    let first = cluster.node(1).clone();
    let starting = first.ask_node(2, Bytes::from_static(b"!"), CALL).await;
    assert_eq!(
        starting,
        Err(AskNodeError::Refused("the node is still starting".to_owned()))
    );
    for node in cluster.nodes() {
        node.set_node_request_handler(Arc::new(Echo));
    }
    for node in cluster.nodes() {
        for to in 1..=3 {
            let answer = node.ask_node(to, Bytes::from_static(b"!"), CALL).await.unwrap();
            assert_eq!(answer, format!("{}!", node.node_id()).as_bytes());
            let refused = node.ask_node(to, Bytes::new(), CALL).await;
            assert_eq!(refused, Err(AskNodeError::Refused("nothing to echo".to_owned())));
            let large = Bytes::from(vec![0; MAX_NODE_REQUEST_BYTES + 1]);
            let refused = node.ask_node(to, large, CALL).await;
            assert!(matches!(refused, Err(AskNodeError::Refused(_))), "{refused:?}");
        }
        let nobody = node.ask_node(9, Bytes::from_static(b"!"), CALL).await;
        assert_eq!(nobody, Err(AskNodeError::UnknownNode(9)));
    }
    cluster.kill(2).await;
    cluster.kill(3).await;
    // No quorum is left, and who lives still answers.
    assert!(first.ask_node(1, Bytes::from_static(b"!"), CALL).await.is_ok());
    let silent = first.ask_node(2, Bytes::from_static(b"!"), CALL).await;
    assert!(
        matches!(silent, Err(AskNodeError::Unreachable(_) | AskNodeError::TimedOut)),
        "{silent:?}"
    );
    cluster.stop_all().await;
}
