//! Everything that acts because of what the replicated state says.
//!
//! A reconciler takes no input: it looks at the state, does what is outstanding, and reports back by proposing. Wake-ups may
//! be lost or doubled, so each looks again by itself now and then; doing its work twice does no harm. None of them decides
//! anything about failover.

mod board;
mod clients;
mod consistency;
mod disk;
mod heartbeats;
mod history;
mod leader_priority;
mod leader_requests;
mod links;
mod members;
mod prober;
mod probes;
mod reporter;
mod republisher;
mod ticker;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use quorate_machine::{
    AnnounceDeparture, Command, Principal, PrincipalKind, Proposal, Refusal, RefusalCode, Reply, ReplyKind,
};
use quorate_raft::{CallError, Handle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::links::Links;

pub use board::{Board, BoardCounts};
pub use consistency::watch_consistency;
pub use disk::{BALLAST_BYTES, BALLAST_FILE, DiskGuard, DiskLimits, DiskState};
pub use heartbeats::{HEARTBEAT_REQUEST_TAG, Heartbeats};
pub use history::HistoryPolicy;
pub use leader_priority::{LeaderPriority, prefer_leaders};
pub use leader_requests::LeaderRequests;
pub use links::LinkBoard;
pub(crate) use members::peer_address;
pub use members::registrar;
pub use prober::{Probers, opened};

/// Time that a reconciler's proposal may take; it is made again where it did not get through.
const PROPOSAL_DEADLINE: Duration = Duration::from_secs(5);
/// Time for a node that stops to say so.
const DEPARTURE_DEADLINE: Duration = Duration::from_secs(1);

/// What the reconcilers work with.
#[derive(Clone)]
pub struct Reconcilers {
    pub handle: Handle,
    pub board: Arc<Board>,
    pub heartbeats: Arc<Heartbeats>,
    pub probers: Probers,
    pub disk: Arc<DiskGuard>,
    pub leader_priority: LeaderPriority,
    pub links: Links,
    pub link_board: Arc<LinkBoard>,
    /// Cancelled with a reason when this node must stop by itself.
    pub fence: Fence,
}

/// Lets a reconciler stop the whole node; the first reason counts.
#[derive(Clone)]
pub struct Fence {
    reason: tokio::sync::watch::Sender<Option<String>>,
}

impl Default for Fence {
    fn default() -> Self {
        Self {
            reason: tokio::sync::watch::Sender::new(None),
        }
    }
}

impl Fence {
    /// Asks the node to stop, saying why.
    pub fn raise(&self, reason: String) {
        self.reason.send_if_modified(|present| {
            let first = present.is_none();
            if first {
                *present = Some(reason);
            }
            first
        });
    }

    /// Waits until some reconciler raises the fence; gives the reason.
    pub async fn raised(&self) -> String {
        let mut reason = self.reason.subscribe();
        match reason.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Reconcilers {
    /// Starts every reconciler; they end when `stop` is cancelled.
    pub fn start(&self, stop: &CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let Self {
            handle,
            board,
            heartbeats,
            probers,
            disk,
            leader_priority,
            links,
            link_board,
            fence: _,
        } = self.clone();
        let mut spawn = |task: BoxFuture<'static, ()>| tasks.spawn(stopping(stop.clone(), task));
        spawn(Box::pin(probes::run(handle.clone(), probers)));
        spawn(Box::pin(reporter::run(handle.clone(), board.clone())));
        spawn(Box::pin(heartbeats::send(handle.clone(), board)));
        spawn(Box::pin(heartbeats.clone().watch_workers(handle.clone())));
        spawn(Box::pin(ticker::run(handle.clone())));
        spawn(Box::pin(history::run(handle.clone(), HistoryPolicy::DEFAULT)));
        spawn(Box::pin(republisher::run(handle.clone())));
        spawn(Box::pin(watch_consistency(handle.clone())));
        spawn(Box::pin(prefer_leaders(
            handle.clone(),
            heartbeats.clone(),
            leader_priority,
        )));
        spawn(Box::pin(links::run(handle.clone(), links, link_board)));
        spawn(Box::pin(members::run(handle, heartbeats)));
        spawn(Box::pin(disk.run()));
        tasks
    }
}

/// The reconcilers of a member of a cluster that stands in for etcd: no probes, no votes, no disks.
pub(crate) fn member_tasks(handle: &Handle, heartbeats: Arc<Heartbeats>, stop: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut spawn = |task: BoxFuture<'static, ()>| tasks.spawn(stopping(stop.clone(), task));
    spawn(Box::pin(heartbeats::send(handle.clone(), Arc::default())));
    spawn(Box::pin(watch_consistency(handle.clone())));
    spawn(Box::pin(members::run(handle.clone(), heartbeats)));
    tasks
}

/// Tells the cluster that this node goes away on purpose, so that its silence is no lost site.
pub async fn announce_departure(handle: &Handle, reason: &str) {
    let departure = AnnounceDeparture {
        node: handle.node_id(),
        incarnation: handle.incarnation(),
        departing: true,
        reason: reason.to_string(),
    };
    let announced = propose(handle, Command::AnnounceDeparture(departure));
    match tokio::time::timeout(DEPARTURE_DEADLINE, announced).await {
        Ok(Ok(_)) => {}
        // Without a quorum there is nobody to tell, and nobody to take the silence for a loss.
        Ok(Err(error)) => tracing::info!("the departure was not announced: {error}"),
        Err(_) => tracing::info!("the departure was not announced in time"),
    }
}

/// Waits until one of a node's tasks panics; gives what it said. One that ends by itself had nothing left to do.
///
/// A node without one of its reconcilers looks well and is not: without its ticker no failover of its term ever happens.
/// It has to stop, so that the others take over and whoever supervises the process starts it again.
pub(crate) async fn panicked(tasks: &mut JoinSet<()>) -> String {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            return error.to_string();
        }
    }
    std::future::pending().await
}

async fn stopping(stop: CancellationToken, task: impl Future<Output = ()>) {
    stop.run_until_cancelled(task).await;
}

/// Proposes on behalf of this node; `Err` with the refusal's code where the machine refused.
pub(crate) async fn propose(handle: &Handle, command: Command) -> Result<Reply, ProposeError> {
    let author = Principal {
        kind: Some(PrincipalKind::Node(handle.node_id())),
        source: String::new(),
    };
    let proposal = Proposal {
        author: Some(author),
        command: Some(command),
    };
    let committed = handle.propose(proposal, PROPOSAL_DEADLINE).await?;
    match &committed.reply.kind {
        Some(ReplyKind::Refused(refusal)) => Err(ProposeError::Refused(refusal.clone())),
        _ => Ok(committed.reply),
    }
}

/// Why a reconciler's proposal came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProposeError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("refused: {:?}", RefusalCode::try_from(.0.code).unwrap_or(RefusalCode::Unspecified))]
    Refused(Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_one_task_is_told_and_an_end_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        let aborted = tasks.spawn(std::future::pending());
        aborted.abort();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn(async move {
            let _ = gone.await;
            panic!("planted");
        });
        let quiet = tokio::time::timeout(Duration::from_millis(50), panicked(&mut tasks)).await;
        assert!(quiet.is_err(), "nothing has failed yet: {quiet:?}");
        drop(go);
        assert!(panicked(&mut tasks).await.contains("planted"));
    }
}
