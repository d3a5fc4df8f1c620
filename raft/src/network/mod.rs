//! Between peers: what carries opaque frames ([`Transport`]), what openraft sees of it, and what answers on the other side.
//!
//! The transport knows no Raft: it delivers bytes in order, or says that it could not. So the same adapter and the same
//! server run over mutual TLS and in the simulation.

mod adapter;
mod addresses;
mod client;
mod grpc;
mod heartbeats;
mod listener;
mod notices;
mod server;
mod tls;
pub(crate) mod wire;

use std::future::Future;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub(crate) use adapter::PeerNetworks;
pub(crate) use addresses::Addresses;
pub(crate) use client::{GrpcTransport, Heard, LOSSES_CAPACITY};
pub use client::{PeerDialer, TcpDialer};
pub(crate) use listener::serve_peers;
pub(crate) use server::{AskSlot, PeerServer, PeerServerParts, answer_ask};
pub use tls::{NamelessTls, PeerTls, TlsError, peer_certificate_name};

/// What a connection to a peer is for. Each has a connection of its own, so that a snapshot or a burst of entries never
/// holds up a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Entries to a follower; in the other direction, proposals to the leader.
    Append,
    /// Heartbeats, votes and small calls.
    Control,
    /// Snapshots.
    Snapshot,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Append, Self::Control, Self::Snapshot];
}

/// What a stream of frames carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Entries one way, acknowledgements in the same order the other way.
    Append,
    /// Heartbeats one way, answers in the same order the other way.
    Heartbeat,
    /// Batches of proposals one way, outcomes in any order the other way.
    Forward,
    /// A snapshot one way, one answer the other way.
    Snapshot,
}

/// Why a peer could not be reached or did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made: nothing was sent.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The connection was lost, or the peer gave no valid answer: it may have done what it was asked.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// A peer's id and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Raft id of the node.
    pub id: u64,
    /// `host:port`.
    pub address: String,
}

/// A stream of frames that comes back from a peer; it ends after the first error.
pub type Frames = BoxStream<'static, Result<Bytes, TransportError>>;

/// Carries opaque frames to peers.
pub trait Transport: Clone + Send + Sync + 'static {
    /// One frame there, one frame back. It has no time limit of its own.
    fn call(
        &self,
        to: &Peer,
        purpose: Purpose,
        frame: Bytes,
    ) -> impl Future<Output = Result<Bytes, TransportError>> + Send;

    /// Opens a stream: `frames` arrive in order, and so do the frames that come back. A slow receiver does not end it; a
    /// peer that does not answer at the level of the connection does.
    fn stream(
        &self,
        to: &Peer,
        purpose: Purpose,
        kind: StreamKind,
        frames: BoxStream<'static, Bytes>,
    ) -> impl Future<Output = Result<Frames, TransportError>> + Send;

    /// True if a fresh connection to the peer is refused: its host lives and nothing listens there.
    fn is_refused(&self, to: &Peer) -> impl Future<Output = bool> + Send;
}

/// Answers peers; what a [`Transport`] delivers to on the other side.
pub trait PeerHandler: Send + Sync + 'static {
    /// True of a node that was a member of this cluster and is none any more, as far as this node knows: its certificate is
    /// worth nothing. Not of one that is still to become a member, nor of anybody before this node knows members at all.
    fn is_removed(&self, node: u64) -> bool;
    /// Answers one call of the authenticated node `from`.
    fn call(&self, from: u64, frame: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
    /// Answers a stream of the authenticated node `from`.
    fn stream(
        &self,
        from: u64,
        kind: StreamKind,
        frames: BoxStream<'static, Result<Bytes, TransportError>>,
    ) -> BoxStream<'static, Result<Bytes, String>>;
}
