//! Bodies of requests, metered before anybody is authenticated.
//!
//! gRPC collects a message in memory until it is whole. Without a limit, one connection of a stranger who begins thousands of
//! large messages and ends none would take all memory of the node.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

use crate::errors::{message_too_large, too_many_requests};
use crate::http2::InboundBody;
use crate::route::MAX_MESSAGE_BYTES;

/// Bytes of messages under way on one port, over all clients: some 80 of the largest at the same moment.
pub(crate) const MAX_ARRIVING_BYTES: usize = 128 * 1024 * 1024;

/// A message this long needs no room of [`MAX_ARRIVING_BYTES`], so that logins and reads get through when it is used up.
const FREE_BYTES: usize = 4 * 1024;

/// For a message to arrive, once the client has begun it; on a call with one request, for that request from the start.
pub(crate) const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What precedes a gRPC message: compression flag and length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// Room for messages under way, shared by the requests of a port.
#[derive(Default)]
pub(crate) struct Arrivals {
    bytes: AtomicUsize,
}

/// What one request has taken of the room.
pub(crate) struct Room {
    arrivals: Arc<Arrivals>,
    held_bytes: usize,
}

impl Room {
    pub(crate) fn new(arrivals: Arc<Arrivals>) -> Room {
        Room {
            arrivals,
            held_bytes: 0,
        }
    }

    /// Holds what a message of so many bytes takes, in place of what was held before.
    ///
    /// # Errors
    ///
    /// "too many requests" if there is not so much room.
    pub(crate) fn hold_message(&mut self, message_bytes: usize) -> Result<(), Status> {
        let wanted_bytes = message_bytes.saturating_sub(FREE_BYTES);
        if wanted_bytes <= self.held_bytes {
            self.arrivals
                .bytes
                .fetch_sub(self.held_bytes - wanted_bytes, Ordering::Relaxed);
        } else {
            let more = wanted_bytes - self.held_bytes;
            if self.arrivals.bytes.fetch_add(more, Ordering::Relaxed) + more > MAX_ARRIVING_BYTES {
                self.arrivals.bytes.fetch_sub(more, Ordering::Relaxed);
                return Err(too_many_requests());
            }
        }
        self.held_bytes = wanted_bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.arrivals.bytes.fetch_sub(self.held_bytes, Ordering::Relaxed);
    }
}

/// What a client that began a message and did not end it is told.
pub(crate) fn not_arrived() -> Status {
    let limit = ARRIVAL_TIMEOUT.as_secs();
    Status::deadline_exceeded(format!("quorate: the request did not arrive within {limit} s"))
}

/// A request's body by what carried it.
pub(crate) enum RequestBody {
    Http1(Incoming),
    Http2(InboundBody),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            RequestBody::Http1(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            RequestBody::Http2(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Http1(body) => body.is_end_stream(),
            RequestBody::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Http1(body) => body.size_hint(),
            RequestBody::Http2(body) => body.size_hint(),
        }
    }
}

/// How much of the present message has arrived.
#[derive(Default)]
struct Progress {
    prefix: [u8; PREFIX_BYTES],
    prefix_len: usize,
    /// Still missing after the prefix.
    missing_bytes: usize,
    /// Of the present message; 0 between messages.
    arrived_bytes: usize,
}

impl Progress {
    fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.prefix_len < PREFIX_BYTES {
                let taken = data.len().min(PREFIX_BYTES - self.prefix_len);
                self.prefix[self.prefix_len..self.prefix_len + taken].copy_from_slice(&data[..taken]);
                self.prefix_len += taken;
                self.arrived_bytes += taken;
                data.advance(taken);
                if self.prefix_len < PREFIX_BYTES {
                    return;
                }
                let [_, a, b, c, d] = self.prefix;
                self.missing_bytes = u32::from_be_bytes([a, b, c, d]) as usize;
            }
            let taken = data.len().min(self.missing_bytes);
            self.missing_bytes -= taken;
            self.arrived_bytes += taken;
            data.advance(taken);
            if self.missing_bytes == 0 {
                *self = Progress::default();
            }
        }
    }
}

/// The body of one request.
pub(crate) struct MeteredBody<B> {
    body: B,
    room: Room,
    /// The call takes one request, which stays in memory until the body ends; else only the present message does.
    unary: bool,
    total_bytes: usize,
    progress: Progress,
    /// Made when there is something to wait for, because most bodies are there at once.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> MeteredBody<B> {
    pub(crate) fn new(body: B, unary: bool, arrivals: Arc<Arrivals>) -> MeteredBody<B> {
        MeteredBody {
            body,
            room: Room::new(arrivals),
            unary,
            total_bytes: 0,
            progress: Progress::default(),
            deadline: None,
        }
    }

    fn arrived(&mut self, data: &[u8]) -> Result<(), Status> {
        self.progress.feed(data);
        if self.progress.missing_bytes > MAX_MESSAGE_BYTES {
            let announced = self.progress.arrived_bytes - PREFIX_BYTES + self.progress.missing_bytes;
            return Err(message_too_large(announced, MAX_MESSAGE_BYTES));
        }
        self.total_bytes += data.len();
        if self.progress.arrived_bytes == 0 && !self.unary {
            self.deadline = None;
        }
        let present = if self.unary {
            self.total_bytes
        } else {
            self.progress.arrived_bytes
        };
        self.room.hold_message(present)
    }

    /// Takes room for `bytes` that are held elsewhere, beyond the free part.
    pub(crate) fn hold_long(&mut self, bytes: usize) -> Result<(), Status> {
        self.room.hold_message(bytes)
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if !self.unary && self.progress.arrived_bytes == 0 {
            return Poll::Pending;
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(ARRIVAL_TIMEOUT)));
        deadline.as_mut().poll(context).map(|()| not_arrived())
    }
}

impl<B> Body for MeteredBody<B>
where
    B: Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            return self.poll_deadline(context).map(|status| Some(Err(status.into())));
        };
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(frame)) => {
                let counted = frame.data_ref().map_or(Ok(()), |data| self.arrived(data));
                Some(counted.map(|()| frame).map_err(Into::into))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u32) -> Vec<u8> {
        let mut message = vec![0];
        message.extend_from_slice(&len.to_be_bytes());
        message.resize(PREFIX_BYTES + len as usize, 7);
        message
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let bytes = [message(0), message(3), message(1000)].concat();
        for step in [1, 2, 3, 7, 500, bytes.len()] {
            let mut progress = Progress::default();
            bytes.chunks(step).for_each(|chunk| progress.feed(chunk));
            assert_eq!(progress.arrived_bytes, 0, "step {step}");
            progress.feed(&message(9)[..8]);
            assert_eq!((progress.arrived_bytes, progress.missing_bytes), (8, 6));
        }
    }

    #[test]
    fn room_is_taken_beyond_the_free_part_and_given_back() {
        let arrivals = Arc::new(Arrivals::default());
        let held = || arrivals.bytes.load(Ordering::Relaxed);
        let mut stream = MeteredBody::new((), false, Arc::clone(&arrivals));
        stream.arrived(&message(10_000)[..9_000]).expect("room");
        assert_eq!(held(), 9_000 - FREE_BYTES);
        stream.arrived(&message(10_000)[9_000..]).expect("room");
        assert_eq!(held(), 0, "a whole message of a stream is somebody else's");
        let mut unary = MeteredBody::new((), true, Arc::clone(&arrivals));
        unary.arrived(&message(10_000)).expect("room");
        assert_eq!(held(), 10_000 + PREFIX_BYTES - FREE_BYTES);
        drop(unary);
        assert_eq!(held(), 0);
    }

    #[test]
    fn without_room_long_messages_are_refused_and_short_ones_are_not() {
        let arrivals = Arc::new(Arrivals::default());
        arrivals.bytes.store(MAX_ARRIVING_BYTES, Ordering::Relaxed);
        let mut long = MeteredBody::new((), true, Arc::clone(&arrivals));
        let refused = long.arrived(&message(10_000)).expect_err("no room");
        assert_eq!(refused.message(), "etcdserver: too many requests");
        let mut short = MeteredBody::new((), true, Arc::clone(&arrivals));
        short.arrived(&message(1_000)).expect("no room needed");
        drop((long, short));
        assert_eq!(arrivals.bytes.load(Ordering::Relaxed), MAX_ARRIVING_BYTES);
    }
}
