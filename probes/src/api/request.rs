//! One request and its answer on one connection.

use std::error::Error as StdError;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use quorate_machine::FindingClass;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::target::ApiTarget;
use crate::{
    failure::{Failure, classify_io},
    observation::{Stage, bounded_text},
    tls::handshake,
};

/// Bytes of a body that are searched.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A connection that can carry one request. Dropping it closes the socket.
pub(super) struct Exchange {
    sender: SendRequest<Empty<Bytes>>,
    carrier: Carrier,
}

/// The task behind a connection; ends when dropped.
struct Carrier(JoinHandle<hyper::Result<()>>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// TLS where wanted, on a connection that stands.
pub(super) async fn open(target: &ApiTarget, stream: TcpStream, deadline: Instant) -> Result<Exchange, Failure> {
    match &target.tls_client {
        None => speak(stream, deadline).await,
        Some(tls) => {
            let stream = handshake(tls.clone(), &target.endpoint.address, stream, deadline).await?;
            speak(stream, deadline).await
        }
    }
}

async fn speak<S>(stream: S, deadline: Instant) -> Result<Exchange, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let started = Instant::now();
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES);
    match timeout_at(deadline, builder.handshake(TokioIo::new(stream))).await {
        Ok(Ok((sender, connection))) => Ok(Exchange {
            sender,
            carrier: Carrier(tokio::spawn(connection)),
        }),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(Failure::timed_out(Stage::Query, "no HTTP connection", started)),
    }
}

/// An answer whose body is still to come.
pub(super) struct Answer {
    response: Response<Incoming>,
    started: Instant,
    /// The body comes through it.
    _carrier: Carrier,
}

impl Exchange {
    /// Sends the request and waits for the head of the answer.
    pub(super) async fn send(mut self, target: &ApiTarget, deadline: Instant) -> Result<Answer, Failure> {
        let started = Instant::now();
        let mut request = Request::new(Empty::new());
        *request.method_mut() = target.method.clone();
        *request.uri_mut() = target.path.clone();
        *request.headers_mut() = target.headers.clone();
        match timeout_at(deadline, self.sender.send_request(request)).await {
            Ok(Ok(response)) => Ok(Answer {
                response,
                started,
                _carrier: self.carrier,
            }),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(Failure::timed_out(Stage::Query, "connected, but no answer", started)),
        }
    }
}

impl Answer {
    /// The status as an operator reads it.
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Whether it is the expected one; gives what the server calls itself.
    pub(super) async fn judge(self, target: &ApiTarget, deadline: Instant) -> Result<String, Failure> {
        let (status, expected) = (self.status(), target.expected);
        if status != expected {
            let text = format!("status {status}, expected {}", expected.as_u16());
            return Err(Failure::new(Stage::Query, FindingClass::WrongAnswer, &text));
        }
        let named = self.response.headers().get(header::SERVER);
        let server = named
            .map(HeaderValue::as_bytes)
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        let server = bounded_text(&server);
        if !target.body_contains.is_empty() {
            self.find(&target.body_contains, deadline).await?;
        }
        Ok(server)
    }

    async fn find(self, wanted: &[u8], deadline: Instant) -> Result<(), Failure> {
        let (started, mut body) = (self.started, self.response.into_body());
        let mut read: Vec<u8> = Vec::new();
        let without = |read: usize| {
            let text = format!("the body lacks the expected text ({read} bytes read)");
            Failure::new(Stage::Role, FindingClass::WrongAnswer, &text)
        };
        loop {
            let frame = match timeout_at(deadline, body.frame()).await {
                Ok(None) => return Err(without(read.len())),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(classify(&error)),
                Err(_) => return Err(Failure::timed_out(Stage::Role, "no end of the body", started)),
            };
            let Ok(data) = frame.into_data() else { continue };
            // A match may begin in what was read before.
            let from = read.len().saturating_sub(wanted.len() - 1);
            let room = MAX_BODY_BYTES - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
            if read[from..].windows(wanted.len()).any(|part| part == wanted) {
                return Ok(());
            }
            if read.len() >= MAX_BODY_BYTES {
                return Err(without(read.len()));
            }
        }
    }
}

/// An error of the exchange: of the operating system, or an answer that is no HTTP.
fn classify(error: &hyper::Error) -> Failure {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    let mut text = error.to_string();
    while let Some(found) = cause {
        if let Some(io) = found.downcast_ref::<std::io::Error>() {
            let class = classify_io(io);
            // A certificate that the server refuses is told after the handshake (TLS 1.3).
            let stage = if class == FindingClass::Tls {
                Stage::Tls
            } else {
                Stage::Query
            };
            return Failure::new(stage, class, &format!("{text}: {io}"));
        }
        text = format!("{text}: {found}");
        cause = found.source();
    }
    Failure::new(Stage::Query, FindingClass::WrongAnswer, &text)
}
