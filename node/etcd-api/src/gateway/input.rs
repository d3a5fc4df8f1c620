//! The JSON values of a request's body, one after the other, as they arrive and with a limit.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tonic::{Code, Status};

use super::scan::{Scanner, Step};
use crate::body::{Arrivals, MeteredBody};

/// Longest JSON value, in bytes: the largest request in base64, and room for names.
pub(super) const MAX_VALUE_BYTES: usize = 3 * 1024 * 1024;

/// Reads values from a body.
pub(super) struct Input {
    body: Pin<Box<dyn Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send>>,
    /// Arrived and not looked at yet.
    arrived: Bytes,
    value: Vec<u8>,
    /// Room among everything that is under way on the port.
    room: MeteredBody<()>,
    ended: bool,
}

impl Input {
    pub(super) fn new(
        body: impl Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
        arrivals: &Arc<Arrivals>,
    ) -> Input {
        Input {
            body: Box::pin(body),
            arrived: Bytes::new(),
            value: Vec::new(),
            room: MeteredBody::new((), true, Arc::clone(arrivals)),
            ended: false,
        }
    }

    /// The next value; `None` at the end of the body.
    ///
    /// # Errors
    ///
    /// Go's text for what is no JSON; "too many requests" while no room is left for large values.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Status> {
        let mut scanner = Scanner::new();
        self.value.clear();
        loop {
            if self.scan(&mut scanner)? {
                return self.take().map(Some);
            }
            if !self.fill().await? {
                return match (scanner.has_begun(), scanner.may_end()) {
                    (false, _) => Ok(None),
                    (true, true) => self.take().map(Some),
                    (true, false) => Err(Status::invalid_argument("unexpected EOF")),
                };
            }
        }
    }

    /// Looks at what has arrived; true once the value is whole.
    fn scan(&mut self, scanner: &mut Scanner) -> Result<bool, Status> {
        let mut begin = 0;
        for (index, byte) in self.arrived.iter().enumerate() {
            let end = match scanner.step(*byte).map_err(Status::invalid_argument)? {
                Step::Skipped => {
                    begin = index + 1;
                    continue;
                }
                Step::Taken => continue,
                Step::Last => index + 1,
                Step::Past => index,
            };
            let piece = self.arrived.split_to(end);
            self.value.extend_from_slice(&piece[begin..]);
            return Ok(true);
        }
        let piece = std::mem::take(&mut self.arrived);
        self.value.extend_from_slice(&piece[begin..]);
        Ok(false)
    }

    /// Waits for more of the body; false at its end.
    async fn fill(&mut self) -> Result<bool, Status> {
        while !self.ended {
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(_)) => return Err(Status::new(Code::Cancelled, "quorate: the request broke off")),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let held = self.value.len() + data.len();
                    if held > MAX_VALUE_BYTES {
                        let text = format!("quorate: the request is larger than {MAX_VALUE_BYTES} bytes of JSON");
                        return Err(Status::resource_exhausted(text));
                    }
                    self.room.hold_long(held)?;
                    self.arrived = data;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn take(&mut self) -> Result<String, Status> {
        let value = std::mem::take(&mut self.value);
        self.room.hold_long(self.arrived.len())?;
        String::from_utf8(value).map_err(|_| Status::invalid_argument("proto: invalid UTF-8 in string"))
    }
}
