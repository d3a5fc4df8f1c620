//! Leadership goes to the preferred site once that has been well for long enough.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::identity::ClusterKey;
use quorate::links::Links;
use quorate::membership::{Membership, Numbering};
use quorate::reconcilers::{
    Board, DiskGuard, DiskLimits, Fence, Heartbeats, LeaderPriority, LeaderRequests, Probers, Reconcilers,
};
use quorate_etcd_api::Lessor;
use quorate_probes::Names;
use quorate_raft::testing::{TestCluster, wait_until};
use quorate_raft::{Handle, Retention};
use tokio_util::sync::CancellationToken;

use crate::support::{bootstrapped, turn};

const QUICK: LeaderPriority = LeaderPriority {
    well_for: Duration::from_secs(1),
    pause: Duration::from_millis(500),
    look_interval: Duration::from_millis(50),
};

/// Starts what a node runs beside consensus, as `serve` does.
fn reconcile(handle: &Handle, directory: &std::path::Path, stop: &CancellationToken) {
    let heartbeats = Arc::new(Heartbeats::default());
    handle.set_leader_request_handler(Arc::new(LeaderRequests {
        handle: handle.clone(),
        heartbeats: heartbeats.clone(),
        lessor: Lessor::new(handle.clone()),
        membership: Membership::new(handle.clone(), heartbeats.clone(), Numbering::Consecutive),
    }));
    let board = Arc::new(Board::default());
    let links = Links::new(handle.node_id(), None, None);
    let reconcilers = Reconcilers {
        handle: handle.clone(),
        board: board.clone(),
        heartbeats,
        probers: Probers::new(
            handle.clone(),
            board,
            ClusterKey::generate(),
            links.clone(),
            Names::default(),
        ),
        disk: Arc::new(DiskGuard::new(
            handle.clone(),
            directory.to_path_buf(),
            DiskLimits {
                minimum_free_bytes: 0,
                minimum_free_percent: 0,
                ballast_bytes: 0,
            },
        )),
        leader_priority: QUICK,
        links: links.clone(),
        link_board: Arc::default(),
        fence: Fence::default(),
    };
    let mut tasks = reconcilers.start(stop);
    tokio::spawn(async move { while tasks.join_next().await.is_some() {} });
}

fn leads(cluster: &TestCluster, id: u64) -> bool {
    cluster.nodes().all(|node| node.status().borrow().leader == Some(id))
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_returns_to_the_preferred_site_that_is_well() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let mut cluster = bootstrapped(directory.path(), Retention::default()).await;
    for node in cluster.nodes() {
        reconcile(node, directory.path(), &stop);
    }
    wait_until("dc1 leads", || leads(&cluster, 1)).await;
    cluster.kill(1).await;
    // Whoever was elected: of those that are there, dc2 is preferred.
    wait_until("dc2 leads", || leads(&cluster, 2)).await;
    let returned = Instant::now();
    cluster.restart(1).await;
    reconcile(cluster.node(1), directory.path(), &stop);
    wait_until("dc1 leads again", || leads(&cluster, 1)).await;
    assert!(returned.elapsed() >= QUICK.well_for, "after {:?}", returned.elapsed());
    stop.cancel();
    cluster.stop_all().await;
}
