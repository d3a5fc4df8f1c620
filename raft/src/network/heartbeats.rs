//! Heartbeats to one follower, on one stream.
//!
//! A call of its own for each would cost both sides several times as much, and every linearizable read takes a heartbeat to
//! each follower.

use bytes::Bytes;
use futures_util::stream::StreamExt;
use prost::Message;
use tokio::sync::mpsc;

use super::wire::AppendReply;
use super::{Frames, Peer, Purpose, StreamKind, Transport, TransportError};

/// An open stream between two exchanges.
pub(crate) struct HeartbeatLink {
    requests: mpsc::Sender<Bytes>,
    replies: Frames,
}

impl HeartbeatLink {
    /// Connects to the peer.
    pub async fn open(transport: &impl Transport, peer: &Peer) -> Result<Self, TransportError> {
        let (requests, queued) = mpsc::channel::<Bytes>(1);
        let frames = futures_util::stream::unfold(queued, |mut queued| async move {
            queued.recv().await.map(|frame| (frame, queued))
        });
        let replies = transport
            .stream(peer, Purpose::Control, StreamKind::Heartbeat, frames.boxed())
            .await?;
        Ok(Self { requests, replies })
    }

    /// One heartbeat and its answer. It gives the link back only then: an exchange that fails or is given up ends the stream,
    /// so that a late answer is never taken for the next one's.
    pub async fn exchange(mut self, frame: Bytes) -> Result<(Self, AppendReply), TransportError> {
        let lost = |text: &str| TransportError::Lost(text.to_owned());
        let sent = self.requests.send(frame).await;
        sent.map_err(|_| lost("the stream of heartbeats has ended"))?;
        let frame = self.replies.next().await;
        let frame = frame.ok_or_else(|| lost("the stream of heartbeats was closed"))??;
        let reply = AppendReply::decode(frame).map_err(|error| TransportError::Lost(error.to_string()))?;
        Ok((self, reply))
    }
}
