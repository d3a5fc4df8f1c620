//! One round for many callers: leadership confirmations on the leader, read indexes on every node.
//!
//! A caller joins the next round, never the one under way: what it is told was confirmed after it asked. Lease reads are not
//! used anywhere (unsafe after a fast restart of a follower).

use std::sync::Arc;
use std::time::Duration;

use openraft::{AsyncRuntime, ReadPolicy};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use crate::attempts::until_answered;
use crate::handle::CallError;
use crate::network::wire::{Answer, AnswerKind, Call, CallKind, Nothing};
use crate::network::{Peer, Purpose, Transport};
use crate::standing::Standings;
use crate::types::Raft;

/// Callers waiting for the next round at most.
const WAITING_CAPACITY: usize = 65_536;

/// How long one attempt may take before the leader is asked again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(400);

type Waiting<V> = mpsc::Sender<oneshot::Sender<V>>;

/// Joins the next round and waits for its result; `None` if rounds have ended.
async fn join<V>(waiting: &Waiting<V>) -> Result<V, CallError> {
    let (sender, result) = oneshot::channel();
    waiting.try_send(sender).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => CallError::TooManyRequests,
        mpsc::error::TrySendError::Closed(_) => CallError::Stopped,
    })?;
    result.await.map_err(|_| CallError::Stopped)
}

/// Everybody who waits now.
async fn gather<V>(queue: &mut mpsc::Receiver<oneshot::Sender<V>>) -> Option<Vec<oneshot::Sender<V>>> {
    let mut callers = vec![queue.recv().await?];
    while let Ok(caller) = queue.try_recv() {
        callers.push(caller);
    }
    Some(callers)
}

fn answer<V: Clone>(callers: Vec<oneshot::Sender<V>>, value: &V) {
    for caller in callers {
        // The caller may have given up.
        let _ = caller.send(value.clone());
    }
}

/// Confirms this node's leadership by quorum rounds.
pub(crate) struct LeaderRounds {
    waiting: Waiting<Option<u64>>,
}

impl LeaderRounds {
    /// Starts the task of the rounds.
    pub fn start<RT: AsyncRuntime>(raft: Raft<RT>, standings: Arc<Standings<RT>>) -> Arc<Self> {
        let (waiting, mut queue) = mpsc::channel(WAITING_CAPACITY);
        let rounds = async move {
            while let Some(callers) = gather(&mut queue).await {
                let confirmed = raft.get_read_log_id(ReadPolicy::ReadIndex).await.ok();
                answer(callers, &confirmed.map(|(read_log_id, _)| read_log_id.index()));
            }
        };
        let _detached = RT::spawn(standings.essential("the rounds that confirm leadership", rounds));
        Arc::new(Self { waiting })
    }

    /// The read index of a round begun after this call; `None` if this node does not lead.
    pub async fn confirm(&self) -> Result<Option<u64>, CallError> {
        join(&self.waiting).await
    }
}

/// Fetches read indexes from whoever leads.
pub(crate) struct ReadRounds {
    waiting: Waiting<Result<u64, CallError>>,
}

struct Fetcher<RT: AsyncRuntime, T> {
    standings: Arc<Standings<RT>>,
    leader_rounds: Arc<LeaderRounds>,
    transport: T,
}

impl ReadRounds {
    /// Starts the task of the rounds.
    pub fn start<RT: AsyncRuntime>(
        standings: Arc<Standings<RT>>,
        leader_rounds: Arc<LeaderRounds>,
        transport: impl Transport,
    ) -> Arc<Self> {
        let (waiting, mut queue) = mpsc::channel(WAITING_CAPACITY);
        let watched = standings.clone();
        let rounds = async move {
            let fetcher = Fetcher {
                standings,
                leader_rounds,
                transport,
            };
            while let Some(callers) = gather(&mut queue).await {
                answer(callers, &fetcher.fetch().await);
            }
        };
        let _detached = RT::spawn(watched.essential("the rounds that fetch read indexes", rounds));
        Arc::new(Self { waiting })
    }

    /// An index that holds everything committed before this call.
    pub async fn read_index(&self) -> Result<u64, CallError> {
        join(&self.waiting).await?
    }
}

impl<RT: AsyncRuntime, T: Transport> Fetcher<RT, T> {
    /// Asks until somebody answers, as long as this node serves.
    async fn fetch(&self) -> Result<u64, CallError> {
        let asking = until_answered(&self.standings, ATTEMPT_TIMEOUT, |standing| async move {
            match &standing.leader {
                Some(_) if standing.leading => self.leader_rounds.confirm().await.ok().flatten(),
                Some(leader) => self.ask(leader).await,
                None => None,
            }
        });
        asking.await
    }

    async fn ask(&self, leader: &Peer) -> Option<u64> {
        let call = Call {
            kind: Some(CallKind::ReadIndex(Nothing {})),
        };
        let frame = self
            .transport
            .call(leader, Purpose::Control, call.encode_to_vec().into())
            .await
            .ok()?;
        match Answer::decode(frame).ok()?.kind? {
            AnswerKind::ReadIndex(reply) => reply.index,
            _ => None,
        }
    }
}
