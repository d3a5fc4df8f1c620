//! The gateway over WebSocket, as the proxy in etcd does it: what the client sends is the body of a `POST`, message by
//! message, and every line of the answer is a message to the client. So a browser or a load balancer that passes no endless
//! HTTP bodies can watch and keep leases alive.
//!
//! A token comes as `Sec-WebSocket-Protocol: Bearer, TOKEN`. It deliberately takes none from a cookie, as etcd does: any page
//! that a browser shows may open a WebSocket to any address, and the browser would send the cookie along
//! (`docs/etcd-differences.md`).

mod gauge;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::body::Body;

use self::gauge::{Gauge, Gauged};
use super::Call;
use super::input::MAX_VALUE_BYTES;
use crate::body::Arrivals;
use crate::caller::Connection;

/// How often the client is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Without a word for so long, answers to pings included, the client is gone.
const MAX_SILENCE: Duration = Duration::from_secs(75);

/// For the client to close its side once ours is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Read at once. Idle connections hold it.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// What a key is followed by before it is hashed (RFC 6455, section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key (RFC 6455, section 4.1).
const KEY_BYTES: usize = 16;

type Inbound = Box<dyn std::error::Error + Send + Sync>;

/// What a connection of HTTP/1.1 goes on with once it speaks WebSocket.
#[derive(Clone, Default)]
pub(crate) struct AfterUpgrade(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl AfterUpgrade {
    /// What to do with the connection now, if it was upgraded.
    pub(crate) fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, session: BoxFuture<'static, ()>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }
}

/// Whether the client asks for WebSocket on a connection that can be upgraded.
pub(crate) fn is_asked_for<B>(request: &Request<B>) -> bool {
    let names = |name: HeaderName, wanted: &str| {
        let values = request.headers().get_all(name).into_iter();
        let mut words = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    request.extensions().get::<AfterUpgrade>().is_some()
        && names(header::CONNECTION, "upgrade")
        && names(header::UPGRADE, "websocket")
}

/// Accepts or refuses the handshake; an accepted connection goes on with the gateway's answer to what it sends.
pub(crate) fn accept<B>(mut request: Request<B>, arrivals: Arc<Arrivals>, call: Call) -> Response<Body> {
    let accepted = match accept_key(&request) {
        Ok(accepted) => accepted,
        Err(status) => return refused(status),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let (inner, requests) = as_post(&request);
    if let Some(after) = request.extensions().get::<AfterUpgrade>() {
        let session = converse(upgrade, inner, requests, arrivals, call);
        after.set(Box::pin(session));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    if protocol(request.headers()).is_some_and(|protocol| protocol.starts_with("Bearer")) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer"));
    }
    response
}

/// What proves to the client that its handshake was understood.
fn accept_key<B>(request: &Request<B>) -> Result<HeaderValue, StatusCode> {
    if request.method() != Method::GET {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let version = request.headers().get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let key = key.map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |key| key.len()) != KEY_BYTES {
        return Err(StatusCode::BAD_REQUEST);
    }
    let hashed = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        &[key, KEY_SUFFIX].concat(),
    );
    Ok(HeaderValue::from_str(&STANDARD.encode(hashed)).expect("base64 is ASCII"))
}

/// A handshake that is wrong, told as etcd tells it.
fn refused(status: StatusCode) -> Response<Body> {
    let text = format!("{}\n", status.canonical_reason().unwrap_or_default());
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

fn protocol(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()
}

/// The request that the gateway sees, with a body of what is sent. Of the headers it has the token alone.
fn as_post<B>(request: &Request<B>) -> (Request<Messages>, mpsc::Sender<Bytes>) {
    let (sender, mut messages) = mpsc::channel(1);
    let body = stream::poll_fn(move |context| messages.poll_recv(context));
    let frames: BoxedFrames = Box::pin(body.map(|message| Ok(Frame::data(message))));
    let mut inner = Request::new(StreamBody::new(frames));
    *inner.method_mut() = Method::POST;
    *inner.uri_mut() = request.uri().clone();
    let token = protocol(request.headers()).and_then(|protocol| protocol.split_once("Bearer,"));
    if let Some((_, token)) = token
        && let Ok(value) = HeaderValue::from_str(&format!("Bearer {}", token.trim_matches(' ')))
    {
        inner.headers_mut().insert(header::AUTHORIZATION, value);
    }
    if let Some(connection) = request.extensions().get::<Connection>() {
        inner.extensions_mut().insert(connection.clone());
    }
    (inner, sender)
}

type BoxedFrames = std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Inbound>> + Send>>;
type Messages = StreamBody<BoxedFrames>;

/// Both directions, until one of them ends.
async fn converse(
    upgrade: OnUpgrade,
    inner: Request<Messages>,
    requests: mpsc::Sender<Bytes>,
    arrivals: Arc<Arrivals>,
    call: Call,
) {
    // A client that is gone by now needs nothing.
    let Ok(upgraded) = upgrade.await else { return };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_VALUE_BYTES))
        .max_frame_size(Some(MAX_VALUE_BYTES));
    let gauge = Gauge::new(Arc::clone(&arrivals));
    let stream = Gauged::new(TokioIo::new(upgraded), gauge.clone());
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut sink, mut source) = socket.split();
    let code = {
        let reading = read(&mut source, &requests, &gauge);
        let writing = write(&mut sink, lines(super::serve(inner, arrivals, call)));
        tokio::select! {
            code = reading => code,
            code = writing => code,
        }
    };
    let frame = CloseFrame {
        code,
        reason: "".into(),
    };
    let closing = async {
        // Where the client closed first this fails, and the answer to its goodbye still waits to be written.
        if sink.send(Message::Close(Some(frame))).await.is_err() {
            let _ = sink.flush().await;
        }
        while source.next().await.is_some_and(|message| message.is_ok()) {
            gauge.taken();
        }
    };
    // Who does not answer in time loses the connection.
    let _ = timeout(CLOSE_TIMEOUT, closing).await;
}

/// Passes messages on as lines of the body, until the client closes, breaks off or falls silent.
async fn read(
    source: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    requests: &mpsc::Sender<Bytes>,
    gauge: &Gauge,
) -> CloseCode {
    loop {
        let payload = match timeout(MAX_SILENCE, source.next()).await {
            Err(_) => return CloseCode::Away,
            Ok(None | Some(Ok(Message::Close(_)))) => return CloseCode::Normal,
            Ok(Some(Ok(Message::Text(text)))) => Bytes::from(text),
            Ok(Some(Ok(Message::Binary(payload)))) => payload,
            Ok(Some(Ok(_))) => {
                gauge.taken();
                continue;
            }
            Ok(Some(Err(Error::Capacity(_)))) => return CloseCode::Size,
            Ok(Some(Err(Error::Io(_)))) if gauge.is_full() => return CloseCode::Again,
            Ok(Some(Err(_))) => return CloseCode::Protocol,
        };
        let mut line = BytesMut::with_capacity(payload.len() + 1);
        line.extend_from_slice(&payload);
        line.extend_from_slice(b"\n");
        drop(payload);
        // What a call with one request gets beyond it is of no interest.
        let _ = requests.send(line.freeze()).await;
        gauge.taken();
    }
}

/// Sends lines until there are no more, and asks meanwhile whether the client is there.
async fn write(
    sink: &mut (impl SinkExt<Message, Error = Error> + Unpin),
    lines: impl Stream<Item = Bytes>,
) -> CloseCode {
    let mut lines = std::pin::pin!(lines);
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    loop {
        let message = tokio::select! {
            line = lines.next() => match line.map(|line| String::from_utf8(line.to_vec())) {
                None => return CloseCode::Normal,
                Some(Ok(line)) => Message::text(line),
                Some(Err(_)) => return CloseCode::Error,
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return CloseCode::Away;
        }
    }
}

/// The lines of an answer's body, without those that are empty.
fn lines(answer: impl Future<Output = Response<Body>>) -> impl Stream<Item = Bytes> {
    let body = stream::once(answer).flat_map(|response| {
        let frames = response.into_body().into_data_stream();
        // A body of the gateway tells what went wrong in a line of its own.
        frames.filter_map(|frame| std::future::ready(frame.ok()))
    });
    let body = Box::pin(body);
    let whole = stream::unfold(
        (body, BytesMut::new(), false),
        |(mut body, mut held, mut ended)| async move {
            loop {
                if let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                    let line = held.split_to(end + 1).freeze().slice(..end);
                    return Some((line, (body, held, ended)));
                }
                if ended {
                    let line = held.split().freeze();
                    return (!line.is_empty()).then_some((line, (body, held, ended)));
                }
                match body.next().await {
                    Some(data) => held.extend_from_slice(&data),
                    None => ended = true,
                }
            }
        },
    );
    whole.filter(|line| std::future::ready(!line.is_empty()))
}
