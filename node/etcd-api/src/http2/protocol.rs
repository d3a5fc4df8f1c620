//! A connection without its socket: bytes in, bytes out. Frames about the connection itself are handled here, those of
//! requests in [`super::requests`]; answers leave by [`super::answers`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonic::Code;

use super::calls::{Calls, Mailbox};
use super::cold::Message;
use super::encode::HeadWriter;
use super::frame::{self, Announced, HEAD_BYTES, Head, MAX_PAYLOAD_BYTES, MAX_WINDOW_BYTES, PeerSettings};
use super::frame::{Reason, Violation, violation};
use super::head::{Heads, MAX_HEADER_BYTES};
use super::stream::{Caller, Stream, Work};
use crate::caller::{Connection, Token};
use crate::route::Routes;
use crate::services::hot::{Done, Read};

/// Requests that run at a time on one connection.
pub(crate) const MAX_STREAMS: usize = 10_000;

/// Requests that a client may give up within a second, and settings that it may change. A time-out hits many at once; more is
/// an attack on the node's CPU.
pub(crate) const MAX_WHIMS_PER_SECOND: u32 = 4_096;

/// HTTP/2 windows, in bytes: one request of the largest size fits, and many small ones of a busy connection.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A window is given back when so much of it is spent.
pub(super) const WINDOW_STEP_BYTES: i64 = 512 * 1024;

/// A header block, in all its frames.
pub(super) const MAX_BLOCK_BYTES: usize = 2 * MAX_HEADER_BYTES;

/// Frames in which a header block may come.
pub(super) const MAX_BLOCK_FRAMES: usize = 16;

/// Tells the client's answer to the ping of a drain from those of keep-alive.
const DRAIN_PING: [u8; 8] = *b"draining";

/// A header block of which more frames are to come.
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: usize,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draining {
    No,
    /// The client was asked to open no further stream; those on their way are served.
    Announced,
    /// The client knows. Nothing further is served.
    Final,
}

/// See the module.
pub(crate) struct Protocol {
    pub(super) routes: Routes,
    pub(super) connection: Connection,
    pub(super) heads: Heads<Caller>,
    pub(super) writer: HeadWriter,
    /// What tokens said, newest last.
    pub(super) tokens: Vec<(Bytes, Token)>,
    pub(super) peer: PeerSettings,
    pub(super) streams: HashMap<u32, Stream>,
    /// The highest stream that the client opened.
    pub(super) last_stream: u32,
    pub(super) send_window: i64,
    pub(super) receive_window: i64,
    pub(super) spent_bytes: i64,
    pub(super) mailbox: Arc<Mailbox<Message>>,
    pub(super) messages: Vec<Message>,
    pub(super) calls: Calls<Done, Message>,
    /// Reads that came in and are not begun.
    pub(super) reads: Vec<(u32, Box<Read>)>,
    /// Streams whose calls wait until answers were taken.
    pub(super) waiting: VecDeque<u32>,
    /// Streams with something to send.
    pub(super) sendable: VecDeque<u32>,
    /// Of hot answers, over all streams.
    pub(super) unsent_bytes: usize,
    pub(super) block: Option<Block>,
    /// Frames for the client.
    pub(super) out: Vec<u8>,
    /// When the next stream has to be looked at.
    pub(super) next_deadline: Option<Instant>,
    /// Time of the last call of [`Protocol::receive`].
    pub(super) now: Instant,
    draining: Draining,
    greeted: bool,
    whims: u32,
    whims_since: Instant,
}

impl Protocol {
    pub(crate) fn new(routes: Routes, connection: Connection, now: Instant) -> Protocol {
        let mailbox = Mailbox::new();
        let mut out = Vec::new();
        let announced = Announced {
            max_streams: u32::try_from(MAX_STREAMS).unwrap_or(u32::MAX),
            stream_window_bytes: STREAM_WINDOW_BYTES,
            connection_window_bytes: CONNECTION_WINDOW_BYTES,
            max_header_bytes: u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX),
        };
        frame::put_greeting(&mut out, &announced);
        Protocol {
            routes,
            connection,
            heads: Heads::new(),
            writer: HeadWriter::new(),
            tokens: Vec::new(),
            peer: PeerSettings::default(),
            streams: HashMap::new(),
            last_stream: 0,
            send_window: frame::DEFAULT_WINDOW_BYTES,
            receive_window: CONNECTION_WINDOW_BYTES.into(),
            spent_bytes: 0,
            calls: Calls::new(Arc::clone(&mailbox)),
            mailbox,
            messages: Vec::new(),
            reads: Vec::new(),
            waiting: VecDeque::new(),
            sendable: VecDeque::new(),
            unsent_bytes: 0,
            block: None,
            out,
            next_deadline: None,
            now,
            draining: Draining::No,
            greeted: false,
            whims: 0,
            whims_since: now,
        }
    }

    /// Sets which task works on the connection.
    pub(crate) fn register(&self, context: &std::task::Context<'_>) {
        self.mailbox.register(context);
    }

    /// Takes in all whole frames of `input`; gives how many bytes they were.
    pub(crate) fn receive(&mut self, input: &[u8], now: Instant) -> Result<usize, Violation> {
        self.now = now;
        let mut rest = input;
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let head = Head::parse(head);
            if head.length > MAX_PAYLOAD_BYTES {
                return Err(violation(Reason::FrameSizeError, "a frame of more than 16 KiB"));
            }
            let Some((payload, after)) = after.split_at_checked(head.length) else {
                break;
            };
            self.frame(&head, payload)?;
            rest = after;
        }
        Ok(input.len() - rest.len())
    }

    fn frame(&mut self, head: &Head, payload: &[u8]) -> Result<(), Violation> {
        if !self.greeted && head.kind != frame::SETTINGS {
            return Err(violation(Reason::ProtocolError, "the first frame is not SETTINGS"));
        }
        if self.block.is_some() && head.kind != frame::CONTINUATION {
            return Err(violation(Reason::ProtocolError, "a frame within a header block"));
        }
        match head.kind {
            frame::DATA => self.data(head, payload),
            frame::HEADERS => self.headers(head, payload),
            frame::CONTINUATION => self.continuation(head, payload),
            frame::RST_STREAM => self.reset_by_client(head, payload),
            frame::SETTINGS => self.settings(head, payload),
            frame::PING => self.ping(head, payload),
            frame::WINDOW_UPDATE => self.window_update(head, payload),
            frame::PRIORITY if payload.len() != 5 => {
                self.reset(head.stream, Reason::FrameSizeError);
                Ok(())
            }
            frame::PUSH_PROMISE => Err(violation(Reason::ProtocolError, "PUSH_PROMISE of a client")),
            frame::GOAWAY if head.stream != 0 => Err(violation(Reason::ProtocolError, "GOAWAY of a stream")),
            // The client opens no further streams, those that run are served; and unknown frames are ignored.
            _ => Ok(()),
        }
    }

    fn settings(&mut self, head: &Head, payload: &[u8]) -> Result<(), Violation> {
        if head.stream != 0 {
            return Err(violation(Reason::ProtocolError, "SETTINGS of a stream"));
        }
        if head.has(frame::ACK) {
            return match payload {
                [] => Ok(()),
                _ => Err(violation(Reason::FrameSizeError, "an acknowledgement with settings")),
            };
        }
        self.greeted = true;
        self.count_whim()?;
        let before = self.peer.initial_window_bytes;
        self.peer.apply(payload)?;
        self.writer.allow_table(self.peer.header_table_bytes);
        let change = self.peer.initial_window_bytes - before;
        if change != 0 {
            for (id, stream) in &mut self.streams {
                stream.send_window += change;
                if stream.send_window > MAX_WINDOW_BYTES {
                    return Err(violation(Reason::FlowControlError, "a window of 2 GiB or more"));
                }
                if stream.has_unsent() && !stream.unsent.queued {
                    stream.unsent.queued = true;
                    self.sendable.push_back(*id);
                }
            }
        }
        frame::put_head(&mut self.out, 0, frame::SETTINGS, frame::ACK, 0);
        Ok(())
    }

    fn ping(&mut self, head: &Head, payload: &[u8]) -> Result<(), Violation> {
        if head.stream != 0 {
            return Err(violation(Reason::ProtocolError, "PING of a stream"));
        }
        let payload = <[u8; 8]>::try_from(payload)
            .map_err(|_| violation(Reason::FrameSizeError, "PING that has not eight bytes"))?;
        if !head.has(frame::ACK) {
            frame::put_ping(&mut self.out, frame::ACK, payload);
        } else if payload == DRAIN_PING && self.draining == Draining::Announced {
            self.draining = Draining::Final;
            frame::put_goaway(&mut self.out, self.last_stream, Reason::NoError, "");
        }
        Ok(())
    }

    fn window_update(&mut self, head: &Head, payload: &[u8]) -> Result<(), Violation> {
        if payload.len() != 4 {
            return Err(violation(
                Reason::FrameSizeError,
                "WINDOW_UPDATE that has not four bytes",
            ));
        }
        let increment = i64::from(frame::number(payload) & 0x7fff_ffff);
        if head.stream == 0 {
            self.send_window += increment;
            return match increment {
                0 => Err(violation(Reason::ProtocolError, "WINDOW_UPDATE by nothing")),
                _ if self.send_window > MAX_WINDOW_BYTES => {
                    Err(violation(Reason::FlowControlError, "a window of 2 GiB or more"))
                }
                _ => Ok(()),
            };
        }
        let Some(stream) = self.streams.get_mut(&head.stream) else {
            return self.must_be_past(head.stream);
        };
        stream.send_window += increment;
        if increment == 0 {
            self.reset(head.stream, Reason::ProtocolError);
        } else if stream.send_window > MAX_WINDOW_BYTES {
            self.reset(head.stream, Reason::FlowControlError);
        } else if stream.has_unsent() && !stream.unsent.queued {
            stream.unsent.queued = true;
            self.sendable.push_back(head.stream);
        }
        Ok(())
    }

    fn reset_by_client(&mut self, head: &Head, payload: &[u8]) -> Result<(), Violation> {
        if payload.len() != 4 {
            return Err(violation(Reason::FrameSizeError, "RST_STREAM that has not four bytes"));
        }
        if self.remove(head.stream).is_none() {
            return self.must_be_past(head.stream);
        }
        self.count_whim()
    }

    fn count_whim(&mut self) -> Result<(), Violation> {
        if self.now.saturating_duration_since(self.whims_since) > Duration::from_secs(1) {
            (self.whims, self.whims_since) = (0, self.now);
        }
        self.whims += 1;
        if self.whims > MAX_WHIMS_PER_SECOND {
            return Err(violation(
                Reason::EnhanceYourCalm,
                "too many requests given up or settings changed",
            ));
        }
        Ok(())
    }

    /// Frames on streams that ended are stragglers; on streams that never began they break the rules.
    pub(super) fn must_be_past(&self, stream: u32) -> Result<(), Violation> {
        if stream == 0 || stream > self.last_stream || stream.is_multiple_of(2) {
            return Err(violation(
                Reason::ProtocolError,
                "a frame of a stream that was not opened",
            ));
        }
        Ok(())
    }

    /// Ends a stream with an error code.
    pub(super) fn reset(&mut self, stream: u32, reason: Reason) {
        self.remove(stream);
        frame::put_reset(&mut self.out, stream, reason);
    }

    /// Forgets a stream and ends what works for it.
    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        let mut stream = self.streams.remove(&id)?;
        // Unless it was answered.
        stream.count(Code::Cancelled);
        match &stream.work {
            Work::Calling(slot) => self.calls.cancel(*slot),
            Work::Service(service) => {
                service.inbound.reset();
                self.give_back(service.waiting_bytes);
            }
            _ => self.unsent_bytes -= stream.unsent.data.len(),
        }
        Some(stream)
    }

    /// Gives the client back what it spent of the connection's window.
    pub(super) fn give_back(&mut self, bytes: i64) {
        self.spent_bytes += bytes;
        if self.spent_bytes >= WINDOW_STEP_BYTES {
            self.receive_window += self.spent_bytes;
            frame::put_window_update(&mut self.out, 0, self.spent_bytes.unsigned_abs());
            self.spent_bytes = 0;
        }
    }

    /// Asks the client to open no further streams.
    pub(crate) fn drain(&mut self) {
        if self.draining == Draining::No {
            self.draining = Draining::Announced;
            frame::put_goaway(&mut self.out, 0x7fff_ffff, Reason::NoError, "");
            frame::put_ping(&mut self.out, 0, DRAIN_PING);
        }
    }

    /// New streams are not served any more.
    pub(super) fn is_closed_to_new(&self) -> bool {
        self.draining == Draining::Final
    }

    /// Nothing is left to do on a drained connection, but to send what is in `out`.
    pub(crate) fn is_finished(&self) -> bool {
        self.draining == Draining::Final && self.streams.is_empty()
    }

    /// Asks a silent client whether it is there.
    pub(crate) fn ping_client(&mut self) {
        frame::put_ping(&mut self.out, 0, *b"are you?");
    }

    /// Says why the connection ends.
    pub(crate) fn give_up(&mut self, violation: &Violation) {
        frame::put_goaway(&mut self.out, self.last_stream, violation.reason, violation.what);
    }

    /// Gives memory back that a busy time left behind.
    pub(crate) fn shrink(&mut self) {
        if self.streams.is_empty() {
            self.streams.shrink_to_fit();
            self.calls.shrink();
            self.sendable.shrink_to_fit();
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }
}
