//! What becomes of requests to a leader whose network swallows everything: its connections stay open and carry nothing.

mod cluster_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster_common::*;
use futures_util::future::BoxFuture;
use quorate_raft::testing::{TestCluster, TestLinks, wait_until};
use quorate_raft::{CallError, Handle, LeaderRequestHandler, Purpose, Retention};

/// Longer than it takes to find that a connection is silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// Counts what it is asked, and answers nothing while it is told to be silent.
#[derive(Default)]
struct Counting {
    asked: AtomicU64,
    silent: bool,
}

impl LeaderRequestHandler for Counting {
    fn handle(&self, _: u64, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.silent {
            true => Box::pin(std::future::pending()),
            false => Box::pin(std::future::ready(Ok(Bytes::from_static(b"done")))),
        }
    }
}

/// A cluster on these links with its leader, and the two others.
async fn led(directory: &std::path::Path, links: &TestLinks) -> (TestCluster, u64, [u64; 2]) {
    let cluster = TestCluster::start_linked(directory, Retention::default(), links).await;
    cluster.node(1).propose(bootstrap(), CALL).await.unwrap();
    let leader = cluster.wait_for_leader().await;
    (cluster, leader, [leader % 3 + 1, (leader + 1) % 3 + 1])
}

fn ask(node: &Handle) -> tokio::task::JoinHandle<Result<Bytes, CallError>> {
    let node = node.clone();
    tokio::spawn(async move { node.ask_leader(Bytes::from_static(b"?"), PATIENCE).await })
}

/// Sets who answers on these nodes.
fn set_handlers(cluster: &TestCluster, nodes: [u64; 2]) -> [Arc<Counting>; 2] {
    nodes.map(|id| {
        let handler = Arc::new(Counting::default());
        cluster.node(id).set_leader_request_handler(handler.clone());
        handler
    })
}

/// Asks from the first of the others what the leader takes in and does not answer, and then silences the leader.
async fn ask_and_silence(
    cluster: &TestCluster,
    links: &TestLinks,
    leader: u64,
    others: [u64; 2],
) -> tokio::task::JoinHandle<Result<Bytes, CallError>> {
    let handler = Arc::new(Counting {
        silent: true,
        ..Counting::default()
    });
    cluster.node(leader).set_leader_request_handler(handler.clone());
    let asking = ask(cluster.node(others[0]));
    wait_until("the leader has the request", || {
        handler.asked.load(Ordering::SeqCst) == 1
    })
    .await;
    for other in others {
        links.silence(leader, other);
    }
    asking
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_leader_may_have_carried_out_is_not_asked_of_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let links = TestLinks::default();
    let (mut cluster, leader, others) = led(directory.path(), &links).await;
    let next = set_handlers(&cluster, others);
    let asking = ask_and_silence(&cluster, &links, leader, others).await;
    let outcome = asking.await.unwrap();
    assert_eq!(outcome, Err(CallError::TimedOutLeaderLost));
    let asked_again = next.map(|handler| handler.asked.load(Ordering::SeqCst));
    assert_eq!(asked_again, [0, 0]);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_connection_took_is_asked_until_one_does() {
    const ATTEMPTS: u64 = 5;
    let directory = tempfile::tempdir().unwrap();
    let links = TestLinks::default();
    let (mut cluster, leader, others) = led(directory.path(), &links).await;
    let follower = others[0];
    set_handlers(&cluster, [leader, others[1]]);
    let dialled = || links.dialled(follower, leader, Purpose::Control);
    let before = dialled();
    links.cut(follower, leader, Purpose::Control);
    // The node asks regularly who is there: once it dials, the old connection is gone.
    wait_until("the leader is dialled in vain", || dialled() > before).await;
    let (before, asking) = (dialled(), ask(cluster.node(follower)));
    wait_until("the request is tried again", || {
        dialled() >= before + ATTEMPTS || asking.is_finished()
    })
    .await;
    links.mend(follower, leader, Purpose::Control);
    assert_eq!(asking.await.unwrap(), Ok(Bytes::from_static(b"done")));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_no_harm_twice_is_asked_of_the_next_leader_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let links = TestLinks::default();
    let (mut cluster, leader, others) = led(directory.path(), &links).await;
    set_handlers(&cluster, others);
    let first = ask_and_silence(&cluster, &links, leader, others).await;
    let follower = cluster.node(others[0]).clone();
    let mut status = follower.status();
    let answer = loop {
        // Between two leaders it may not serve for a moment.
        status.wait_for(|status| status.serving).await.unwrap();
        match follower.ask_leader_idempotent(Bytes::from_static(b"?"), PATIENCE).await {
            Err(CallError::NoLeader) => {}
            outcome => break outcome,
        }
    };
    assert_eq!(answer, Ok(Bytes::from_static(b"done")));
    assert!(
        !first.is_finished(),
        "it waited until the silent connection was found dead"
    );
    cluster.stop_all().await;
}
