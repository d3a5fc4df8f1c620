//! Opaque requests from one node to another, whoever leads ([`crate::Handle::ask_node`]).
//!
//! They travel on the peers' mutual TLS, so the answering node knows who asks, and need neither leader nor quorum. What is
//! in them is the edges' business. They are no way to change the state: that goes through the log.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;

use crate::core::Core;
use crate::network::wire::{Answer, AnswerKind, AskOutcome, Call, CallKind};
use crate::network::{Peer, Purpose, Transport, TransportError};

/// Largest request to a node, in bytes.
pub const MAX_NODE_REQUEST_BYTES: usize = 256 * 1024;
/// Largest answer of a node, in bytes.
pub const MAX_NODE_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Answers opaque requests that other nodes, or this one, send to this one ([`crate::Handle::ask_node`]).
pub trait NodeRequestHandler: Send + Sync + 'static {
    /// Answers one request of `from`; `Err` travels back as [`AskNodeError::Refused`].
    fn handle(&self, from: u64, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
}

/// Why a node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskNodeError {
    /// The cluster has no such member.
    #[error("node {0} is no member of the cluster")]
    UnknownNode(u64),
    /// No connection, or it was lost.
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    /// No answer within the deadline.
    #[error("the node did not answer in time")]
    TimedOut,
    /// The node answered that it could not carry it out.
    #[error("{0}")]
    Refused(String),
}

/// Who answers on this node; empty until the node has set it.
#[derive(Clone, Default)]
pub(crate) struct NodeAskSlot(Arc<RwLock<Option<Arc<dyn NodeRequestHandler>>>>);

impl NodeAskSlot {
    pub fn set(&self, handler: Arc<dyn NodeRequestHandler>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(handler);
    }

    /// Answers a request here, within the limits.
    pub async fn answer(&self, from: u64, request: Bytes) -> Result<Bytes, String> {
        check_size("request", request.len(), MAX_NODE_REQUEST_BYTES)?;
        let handler = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let handler = handler.ok_or("the node is still starting")?;
        let answer = handler.handle(from, request).await?;
        check_size("answer", answer.len(), MAX_NODE_ANSWER_BYTES)?;
        Ok(answer)
    }
}

fn check_size(what: &str, bytes: usize, most: usize) -> Result<(), String> {
    if bytes > most {
        return Err(format!("the {what} has {bytes} bytes; at most {most}"));
    }
    Ok(())
}

impl<RT: AsyncRuntime, T: Transport> Core<RT, T> {
    /// See [`crate::Handle::ask_node`].
    pub async fn ask_node(&self, node: u64, request: Bytes, deadline: Duration) -> Result<Bytes, AskNodeError> {
        let asking = async {
            if node == self.node_id {
                let answer = self.node_asked.answer(node, request).await;
                return answer.map_err(AskNodeError::Refused);
            }
            check_size("request", request.len(), MAX_NODE_REQUEST_BYTES).map_err(AskNodeError::Refused)?;
            self.ask_peer(node, request).await
        };
        RT::timeout(deadline, asking)
            .await
            .unwrap_or(Err(AskNodeError::TimedOut))
    }

    async fn ask_peer(&self, node: u64, request: Bytes) -> Result<Bytes, AskNodeError> {
        let address = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let member = metrics.membership_config.membership().get_node(&node);
            member.map(|member| member.peer.clone())
        };
        let address = address.ok_or(AskNodeError::UnknownNode(node))?;
        let frame = Call {
            kind: Some(CallKind::AskNode(request)),
        };
        let peer = Peer { id: node, address };
        let answered = self
            .transport()
            .call(&peer, Purpose::Control, frame.encode_to_vec().into());
        let unusable = || AskNodeError::Refused("the node's answer cannot be understood".to_owned());
        let frame = answered.await.map_err(|error| match error {
            TransportError::Unreachable(text) | TransportError::Lost(text) => AskNodeError::Unreachable(text),
        })?;
        match Answer::decode(frame).map_err(|_| unusable())?.kind {
            Some(AnswerKind::Ask(reply)) => match reply.outcome {
                Some(AskOutcome::Answer(answer)) => Ok(answer),
                Some(AskOutcome::Refused(text)) => Err(AskNodeError::Refused(text)),
                _ => Err(unusable()),
            },
            Some(AnswerKind::Failed(text)) => Err(AskNodeError::Refused(text)),
            _ => Err(unusable()),
        }
    }
}
