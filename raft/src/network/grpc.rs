//! The gRPC shape of the peer protocol: opaque bytes as messages, one path per kind of call.

use bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::StreamKind;

/// Service name; the version of the protocol is in it.
pub(crate) const SERVICE: &str = "quorate.peer.v1.Peer";
/// Path of calls with one answer.
pub(crate) const CALL_PATH: &str = "/quorate.peer.v1.Peer/Call";
/// Longest message between peers.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// HTTP/2 window of a stream and of a connection.
pub(crate) const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// A connection that says nothing for this long is asked whether it lives…
pub(crate) const KEEP_ALIVE_INTERVAL_MS: u64 = 1_000;
/// …and dropped when it does not answer within this.
pub(crate) const KEEP_ALIVE_TIMEOUT_MS: u64 = 2_000;

/// Path of a stream of this kind.
pub(crate) const fn stream_path(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::Append => "/quorate.peer.v1.Peer/Append",
        StreamKind::Heartbeat => "/quorate.peer.v1.Peer/Heartbeat",
        StreamKind::Forward => "/quorate.peer.v1.Peer/Forward",
        StreamKind::Snapshot => "/quorate.peer.v1.Peer/Snapshot",
    }
}

/// The kind of stream of a path.
pub(crate) fn stream_kind(path: &str) -> Option<StreamKind> {
    let kinds = [
        StreamKind::Append,
        StreamKind::Heartbeat,
        StreamKind::Forward,
        StreamKind::Snapshot,
    ];
    kinds.into_iter().find(|kind| stream_path(*kind) == path)
}

/// Messages are the bytes themselves.
#[derive(Clone, Copy, Default)]
pub(crate) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
