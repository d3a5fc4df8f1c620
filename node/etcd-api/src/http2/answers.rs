//! What goes out: answers of hot calls at once where the windows allow it, those of services part by part, and the rest in
//! turn as windows open.

use std::sync::Arc;
use std::time::Instant;

use bytes::Buf;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tonic::{Code, Status};

use super::cold::Event;
use super::frame::{self, MAX_PAYLOAD_BYTES, Reason};
use super::protocol::Protocol;
use super::stream::{End, Work};
use crate::body::not_arrived;
use crate::services::hot::{Answer, Done, read_together};

/// Frames that wait for the socket, in bytes: beyond it no more answers are put into frames.
const MAX_OUT_BYTES: usize = 128 * 1024;

impl Protocol {
    /// Everything that can go on without the socket: calls, messages of tasks, answers.
    pub(crate) fn work(&mut self) {
        if !self.reads.is_empty() {
            let reads = std::mem::take(&mut self.reads);
            let context = Arc::clone(self.routes.context());
            self.calls.insert(Box::pin(read_together(context, reads)));
        }
        let mut ended = Vec::new();
        self.calls.poll(|done| ended.push(done));
        for done in ended {
            match done {
                Done::One(id, answer) => self.answer(id, answer),
                Done::Many(answers) => answers.into_iter().for_each(|(id, answer)| self.answer(id, answer)),
            }
        }
        let mut messages = std::mem::take(&mut self.messages);
        self.mailbox.take_messages(&mut messages);
        for (id, event) in messages.drain(..) {
            self.event(id, event);
        }
        self.messages = messages;
        self.send();
        self.begin_waiting();
    }

    /// Answers a hot call.
    pub(super) fn answer(&mut self, id: u32, answer: Answer) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.work = Work::Answered;
        stream.count(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        let message = match answer {
            Ok(message) => message,
            Err(status) => {
                self.writer
                    .fields(&mut self.out, id, Some(StatusCode::OK), &error_fields(&status), true);
                return self.finish(id);
            }
        };
        self.writer.grpc_head(&mut self.out, id);
        let length = i64::try_from(message.len()).unwrap_or(i64::MAX);
        let at_once = message.len() <= MAX_PAYLOAD_BYTES
            && length <= stream.send_window.min(self.send_window)
            && self.out.len() < MAX_OUT_BYTES;
        if at_once {
            self.send_window -= length;
            frame::put_head(&mut self.out, message.len(), frame::DATA, 0, id);
            self.out.extend_from_slice(&message);
            self.writer.grpc_end(&mut self.out, id);
            return self.finish(id);
        }
        self.unsent_bytes += message.len();
        stream.unsent.data = message;
        stream.unsent.end = Some(End::Good);
        stream.unsent.queued = true;
        self.sendable.push_back(id);
    }

    /// The answer is on its way. A request that is not complete by now need not become so.
    fn finish(&mut self, id: u32) {
        if let Some(stream) = self.remove(id)
            && !stream.request_complete
        {
            frame::put_reset(&mut self.out, id, Reason::NoError);
        }
    }

    /// A message of a task that works for a stream.
    fn event(&mut self, id: u32, event: Event) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Work::Service(service) = &mut stream.work else {
            return;
        };
        match event {
            Event::Taken(bytes) => {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).min(service.waiting_bytes);
                // There is always room for less.
                let _ = service.wait_for(-bytes);
                self.give_back_on(id, bytes);
                self.give_back(bytes);
            }
            Event::Head(parts, complete) => {
                service.head_sent = true;
                self.writer
                    .fields(&mut self.out, id, Some(parts.status), &parts.headers, complete);
                if complete {
                    self.finish(id);
                }
            }
            Event::Data(data) => {
                stream.unsent.data = data;
                self.queue(id);
            }
            Event::End(trailers) => {
                stream.unsent.end = Some(trailers.map_or(End::Bare, End::Trailers));
                self.queue(id);
            }
            Event::Broken => self.reset(id, Reason::InternalError),
        }
    }

    fn queue(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.unsent.queued
        {
            stream.unsent.queued = true;
            self.sendable.push_back(id);
        }
    }

    /// Puts what waits into frames, a frame of each stream in turn, as far as windows and room allow.
    fn send(&mut self) {
        while self.out.len() < MAX_OUT_BYTES
            && let Some(id) = self.sendable.pop_front()
        {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let unsent = &mut stream.unsent;
            if !unsent.data.is_empty() {
                if self.send_window <= 0 {
                    self.sendable.push_front(id);
                    return;
                }
                let window = usize::try_from(stream.send_window.min(self.send_window)).unwrap_or(0);
                let length = unsent.data.len().min(MAX_PAYLOAD_BYTES).min(window);
                if length == 0 {
                    // Queued again when its window opens.
                    unsent.queued = false;
                    continue;
                }
                frame::put_head(&mut self.out, length, frame::DATA, 0, id);
                self.out.extend_from_slice(&unsent.data[..length]);
                unsent.data.advance(length);
                let sent = i64::try_from(length).unwrap_or(i64::MAX);
                stream.send_window -= sent;
                self.send_window -= sent;
                match &stream.work {
                    Work::Service(service) if unsent.data.is_empty() => service.room.add_permits(1),
                    Work::Service(_) => {}
                    _ => self.unsent_bytes -= length,
                }
            }
            if !unsent.data.is_empty() {
                self.sendable.push_back(id);
                continue;
            }
            unsent.queued = false;
            match unsent.end.take() {
                None => {}
                Some(end) => self.end(id, end),
            }
        }
    }

    fn end(&mut self, id: u32, end: End) {
        match end {
            End::Good => self.writer.grpc_end(&mut self.out, id),
            End::Trailers(trailers) => self.writer.fields(&mut self.out, id, None, &trailers, true),
            End::Bare => frame::put_head(&mut self.out, 0, frame::DATA, frame::END_STREAM, id),
        }
        self.finish(id);
    }

    /// There is something to send, and room for it.
    pub(crate) fn can_send(&self) -> bool {
        !self.sendable.is_empty() && self.send_window > 0 && self.out.len() < MAX_OUT_BYTES
    }

    /// Looks at streams whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.next_deadline.is_none_or(|next| next > now) {
            return;
        }
        let due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let over: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, stream)| due(stream.due()))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.give_up_stream(id, now);
        }
        self.next_deadline = self.streams.values().filter_map(|stream| stream.due()).min();
    }

    /// The client has stopped waiting, or its message has not come.
    fn give_up_stream(&mut self, id: u32, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let own = stream.deadline.take().is_some_and(|deadline| deadline <= now);
        let status = match own {
            true => Status::deadline_exceeded("quorate: the call's deadline is over"),
            false => not_arrived(),
        };
        match &stream.work {
            Work::Calling(slot) => {
                self.calls.cancel(*slot);
                self.answer(id, Err(status));
            }
            Work::Collecting(_) | Work::Waiting(_) | Work::Reading => self.answer(id, Err(status)),
            Work::Service(service) if !service.head_sent => {
                let fields = error_fields(&status);
                self.writer
                    .fields(&mut self.out, id, Some(StatusCode::OK), &fields, true);
                self.finish(id);
            }
            // The answer has begun: it cannot say any more that it is none.
            Work::Service(_) | Work::Answered => self.reset(id, Reason::Cancel),
        }
    }
}

/// A refusal as the only frame of an answer.
fn error_fields(status: &Status) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(3);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    // A text that no header can carry: the code alone tells enough.
    if status.add_header(&mut fields).is_err() {
        let code = HeaderValue::from(status.code() as i32);
        fields.insert("grpc-status", code);
    }
    fields
}
