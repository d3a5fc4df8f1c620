//! What comes in on streams: heads and data of requests.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::cold::{self, Inbound};
use super::frame::{self, Head, Reason, Violation, violation};
use super::head::{BadHead, RequestHead};
use super::protocol::{
    Block, MAX_BLOCK_BYTES, MAX_BLOCK_FRAMES, MAX_STREAMS, Protocol, STREAM_WINDOW_BYTES, WINDOW_STEP_BYTES,
};
use super::stream::{Caller, Message, Service, Stream, Unsent, Work};
use crate::body::{ARRIVAL_TIMEOUT, Room};
use crate::caller::{Client, Token};
use crate::services::hot::{self, Begun, HotCall};

/// Tokens of one connection that are remembered: usually there is one.
const REMEMBERED_TOKENS: usize = 4;

/// Answers that clients have not taken, per connection, in bytes: beyond it, further hot calls wait.
const MAX_UNSENT_BYTES: usize = 8 * 1024 * 1024;

impl Protocol {
    pub(super) fn headers(&mut self, head: &Head, payload: &[u8]) -> Result<(), Violation> {
        if head.stream.is_multiple_of(2) {
            return Err(violation(Reason::ProtocolError, "a stream with an even number"));
        }
        let (fragment, end_stream) = (head.fragment(payload)?, head.has(frame::END_STREAM));
        if head.has(frame::END_HEADERS) {
            return self.block(head.stream, fragment, end_stream);
        }
        self.block = Some(Block {
            stream: head.stream,
            end_stream,
            bytes: fragment.to_vec(),
            frames: 1,
        });
        Ok(())
    }

    pub(super) fn continuation(&mut self, head: &Head, payload: &[u8]) -> Result<(), Violation> {
        let Some(mut block) = self.block.take().filter(|block| block.stream == head.stream) else {
            return Err(violation(Reason::ProtocolError, "CONTINUATION without HEADERS"));
        };
        block.frames += 1;
        if block.bytes.len() + payload.len() > MAX_BLOCK_BYTES || block.frames > MAX_BLOCK_FRAMES {
            return Err(violation(Reason::EnhanceYourCalm, "a header block without end"));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(frame::END_HEADERS) {
            return self.block(block.stream, &block.bytes, block.end_stream);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block: a request, or the trailers of one.
    fn block(&mut self, id: u32, block: &[u8], end_stream: bool) -> Result<(), Violation> {
        let broken = |_| violation(Reason::CompressionError, "a header block that cannot be read");
        if id <= self.last_stream {
            self.heads.skip(block).map_err(broken)?;
            match self.streams.get(&id) {
                Some(stream) if end_stream && !stream.request_complete => self.complete(id),
                Some(_) => self.reset(id, Reason::ProtocolError),
                None => frame::put_reset(&mut self.out, id, Reason::StreamClosed),
            }
            return Ok(());
        }
        self.last_stream = id;
        if self.is_closed_to_new() || self.streams.len() >= MAX_STREAMS {
            self.heads.skip(block).map_err(broken)?;
            frame::put_reset(&mut self.out, id, Reason::RefusedStream);
            return Ok(());
        }
        let (routes, connection, tokens) = (&self.routes, &self.connection, &mut self.tokens);
        let caller = self.heads.request(block, |head| {
            let token = head.token.as_ref().map_or_else(
                || connection.token(),
                |text| remembered(tokens, text, || routes.context().verify_token(text)),
            );
            let client = Client::new(token, Arc::clone(&connection.source), head.requires_leader);
            let hot = HotCall::of(&head.path).filter(|_| head.plain_grpc);
            let calls = hot.and_then(|_| routes.context().metrics.calls(&head.path));
            Caller {
                head,
                client,
                hot,
                calls,
            }
        });
        match caller.map_err(broken)? {
            Ok(caller) => self.open(id, caller, end_stream),
            Err(BadHead::Malformed) => frame::put_reset(&mut self.out, id, Reason::ProtocolError),
            Err(BadHead::TooLarge) => {
                let status = Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
                self.writer.fields(&mut self.out, id, status, &HeaderMap::new(), true);
                frame::put_reset(&mut self.out, id, Reason::NoError);
            }
        }
        Ok(())
    }

    fn open(&mut self, id: u32, caller: Arc<Caller>, end_stream: bool) {
        let work = match caller.hot {
            Some(_) => {
                let room = Room::new(Arc::clone(self.routes.arrivals()));
                Work::Collecting(Message::new(room, self.now + ARRIVAL_TIMEOUT))
            }
            None => match self.start_service(id, &caller.head) {
                Ok(service) => Work::Service(service),
                Err(_) => return frame::put_reset(&mut self.out, id, Reason::ProtocolError),
            },
        };
        let limit = caller.head.timeout;
        let stream = Stream {
            caller,
            work,
            request_complete: false,
            received_bytes: 0,
            send_window: self.peer.initial_window_bytes,
            receive_window: STREAM_WINDOW_BYTES.into(),
            spent_bytes: 0,
            deadline: limit.and_then(|limit| self.now.checked_add(limit)),
            unsent: Unsent::default(),
            counted: false,
        };
        if let Some(calls) = &stream.caller.calls {
            calls.started();
        }
        self.next_deadline = [self.next_deadline, stream.due()].into_iter().flatten().min();
        self.streams.insert(id, stream);
        if end_stream {
            self.complete(id);
        }
    }

    fn start_service(&mut self, id: u32, head: &RequestHead) -> Result<Service, BadHead> {
        let inbound = Inbound::new(id, Arc::clone(&self.mailbox));
        let room = Arc::new(Semaphore::new(1));
        let answering = cold::answer(
            &self.routes,
            &self.connection,
            head,
            Arc::clone(&inbound),
            Arc::clone(&room),
        )?;
        Ok(Service {
            inbound,
            waiting_bytes: 0,
            waiting: Room::new(Arc::clone(self.routes.waiting())),
            room,
            head_sent: false,
            _task: AbortOnDropHandle::new(tokio::spawn(answering)),
        })
    }

    pub(super) fn data(&mut self, head: &Head, payload: &[u8]) -> Result<(), Violation> {
        let (id, taken) = (head.stream, i64::try_from(payload.len()).unwrap_or(i64::MAX));
        self.receive_window -= taken;
        if self.receive_window < 0 {
            return Err(violation(
                Reason::FlowControlError,
                "more data than the connection's window",
            ));
        }
        let data = head.unpadded(payload)?;
        let end_stream = head.has(frame::END_STREAM);
        let Some(stream) = self.streams.get_mut(&id) else {
            self.give_back(taken);
            return self.must_be_past(id);
        };
        stream.receive_window -= taken;
        stream.received_bytes += data.len() as u64;
        let refused = match () {
            () if stream.request_complete => Some(Reason::StreamClosed),
            () if stream.receive_window < 0 => Some(Reason::FlowControlError),
            () => None,
        };
        if let Some(reason) = refused {
            self.give_back(taken);
            self.reset(id, reason);
            return Ok(());
        }
        let (mut free, mut answer) = (taken, None);
        match &mut stream.work {
            Work::Collecting(message) => answer = message.push(data).err(),
            Work::Service(service) => {
                let waiting = i64::try_from(data.len()).unwrap_or(i64::MAX);
                free -= waiting;
                // A client that takes no answer leaves its task no turn to read what it sends.
                if service.wait_for(waiting).is_err() {
                    self.give_back(free);
                    self.reset(id, Reason::EnhanceYourCalm);
                    return Ok(());
                }
                service.inbound.push(data);
            }
            _ => {}
        }
        self.give_back_on(id, if end_stream { 0 } else { free });
        self.give_back(free);
        if let Some(status) = answer {
            self.answer(id, Err(status));
        } else if end_stream {
            self.complete(id);
        }
        Ok(())
    }

    /// Gives the client back what it spent of a stream's window.
    pub(super) fn give_back_on(&mut self, id: u32, bytes: i64) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.spent_bytes += bytes;
        if stream.spent_bytes >= WINDOW_STEP_BYTES && !stream.request_complete {
            stream.receive_window += stream.spent_bytes;
            frame::put_window_update(&mut self.out, id, stream.spent_bytes.unsigned_abs());
            stream.spent_bytes = 0;
        }
    }

    /// The client has sent all of a request.
    fn complete(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.request_complete = true;
        let announced = stream.caller.head.content_length;
        if announced.is_some_and(|announced| announced != stream.received_bytes) {
            return self.reset(id, Reason::ProtocolError);
        }
        if let Work::Service(service) = &stream.work {
            return service.inbound.end();
        }
        if !matches!(stream.work, Work::Collecting(_)) {
            // It was answered before it was complete.
            return;
        }
        let Work::Collecting(message) = std::mem::replace(&mut stream.work, Work::Answered) else {
            return;
        };
        match message.complete() {
            Err(status) => self.answer(id, Err(status)),
            Ok(message) if self.unsent_bytes > MAX_UNSENT_BYTES => {
                stream.work = Work::Waiting(message);
                self.waiting.push_back(id);
            }
            Ok(message) => self.begin(id, message),
        }
    }

    fn begin(&mut self, id: u32, message: Bytes) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some(call) = stream.caller.hot else { return };
        match hot::begin(self.routes.context(), &stream.caller.client, id, call, message) {
            Begun::Answered(answer) => self.answer(id, answer),
            Begun::Read(read) => {
                stream.work = Work::Reading;
                self.reads.push((id, read));
            }
            Begun::Running(call) => stream.work = Work::Calling(self.calls.insert(call)),
        }
    }

    /// Begins calls that waited, as long as there is room for their answers.
    pub(super) fn begin_waiting(&mut self) {
        while self.unsent_bytes <= MAX_UNSENT_BYTES {
            let Some(id) = self.waiting.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if let Work::Waiting(message) = std::mem::replace(&mut stream.work, Work::Answered) {
                self.begin(id, message);
            }
        }
    }
}

fn remembered(tokens: &mut Vec<(Bytes, Token)>, text: &Bytes, verify: impl FnOnce() -> Token) -> Token {
    if let Some((_, token)) = tokens.iter().find(|(known, _)| known == text) {
        return token.clone();
    }
    let token = verify();
    if tokens.len() == REMEMBERED_TOKENS {
        tokens.remove(0);
    }
    tokens.push((text.clone(), token.clone()));
    token
}
