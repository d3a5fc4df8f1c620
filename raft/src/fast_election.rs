//! Elections that do not wait for the lease of a leader that is plainly gone.
//!
//! A follower whose connection to the leader is reset, and whose reconnect is *refused* (a live host, nothing listening),
//! asks the other voters. If a majority sees the same, the one with the longest log takes over as if the leader had handed
//! its leadership over, which lifts the lease. Once somebody has taken it, nobody is asked again in that term. Raft's own
//! safety does not depend on leases, and nothing here relies on them (reads go by read index); a wrong suspicion costs an
//! election, nothing else.
//!
//! Silence is deliberately no evidence: it waits for the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use openraft::{AsyncRuntime, Instant};
use prost::Message;

use crate::codec::{LogId, Vote};
use crate::network::wire::{
    Answer, AnswerKind, Call, CallKind, LeaderGone, LeaderGoneReply, TransferMessage, log_id_in, log_id_out,
};
use crate::network::{Peer, Purpose, Transport};
use crate::standing::Standings;
use crate::types::Raft;

/// How long another voter may take to answer.
const QUESTION_TIMEOUT_MS: u64 = 150;
/// How long a majority that sees the same is looked for; the lease of the leader is a little longer.
const ATTEMPTS_MS: u64 = 250;
/// Pause between attempts.
const ATTEMPT_PAUSE_MS: u64 = 15;
/// How long a fresh connection may take to be refused.
const RECONNECT_TIMEOUT_MS: u64 = 100;

/// Watches for leaders that are gone; see the module.
pub(crate) struct FastElection<RT: AsyncRuntime, T> {
    node_id: u64,
    raft: Raft<RT>,
    transport: T,
    standings: Arc<Standings<RT>>,
    enabled: bool,
    /// Last term in which this node handed a leadership on.
    done_term: AtomicU64,
}

/// What this node knows of the present leadership.
struct View {
    vote: Vote,
    leader: Peer,
    last_log_id: Option<LogId>,
    others: Vec<Peer>,
    voters: usize,
}

impl<RT: AsyncRuntime, T: Transport> FastElection<RT, T> {
    pub fn new(node_id: u64, raft: Raft<RT>, transport: T, standings: Arc<Standings<RT>>, enabled: bool) -> Arc<Self> {
        Arc::new(Self {
            node_id,
            raft,
            transport,
            standings,
            enabled,
            done_term: AtomicU64::new(0),
        })
    }

    /// The leadership that this node follows as a voter; `None` if there is none, or none that this node may take over.
    async fn view(&self) -> Option<View> {
        if !self.standings.may_lead() {
            return None;
        }
        let own = self
            .raft
            .with_raft_state(|state| (*state.vote_ref(), state.log_ids.last().copied()))
            .await
            .ok()?;
        let (vote, last_log_id) = own;
        let leader = vote.leader_id.voted_for;
        if !vote.committed || leader == self.node_id {
            return None;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let peer = |id| {
            membership.get_node(&id).map(|node| Peer {
                id,
                address: node.peer.clone(),
            })
        };
        let voters: Vec<u64> = membership.voter_ids().collect();
        if !voters.contains(&self.node_id) {
            return None;
        }
        let others = voters
            .iter()
            .copied()
            .filter(|id| *id != self.node_id && *id != leader)
            .filter_map(peer);
        Some(View {
            vote,
            leader: peer(leader)?,
            last_log_id,
            others: others.collect(),
            voters: voters.len(),
        })
    }

    async fn is_refused(&self, leader: &Peer) -> bool {
        let limit = Duration::from_millis(RECONNECT_TIMEOUT_MS);
        RT::timeout(limit, self.transport.is_refused(leader))
            .await
            .unwrap_or(false)
    }

    /// A connection to `peer` was lost: if it was the leader, finds out whether it is gone.
    ///
    /// A process dies in steps (one connection resets before the listener is closed), the other follower may see it a moment
    /// later, and what the leader sent last may not be flushed yet: therefore it is tried for a while.
    pub async fn connection_lost(&self, peer: u64) {
        if !self.enabled {
            return;
        }
        let begun = RT::Instant::now();
        while begun.elapsed() < Duration::from_millis(ATTEMPTS_MS) {
            let Some(view) = self.view().await else { return };
            let term = view.vote.leader_id.term;
            if view.leader.id != peer || self.done_term.load(Ordering::Relaxed) >= term {
                return;
            }
            if self.is_refused(&view.leader).await
                && let Some((to, last_log_id)) = self.agree(&view).await
            {
                tracing::info!("the leader of term {term}, node {peer}, is gone: node {to} takes over");
                if self.hand_over(&view, to, last_log_id).await {
                    self.done_term.fetch_max(term, Ordering::Relaxed);
                    return;
                }
            }
            RT::sleep(Duration::from_millis(ATTEMPT_PAUSE_MS)).await;
        }
    }

    /// Asks the other voters; if a majority agrees, who has the longest log of those that do.
    async fn agree(&self, view: &View) -> Option<(u64, Option<LogId>)> {
        let question = Call {
            kind: Some(CallKind::LeaderGone(LeaderGone {
                vote: (&view.vote).into(),
            })),
        };
        let question = bytes::Bytes::from(question.encode_to_vec());
        let limit = Duration::from_millis(QUESTION_TIMEOUT_MS);
        let mut answers: FuturesUnordered<_> = view
            .others
            .iter()
            .map(|other| {
                let call = self.transport.call(other, Purpose::Control, question.clone());
                async move { (other.id, RT::timeout(limit, call).await) }
            })
            .collect();
        let mut agreeing = 1;
        let mut best = (view.last_log_id, std::cmp::Reverse(self.node_id));
        while let Some((id, answer)) = answers.next().await {
            let Some(AnswerKind::LeaderGone(reply)) = answer
                .ok()
                .and_then(Result::ok)
                .and_then(|frame| Answer::decode(frame).ok()?.kind)
            else {
                continue;
            };
            if reply.agreed {
                agreeing += 1;
                best = best.max((log_id_in(reply.last_log_id), std::cmp::Reverse(id)));
            }
        }
        (agreeing * 2 > view.voters).then_some((best.1.0, best.0))
    }

    /// Hands the dead leader's leadership on, here or at whoever is to take it; false if it was not taken.
    async fn hand_over(&self, view: &View, to: u64, last_log_id: Option<LogId>) -> bool {
        if to != self.node_id {
            return self.hand_to(view, to, last_log_id).await;
        }
        let request = TransferLeaderRequest::new(view.vote, to, last_log_id);
        match self.raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => true,
            Ok(Err(refused)) => {
                tracing::info!("the leadership was not taken over: {refused}");
                false
            }
            Err(fatal) => {
                tracing::warn!("the leadership was not taken over: {fatal}");
                false
            }
        }
    }

    async fn hand_to(&self, view: &View, to: u64, last_log_id: Option<LogId>) -> bool {
        let Some(heir) = view.others.iter().find(|peer| peer.id == to) else {
            return false;
        };
        let transfer = TransferMessage {
            from: (&view.vote).into(),
            to,
            last_log_id: log_id_out(last_log_id.as_ref()),
        };
        let frame = Call {
            kind: Some(CallKind::Transfer(transfer)),
        }
        .encode_to_vec();
        let limit = Duration::from_millis(QUESTION_TIMEOUT_MS);
        let call = self.transport.call(heir, Purpose::Control, frame.into());
        let answer = RT::timeout(limit, call).await;
        let answer = answer.ok().and_then(Result::ok);
        let taken = match answer.and_then(|frame| Answer::decode(frame).ok()?.kind) {
            // A vote of its own that has moved on means that it is doing it already.
            Some(AnswerKind::Transfer(reply)) => !reply.not_flushed,
            _ => false,
        };
        if !taken {
            tracing::info!("node {to} did not take over");
        }
        taken
    }

    /// Answers another voter's question whether the leader of this vote is gone.
    pub async fn answer(&self, question: LeaderGone) -> LeaderGoneReply {
        let nothing = LeaderGoneReply {
            agreed: false,
            last_log_id: None,
        };
        if !self.enabled {
            return nothing;
        }
        let Some(view) = self.view().await else { return nothing };
        if Vote::from(question.vote) != view.vote || !self.is_refused(&view.leader).await {
            return nothing;
        }
        LeaderGoneReply {
            agreed: true,
            last_log_id: log_id_out(view.last_log_id.as_ref()),
        }
    }
}
