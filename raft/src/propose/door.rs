//! The leader's side: stamps the time and proposes in batches.
//!
//! It also sees to it that the first command of every term is `LeaderStarted`: automatic decisions build on that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;
use quorate_machine::{Command, Envelope, LeaderStarted, Principal, PrincipalKind, Proposal, Reply, SessionStamp};
use tokio::sync::Mutex;

use crate::clock::{ClusterClock, WallClock};
use crate::types::{Applied, Raft, TypeConfig};

/// What is proposed: its de-duplication stamp and the encoded proposal.
pub(crate) struct DoorItem {
    pub stamp: Option<SessionStamp>,
    pub proposal: Bytes,
}

/// For every item in order: the reply and its log index, or `None` if it has to be sent to the leader again.
pub(crate) type DoorOutcomes = BoxStream<'static, Option<(Reply, u64)>>;

/// Where proposals enter the log of a leader.
pub(crate) struct LeaderDoor<RT: AsyncRuntime> {
    node_id: u64,
    raft: Raft<RT>,
    clock: Arc<ClusterClock<RT>>,
    wall: Arc<dyn WallClock>,
    /// Held while a batch is handed over, so that batches enter in the order of their stamps' times.
    order: Mutex<()>,
    /// Term whose `LeaderStarted` was proposed last.
    started_term: Arc<AtomicU64>,
    /// The node is fenced: what it would answer is not to be trusted.
    closed: AtomicBool,
}

impl<RT: AsyncRuntime> LeaderDoor<RT> {
    pub fn new(node_id: u64, raft: Raft<RT>, clock: Arc<ClusterClock<RT>>, wall: Arc<dyn WallClock>) -> Self {
        Self {
            node_id,
            raft,
            clock,
            wall,
            order: Mutex::new(()),
            started_term: Arc::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// True if `LeaderStarted` of this term was proposed and not refused.
    pub fn has_begun(&self, term: u64) -> bool {
        self.started_term.load(Ordering::Relaxed) == term
    }

    /// From now on nothing is proposed here, as if this node did not lead.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Proposes a batch; `None` if this node does not lead. An empty batch only begins the term. The
    /// outcomes have to be read to their end.
    pub async fn submit(&self, items: Vec<DoorItem>) -> Option<DoorOutcomes> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let _order = self.order.lock().await;
        let term = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.state.is_leader() && metrics.current_leader == Some(self.node_id))
                .then_some(metrics.current_term)?
        };
        let begins = self.started_term.load(Ordering::Relaxed) != term;
        let time_ms = self.clock.now_ms();
        let wall_ms = self.wall.now_ms();
        let envelope = |session, proposal| Envelope {
            time_ms,
            wall_ms,
            session,
            proposal,
        };
        let mut batch = Vec::with_capacity(items.len() + usize::from(begins));
        if begins {
            batch.push(envelope(None, leader_started(term, self.node_id)));
        }
        batch.extend(items.into_iter().map(|item| envelope(item.stamp, item.proposal)));
        if batch.is_empty() {
            return Some(futures_util::stream::empty().boxed());
        }
        let outcomes = self.raft.client_write_many(batch).await.ok()?;
        if !begins {
            return Some(outcomes.map(outcome::<RT>).boxed());
        }
        self.started_term.store(term, Ordering::Relaxed);
        let started_term = self.started_term.clone();
        let outcomes = outcomes
            .map(outcome::<RT>)
            .enumerate()
            .filter_map(move |(place, outcome)| {
                if place == 0 && outcome.is_none() {
                    // Not taken, for example during a hand-over that may yet fail: try again with the next batch.
                    let _ = started_term.compare_exchange(term, 0, Ordering::Relaxed, Ordering::Relaxed);
                }
                futures_util::future::ready((place > 0).then_some(outcome))
            });
        Some(outcomes.boxed())
    }
}

fn leader_started(term: u64, node: u64) -> Bytes {
    let author = Principal {
        kind: Some(PrincipalKind::Node(node)),
        source: String::new(),
    };
    let command = Command::LeaderStarted(LeaderStarted { term, node });
    Proposal {
        author: Some(author),
        command: Some(command),
    }
    .encode_to_vec()
    .into()
}

type Written<RT> = Result<openraft::raft::WriteResult<TypeConfig<RT>>, openraft::error::Fatal<TypeConfig<RT>>>;

/// Everything but an applied entry is tried again: under its stamp that is safe, whatever became of the first attempt.
fn outcome<RT: AsyncRuntime>(written: Written<RT>) -> Option<(Reply, u64)> {
    let written = written.ok()?.ok()?;
    let Applied { reply } = written.response;
    Some((reply, written.log_id.index))
}
