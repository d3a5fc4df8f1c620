//! Calls that are not on the hot path: they go through the same services as those of HTTP/1.1, each in a task of its own that
//! talks to its connection by messages.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use tokio::sync::Semaphore;

use super::calls::Mailbox;
use super::head::{BadHead, RequestHead};
use crate::body::RequestBody;
use crate::caller::Connection;
use crate::route::Routes;

/// A task's message: the stream that it works for, and what became of it.
pub(crate) type Message = (u32, Event);

/// What a task tells its connection.
pub(crate) enum Event {
    /// So many bytes of the request were taken.
    Taken(usize),
    /// The answer begins; `true` if that is all of it.
    Head(Box<response::Parts>, bool),
    /// A part of the answer. The next one follows when this one is on its way.
    Data(Bytes),
    /// The answer ends, with trailers or without.
    End(Option<HeaderMap>),
    /// The answer broke.
    Broken,
}

/// The request's side of a stream, filled by the connection and emptied by the service.
pub(crate) struct Inbound {
    stream: u32,
    mailbox: Arc<Mailbox<Message>>,
    arrived: Mutex<Arrived>,
}

#[derive(Default)]
struct Arrived {
    parts: VecDeque<Bytes>,
    end: Option<Ended>,
    reader: Option<Waker>,
}

#[derive(Clone, Copy)]
enum Ended {
    Complete,
    Reset,
}

impl Inbound {
    pub(crate) fn new(stream: u32, mailbox: Arc<Mailbox<Message>>) -> Arc<Inbound> {
        Arc::new(Inbound {
            stream,
            mailbox,
            arrived: Mutex::default(),
        })
    }

    /// More of the request. The stream's window bounds what waits here.
    pub(crate) fn push(&self, part: &[u8]) {
        if !part.is_empty() {
            self.change(|arrived| match arrived.parts.back_mut() {
                // Many small frames must not cost more than their bytes.
                Some(last) if last.len() < MIN_PART_BYTES => *last = [last, part].concat().into(),
                _ => arrived.parts.push_back(Bytes::copy_from_slice(part)),
            });
        }
    }

    /// The request is complete.
    pub(crate) fn end(&self) {
        self.change(|arrived| {
            arrived.end.get_or_insert(Ended::Complete);
        });
    }

    /// The client gave the stream up, or the connection ended.
    pub(crate) fn reset(&self) {
        self.change(|arrived| {
            arrived.end.get_or_insert(Ended::Reset);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Arrived)) {
        let reader = {
            let mut arrived = self.lock();
            change(&mut arrived);
            arrived.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parts of a request shorter than this are put together.
const MIN_PART_BYTES: usize = 1024;

/// The body of a request as services read it.
pub(crate) struct InboundBody(Arc<Inbound>);

impl hyper::body::Body for InboundBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let part = {
            let mut arrived = self.0.lock();
            match (arrived.parts.pop_front(), arrived.end) {
                (Some(part), _) => part,
                (None, Some(Ended::Complete)) => return Poll::Ready(None),
                (None, Some(Ended::Reset)) => {
                    return Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())));
                }
                (None, None) => {
                    arrived.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        self.0.mailbox.send((self.0.stream, Event::Taken(part.len())));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        let arrived = self.0.lock();
        arrived.parts.is_empty() && matches!(arrived.end, Some(Ended::Complete))
    }
}

/// Has the services answer a request. `room` has a place for each part of the answer that the connection can take.
pub(crate) fn answer(
    routes: &Routes,
    connection: &Connection,
    head: &RequestHead,
    inbound: Arc<Inbound>,
    room: Arc<Semaphore>,
) -> Result<impl Future<Output = ()> + Send + use<>, BadHead> {
    let (stream, mailbox) = (inbound.stream, Arc::clone(&inbound.mailbox));
    let mut request: Request<RequestBody> = head.to_request(RequestBody::Http2(InboundBody(inbound)))?;
    request.extensions_mut().insert(connection.clone());
    let without_body = head.method.as_ref() == b"HEAD";
    let answering = routes.dispatch(request);
    Ok(async move {
        let mut reporter = Reporter {
            stream,
            mailbox,
            ended: false,
        };
        let Ok(response) = answering.await;
        let (parts, mut body) = response.into_parts();
        let complete = without_body || body.is_end_stream();
        reporter.ended = complete;
        reporter.send(Event::Head(Box::new(parts), complete));
        while !reporter.ended {
            let event = match body.frame().await {
                None => Event::End(None),
                Some(Err(_)) => Event::Broken,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => {
                        let Ok(place) = room.acquire().await else { return };
                        place.forget();
                        Event::Data(data)
                    }
                    Err(frame) => Event::End(frame.into_trailers().ok()),
                },
            };
            reporter.ended = !matches!(event, Event::Data(_));
            reporter.send(event);
        }
    })
}

/// Tells the connection of an answer; also that there is none, if the service panics.
struct Reporter {
    stream: u32,
    mailbox: Arc<Mailbox<Message>>,
    ended: bool,
}

impl Reporter {
    fn send(&self, event: Event) {
        self.mailbox.send((self.stream, event));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if !self.ended {
            self.send(Event::Broken);
        }
    }
}
