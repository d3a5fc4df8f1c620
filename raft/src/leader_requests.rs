//! Opaque requests to whoever leads ([`crate::Handle::ask_leader`]).
//!
//! A request that may have reached a leader is asked of the next one only if that does no harm: what became of it is unknown.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::AsyncRuntime;
use prost::Message;

use crate::attempts::{RETRY_PAUSE_MS, until_answered};
use crate::core::Core;
use crate::handle::{CallError, LeaderRequestHandler};
use crate::network::wire::{Answer, AnswerKind, AskOutcome, Call, CallKind};
use crate::network::{Peer, Purpose, Transport, TransportError, answer_ask};
use crate::standing::Standing;

/// How long a leader may take before it is asked again. A busy one takes a while, and asking it more often makes it no faster; one
/// that is gone has a successor by then.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);

impl<RT: AsyncRuntime, T: Transport> Core<RT, T> {
    /// See [`crate::Handle::ask_leader`].
    pub async fn ask_leader(&self, request: Bytes, deadline: Duration) -> Result<Bytes, CallError> {
        let asking = async {
            loop {
                self.standings.check_serving()?;
                match self.ask(&self.standings.now(), request.clone()).await? {
                    Some(answer) => return Ok(answer),
                    None => RT::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await,
                }
            }
        };
        RT::timeout(deadline, asking).await.unwrap_or(Err(CallError::TimedOut))
    }

    /// See [`crate::Handle::ask_leader_idempotent`].
    pub async fn ask_leader_idempotent(&self, request: Bytes, deadline: Duration) -> Result<Bytes, CallError> {
        let asking = until_answered(&self.standings, ATTEMPT_TIMEOUT, |standing| {
            let request = request.clone();
            async move {
                match self.ask(&standing, request).await {
                    Err(CallError::TimedOutLeaderLost) => None,
                    outcome => outcome.transpose(),
                }
            }
        });
        let outcome = RT::timeout(deadline, asking).await;
        outcome.unwrap_or(Err(CallError::TimedOut)).flatten()
    }

    /// Asks whoever leads by this standing; `None` if nobody got the request.
    async fn ask(&self, standing: &Standing, request: Bytes) -> Result<Option<Bytes>, CallError> {
        let outcome = match &standing.leader {
            Some(_) if standing.leading => answer_ask(&self.asked, &self.standings, self.node_id, request).await,
            Some(leader) => match self.ask_remote(leader, request).await? {
                Some(outcome) => outcome,
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        match outcome {
            AskOutcome::Answer(answer) => Ok(Some(answer)),
            AskOutcome::Refused(text) => Err(CallError::Remote(text)),
            AskOutcome::NotLeader(_) => Ok(None),
        }
    }

    async fn ask_remote(&self, leader: &Peer, request: Bytes) -> Result<Option<AskOutcome>, CallError> {
        let frame = Call {
            kind: Some(CallKind::Ask(request)),
        }
        .encode_to_vec();
        match self.transport().call(leader, Purpose::Control, frame.into()).await {
            Ok(frame) => match Answer::decode(frame).ok().and_then(|answer| answer.kind) {
                Some(AnswerKind::Ask(reply)) => Ok(reply.outcome),
                _ => Err(CallError::Remote("the leader's answer cannot be understood".to_owned())),
            },
            // Never sent: it may go to the next leader.
            Err(TransportError::Unreachable(_)) => Ok(None),
            Err(TransportError::Lost(_)) => Err(CallError::TimedOutLeaderLost),
        }
    }

    /// Sets who answers [`Self::ask_leader`] here.
    pub fn set_leader_request_handler(&self, handler: Arc<dyn LeaderRequestHandler>) {
        *self.asked.write().unwrap_or_else(PoisonError::into_inner) = Some(handler);
    }
}
