//! Handing leadership over: to a voter that is there, may lead, and whose log is furthest.
//!
//! A hand-over that fails costs more than none: from the moment it begins, openraft takes no proposals on the old leader and
//! its lease is lifted. So an heir is asked first, and asked again while it is waited for.

use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::Select2;
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;

use crate::core::Core;
use crate::handle::CallError;
use crate::network::wire::{Answer, AnswerKind, Call, CallKind, Nothing};
use crate::network::{Peer, Purpose, Transport};
use crate::standing::StandingReceiver;

/// How long an heir may take to say that it is there.
const QUESTION_TIMEOUT_MS: u64 = 200;
/// How often it is asked again while it is to take over.
const LOOK_INTERVAL_MS: u64 = 100;

impl<RT: AsyncRuntime, T: Transport> Core<RT, T> {
    /// Hands leadership to `to`, or to the best other voter, and waits for it. See
    /// [`crate::Handle::transfer_leadership`].
    pub async fn transfer_leadership(&self, to: Option<u64>, deadline: Duration) -> Result<(), CallError> {
        let heirs = self.heirs(to)?;
        if to == Some(self.node_id) {
            return Ok(());
        }
        let handing_over = async {
            for heir in heirs {
                if !self.could_lead(&heir).await {
                    continue;
                }
                let trigger = self.raft.trigger();
                trigger.transfer_leader(heir.id).await.map_err(|_| CallError::Stopped)?;
                if self.is_taken_over_by(&heir).await? {
                    return Ok(());
                }
            }
            Err(CallError::Remote("no other voter can lead now".to_owned()))
        };
        RT::timeout(deadline, handing_over)
            .await
            .unwrap_or(Err(CallError::TimedOut))
    }

    /// Voters that leadership may go to, the furthest log first. A log is as far as its own disk has flushed it, so a voter
    /// whose disk stalls comes last. A node whose state differs from the majority's is none, unless it is asked for.
    fn heirs(&self, to: Option<u64>) -> Result<Vec<Peer>, CallError> {
        // Where apply stalls, which is a reason to be here, the state cannot be read; a divergent heir would refuse anyway.
        let divergent = self
            .state
            .try_read()
            .map(|state| state.divergent_nodes())
            .unwrap_or_default();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref().ok_or(CallError::NoLeader)?;
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().filter(|id| *id != self.node_id).collect();
        let mut heirs: Vec<u64> = match to {
            Some(to) => voters.into_iter().filter(|id| *id == to).collect(),
            None => voters.into_iter().filter(|id| !divergent.contains(id)).collect(),
        };
        heirs.sort_by_key(|id| std::cmp::Reverse(replication.get(id).copied().flatten()));
        let peer = |id: u64| Peer {
            id,
            address: membership
                .get_node(&id)
                .map(|node| node.peer.clone())
                .unwrap_or_default(),
        };
        Ok(heirs.into_iter().map(peer).collect())
    }

    /// True if the peer answers that it could lead.
    async fn could_lead(&self, heir: &Peer) -> bool {
        let call = Call {
            kind: Some(CallKind::Ping(Nothing {})),
        };
        let call = self
            .transport()
            .call(heir, Purpose::Control, call.encode_to_vec().into());
        let answer = RT::timeout(Duration::from_millis(QUESTION_TIMEOUT_MS), call).await;
        let answer = answer
            .ok()
            .and_then(Result::ok)
            .and_then(|frame| Answer::decode(frame).ok());
        matches!(answer.and_then(|answer| answer.kind), Some(AnswerKind::Pong(_)))
    }

    /// Waits until another node leads, or `heir` is no longer able to.
    async fn is_taken_over_by(&self, heir: &Peer) -> Result<bool, CallError> {
        let mut standings: StandingReceiver<RT> = self.standings.subscribe();
        loop {
            let standing = standings.borrow_and_update().clone();
            if standing.leader.is_some_and(|leader| leader.id != self.node_id) {
                return Ok(true);
            }
            let pause = RT::sleep(Duration::from_millis(LOOK_INTERVAL_MS));
            match RT::select2(standings.changed(), pause).await {
                Select2::First(changed) => changed.map_err(|_| CallError::Stopped)?,
                Select2::Second(()) if self.could_lead(heir).await => {}
                Select2::Second(()) => return Ok(false),
            }
        }
    }
}
