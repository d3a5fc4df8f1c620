//! One stream: what of its request has arrived, who works on it, and what of its answer is not sent yet.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use super::cold::Inbound;
use super::head::RequestHead;
use crate::body::{PREFIX_BYTES, Room};
use crate::caller::Client;
use crate::errors::message_too_large;
use crate::metrics::Calls;
use crate::route::MAX_MESSAGE_BYTES;
use crate::services::hot::HotCall;

/// What is known of a call from its header fields. The same for every call with the same fields.
pub(crate) struct Caller {
    pub(crate) head: RequestHead,
    pub(crate) client: Client,
    /// The hot call that it is, if it is one.
    pub(crate) hot: Option<HotCall>,
    /// Counters of a hot call; the services count the others.
    pub(crate) calls: Option<Arc<Calls>>,
}

/// A stream that the client opened and that has not ended.
pub(crate) struct Stream {
    pub(crate) caller: Arc<Caller>,
    pub(crate) work: Work,
    /// The client has sent all of its request.
    pub(crate) request_complete: bool,
    pub(crate) received_bytes: u64,
    /// What may still be sent on it; negative after the client shrank its windows.
    pub(crate) send_window: i64,
    /// What the client may still send on it.
    pub(crate) receive_window: i64,
    /// Taken of the receive window and not given back yet.
    pub(crate) spent_bytes: i64,
    /// When the client stops waiting.
    pub(crate) deadline: Option<Instant>,
    pub(crate) unsent: Unsent,
    /// The call was counted with its code.
    pub(crate) counted: bool,
}

impl Stream {
    /// Counts a hot call with what became of it.
    pub(crate) fn count(&mut self, code: Code) {
        if let Some(calls) = &self.caller.calls
            && !self.counted
        {
            self.counted = true;
            calls.ended(code);
        }
    }
}

impl Stream {
    /// When somebody has to look at it.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.work {
            Work::Collecting(message) => Some(self.deadline.map_or(message.due, |own| own.min(message.due))),
            _ => self.deadline,
        }
    }

    /// Something can be sent as soon as the windows allow it.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.data.is_empty() || self.unsent.end.is_some()
    }
}

/// Who works on a stream.
pub(crate) enum Work {
    /// The message of a hot call arrives.
    Collecting(Message),
    /// The message waits until the client has taken earlier answers.
    Waiting(Bytes),
    /// A hot call, by its place among the calls.
    Calling(usize),
    /// One of the reads that are answered together.
    Reading,
    /// A task, by way of the services.
    Service(Service),
    /// Nobody: the answer is complete.
    Answered,
}

/// A stream that a task works for.
pub(crate) struct Service {
    pub(crate) inbound: Arc<Inbound>,
    /// Bytes of the request that the task has not taken.
    pub(crate) waiting_bytes: i64,
    /// What they take of the port's room for such bytes.
    pub(crate) waiting: Room,
    /// Gets a place whenever a part of the answer is on its way.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) head_sent: bool,
    pub(crate) _task: AbortOnDropHandle<()>,
}

impl Service {
    /// Notes that so many bytes more of the request wait, or fewer.
    ///
    /// # Errors
    ///
    /// "too many requests" if the port has no room for them.
    pub(crate) fn wait_for(&mut self, bytes: i64) -> Result<(), Status> {
        self.waiting_bytes += bytes;
        let waiting = usize::try_from(self.waiting_bytes).unwrap_or(0);
        self.waiting.hold_message(waiting)
    }
}

/// The answer's part that waits for windows.
#[derive(Default)]
pub(crate) struct Unsent {
    pub(crate) data: Bytes,
    /// How the answer ends after the data, if that is known.
    pub(crate) end: Option<End>,
    /// In the queue of streams that have something to send.
    pub(crate) queued: bool,
}

/// How an answer ends.
pub(crate) enum End {
    /// `grpc-status: 0`.
    Good,
    Trailers(HeaderMap),
    Bare,
}

/// A gRPC message that arrives in parts.
pub(crate) struct Message {
    bytes: Vec<u8>,
    room: Room,
    /// When it has to be there.
    due: Instant,
}

impl Message {
    pub(crate) fn new(room: Room, due: Instant) -> Message {
        Message {
            bytes: Vec::new(),
            room,
            due,
        }
    }

    /// Takes a part in.
    ///
    /// # Errors
    ///
    /// What the client is told if the message is too large, compressed without saying how, or one of too many at a time.
    pub(crate) fn push(&mut self, part: &[u8]) -> Result<(), Status> {
        let total_bytes = self.bytes.len() + part.len();
        if total_bytes > PREFIX_BYTES + MAX_MESSAGE_BYTES {
            return Err(message_too_large(
                self.announced_bytes().unwrap_or(total_bytes),
                MAX_MESSAGE_BYTES,
            ));
        }
        self.room.hold_message(total_bytes)?;
        self.bytes.extend_from_slice(part);
        match self.announced_bytes() {
            Some(announced) if announced > MAX_MESSAGE_BYTES => Err(message_too_large(announced, MAX_MESSAGE_BYTES)),
            _ => Ok(()),
        }
    }

    fn announced_bytes(&self) -> Option<usize> {
        let (_, length) = self.bytes.split_first()?;
        let length = length.first_chunk()?;
        Some(u32::from_be_bytes(*length) as usize)
    }

    /// The message, once the client has sent everything.
    ///
    /// # Errors
    ///
    /// What the client is told if it is not exactly one message.
    pub(crate) fn complete(self) -> Result<Bytes, Status> {
        let Some(announced) = self.announced_bytes() else {
            return Err(Status::internal("quorate: the call has no message"));
        };
        if self.bytes[0] != 0 {
            return Err(Status::internal(
                "quorate: a compressed message, and grpc-encoding does not say how",
            ));
        }
        if self.bytes.len() != PREFIX_BYTES + announced {
            let (got, wanted) = (self.bytes.len() - PREFIX_BYTES, announced);
            let text = format!("quorate: the call has {got} bytes in place of one message of {wanted}");
            return Err(Status::internal(text));
        }
        Ok(Bytes::from(self.bytes).slice(PREFIX_BYTES..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(parts: &[&[u8]]) -> Result<Bytes, Code> {
        let mut message = Message::new(Room::new(Arc::default()), Instant::now());
        for part in parts {
            message.push(part).map_err(|status| status.code())?;
        }
        message.complete().map_err(|status| status.code())
    }

    #[test]
    fn one_message_is_taken_however_it_is_cut() {
        let whole = [0, 0, 0, 0, 3, 7, 8, 9];
        for cut in 0..=whole.len() {
            let (left, right) = whole.split_at(cut);
            assert_eq!(collected(&[left, right]).as_deref(), Ok(&[7, 8, 9][..]), "{cut}");
        }
        assert_eq!(collected(&[&[0; 5]]).as_deref(), Ok(&[][..]));
    }

    #[test]
    fn anything_but_one_message_is_refused() {
        for parts in [
            &[][..],
            &[&[0, 0, 0][..]],
            &[&[0, 0, 0, 0, 3, 7, 8]],
            &[&[0, 0, 0, 0, 1, 7], &[0, 0, 0, 0, 1, 8]],
            &[&[1, 0, 0, 0, 1, 7]],
        ] {
            assert_eq!(collected(parts), Err(Code::Internal), "{parts:?}");
        }
        let announced = u32::try_from(MAX_MESSAGE_BYTES + 1).expect("fits").to_be_bytes();
        let prefix = [&[0][..], &announced].concat();
        assert_eq!(collected(&[&prefix]), Err(Code::ResourceExhausted), "at once");
    }
}
