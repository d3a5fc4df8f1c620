//! `quorate serve`: wires consensus, doors and reconcilers together, and takes them down in order.
//!
//! Up: reserve the ports, start consensus (which locks the data directory), open the console (whose `/readyz` says what is
//! missing), then, once this node can answer, the KV door: an SDK that cannot log in within a second of its start gives up for
//! good. Down: announce it, hand leadership over, close the doors, stop the reconcilers, flush.

pub mod certificates;
mod consensus;
mod doors;
mod edges;
mod first_start;
mod health;
mod instance_keys;
mod instances;
mod metrics;
mod ports;
mod signals;

pub(crate) use signals::StopRequest;

use std::sync::Arc;
use std::time::Duration;

use quorate_probes::Names;
use quorate_raft::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::identity::IdentityDirectory;
use crate::links::Links;
use crate::reconcilers::{
    BALLAST_BYTES, Board, DiskGuard, DiskLimits, Fence, Heartbeats, LeaderPriority, Probers, Reconcilers,
    announce_departure, panicked,
};

/// Time for handing leadership over when the node stops.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(2);

/// Runs one node until it is told to stop, or cannot go on.
///
/// # Errors
///
/// Says what keeps the node from serving and what to do about it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut stop_request = signals::StopRequest::listen()?;
    let directory = IdentityDirectory::new(&config.identity_dir);
    let identity = directory.node()?;
    let key = directory.cluster_key()?;
    let ports = ports::Reserved::reserve(&config)?;
    let links = Links::new(identity.profile.node_id, config.source_address, config.fault_proxy);
    let handle = consensus::start(&config, &directory, &identity, &links, ports.peer).await?;
    tracing::info!(
        node_id = handle.node_id(),
        incarnation = handle.incarnation(),
        cluster_id = %identity.cluster_id,
        peer = %config.peer.listen,
        kv = %config.kv.listen,
        console = %config.console.listen,
        "the node starts"
    );

    let names = Names::new(config.names());
    let fence = Fence::default();
    let board = Arc::new(Board::default());
    let reconcilers = Reconcilers {
        handle: handle.clone(),
        board: board.clone(),
        heartbeats: Arc::new(Heartbeats::default()),
        probers: Probers::new(handle.clone(), board, key.clone(), links.clone(), names.clone()),
        disk: Arc::new(DiskGuard::new(
            handle.clone(),
            config.data_dir.clone(),
            DiskLimits {
                minimum_free_bytes: config.minimum_free_bytes,
                minimum_free_percent: config.minimum_free_percent,
                ballast_bytes: BALLAST_BYTES,
            },
        )),
        leader_priority: LeaderPriority::default(),
        links: links.clone(),
        link_board: Arc::default(),
        fence: fence.clone(),
    };
    let stop = CancellationToken::new();
    let parts = doors::Parts {
        config: &config,
        directory: &directory,
        identity: &identity,
        key,
        links,
        names,
    };
    let mut doors = doors::Doors::open(parts, &reconcilers, ports.kv, ports.console, &stop)?;
    let mut tasks = reconcilers.start(&stop);

    let outcome = tokio::select! {
        reason = stop_request.wait() => {
            tracing::info!(reason, "the node stops");
            announce_departure(&handle, reason).await;
            Ok(())
        }
        reason = fence.raised() => Err(anyhow::anyhow!(reason)),
        problem = fatal(&handle) => Err(anyhow::anyhow!("consensus has stopped: {problem}")),
        problem = panicked(&mut tasks) => Err(anyhow::anyhow!("a reconciler failed, so this node cannot go on: {problem}")),
        problem = doors.failed() => Err(anyhow::anyhow!("a door failed, so this node cannot go on: {problem}")),
        Err(error) = first_start::run(&handle, &directory) => Err(error.into()),
    };
    stop_in_order(&handle, doors, stop, tasks).await;
    outcome
}

/// Waits until consensus cannot go on; gives the reason.
async fn fatal(handle: &Handle) -> String {
    let mut status = handle.status();
    match status.wait_for(|status| status.fatal.is_some()).await {
        Ok(status) => status.fatal.clone().unwrap_or_default(),
        Err(_) => "its threads have ended".to_string(),
    }
}

async fn stop_in_order(handle: &Handle, doors: doors::Doors, stop: CancellationToken, mut tasks: JoinSet<()>) {
    handle.prepare_stop();
    if handle.is_leader()
        && let Err(error) = handle.transfer_leadership(None, HAND_OVER_DEADLINE).await
    {
        // Alone in the cluster, or the others are gone: they elect without being asked.
        tracing::info!("leadership was not handed over: {error}");
    }
    stop.cancel();
    doors.close().await;
    while tasks.join_next().await.is_some() {}
    handle.shutdown().await;
    tracing::info!("the node has stopped");
}
