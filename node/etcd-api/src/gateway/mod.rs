//! etcd's JSON gateway, on the same port: `POST /v3/…` for every method.
//!
//! A request is translated to the wire's bytes by the schema, handed to the same gRPC service that a gRPC client reaches, and
//! its answers are translated back; so no method has code of its own here, and none can be reached past its checks. What
//! clients see is what grpc-gateway gives for etcd 3.6, with etcd 3.5's `error` beside `message`.
//!
//! It deliberately does not look at client certificates: their common names are not users of the gateway.

mod answers;
mod decode;
mod encode;
#[cfg(feature = "fuzzing")]
mod fuzzed;
mod input;
mod routes;
mod scan;
pub(crate) mod schema;
pub(crate) mod websocket;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Full, StreamBody};
use hyper::body::{Body as HttpBody, Frame};
use tonic::body::Body;
use tonic::{Code, Status};

pub(crate) use self::encode::push_string;
#[cfg(feature = "fuzzing")]
pub(crate) use self::fuzzed::fuzz;
use self::input::Input;
use self::routes::Shape;
use self::schema::SCHEMA;
use crate::body::{ARRIVAL_TIMEOUT, Arrivals};
use crate::errors::message_too_large;
use crate::route::MAX_MESSAGE_BYTES;

/// What precedes a gRPC message: compression flag and length.
const PREFIX_BYTES: usize = 5;

/// Precedes headers that are passed on as metadata.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// Metadata that the services look at; nothing else is passed on.
const PASSED_METADATA: [&str; 3] = ["token", "authorization", "hasleader"];

/// Hands a request to its gRPC service.
pub(crate) type Call =
    Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Infallible>> + Send + Sync>;

/// Whether a path is the gateway's.
pub(crate) fn owns(path: &str) -> bool {
    path.starts_with("/v3/") || path.starts_with("/v3beta/")
}

/// Answers one request; `connection` is what the services need to know of the connection.
pub(crate) async fn serve<B>(request: Request<B>, arrivals: Arc<Arrivals>, call: Call) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    let Some((method, shape)) = routes::find(parts.uri.path()) else {
        return failure(&Status::not_found("Not Found"));
    };
    if parts.method != Method::POST {
        return failure(&Status::unimplemented("Method Not Allowed"));
    }
    let Some((wanted, given)) = SCHEMA.method(method) else {
        return failure(&Status::unimplemented(format!("quorate: {method} is not implemented")));
    };
    let mut input = Input::new(body, &arrivals);
    let first = match shape {
        // Who watches may take its time between two requests, the first one included.
        Shape::Both => input.next().await,
        Shape::Unary | Shape::Answers => in_time(input.next()).await,
    };
    let first = match first.and_then(|json| json.map(|json| message(wanted, &json)).transpose()) {
        Ok(first) => first,
        Err(status) => return failure(&status),
    };
    let body = match shape {
        // An empty body is an empty message.
        Shape::Unary | Shape::Answers => Body::new(Full::new(first.unwrap_or_else(|| framed(&[])))),
        Shape::Both => Body::new(requests(first, input, wanted)),
    };
    let mut inner = Request::new(body);
    *inner.method_mut() = Method::POST;
    *inner.uri_mut() = http::Uri::from_static(method);
    *inner.headers_mut() = metadata(&parts.headers);
    *inner.extensions_mut() = parts.extensions;
    let Ok(response) = call(inner).await;
    match shape {
        Shape::Unary => answers::single(response, given).await,
        _ => answers::lines(response, given).await,
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(ARRIVAL_TIMEOUT, request)
        .await
        .unwrap_or_else(|_| {
            let limit = ARRIVAL_TIMEOUT.as_secs();
            let text = format!("quorate: the request did not arrive within {limit} s");
            Err(Status::deadline_exceeded(text))
        })
}

/// A JSON value as a framed gRPC message.
fn message(index: usize, json: &str) -> Result<Bytes, Status> {
    let wire = decode::decode(index, json).map_err(Status::invalid_argument)?;
    if wire.len() > MAX_MESSAGE_BYTES {
        return Err(message_too_large(wire.len(), MAX_MESSAGE_BYTES));
    }
    Ok(framed(&wire))
}

fn framed(wire: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + wire.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(wire.len()).expect("requests are limited to megabytes"));
    frame.put_slice(wire);
    frame.freeze()
}

/// The requests of a stream, read while the service asks for them.
fn requests(first: Option<Bytes>, input: Input, wanted: usize) -> impl HttpBody<Data = Bytes, Error = Status> {
    let rest = stream::unfold(Some(input), move |input| async move {
        let mut input = input?;
        match input
            .next()
            .await
            .and_then(|json| json.map(|json| message(wanted, &json)).transpose())
        {
            Ok(Some(frame)) => Some((Ok(Frame::data(frame)), Some(input))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    });
    let first = stream::iter(first.map(|frame| Ok(Frame::data(frame))));
    StreamBody::new(Box::pin(first.chain(rest)))
}

/// What of the headers the services see.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    metadata.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(header::TE, HeaderValue::from_static("trailers"));
    for (name, value) in headers {
        let passed = name.as_str().strip_prefix(METADATA_PREFIX).unwrap_or(name.as_str());
        let plain = name == header::AUTHORIZATION || passed != name.as_str();
        if plain && let Some(passed) = PASSED_METADATA.iter().find(|known| **known == passed) {
            metadata.insert(*passed, value.clone());
        }
    }
    metadata
}

/// An answer that is an error.
pub(super) fn failure(status: &Status) -> Response<Body> {
    let mut text = String::from("{\"error\":");
    encode::push_string(status.message(), &mut text);
    text.push(',');
    push_code(status, &mut text);
    text.push('}');
    let mut response = json(http_status(status.code()), Body::new(Full::new(Bytes::from(text))));
    if status.code() == Code::Unauthenticated
        && let Ok(challenge) = HeaderValue::from_str(status.message())
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// `"code":…,"message":…` of a status.
fn push_code(status: &Status, text: &mut String) {
    text.push_str("\"code\":");
    text.push_str(&(status.code() as i32).to_string());
    if !status.message().is_empty() {
        text.push_str(",\"message\":");
        encode::push_string(status.message(), text);
    }
}

fn json(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The HTTP status of a gRPC code, as grpc-gateway maps them.
fn http_status(code: Code) -> StatusCode {
    let status = match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::Unauthenticated => 401,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    };
    StatusCode::from_u16(status).expect("three digits")
}
