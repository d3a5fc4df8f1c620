//! Answers of a gRPC service as JSON: one object, or a line for each message of a stream.

use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame};
use tonic::body::Body;
use tonic::{Code, Status};

use super::{PREFIX_BYTES, encode, failure, http_status, json, push_code};

/// The answer of a call with one answer.
pub(super) async fn single(response: Response<Body>, message: usize) -> Response<Body> {
    let mut messages = Messages::new(response);
    let first = match messages.next().await {
        Ok(Some(first)) => first,
        Ok(None) => return failure(&Status::internal("quorate: the call ended without an answer")),
        Err(status) => return failure(&status),
    };
    // An answer counts only with the status behind it.
    if let Err(status) = messages.next().await {
        return failure(&status);
    }
    let mut text = String::with_capacity(first.len() * 2);
    match encode::encode(message, &first, &mut text) {
        Ok(()) => answered(Body::new(Full::new(Bytes::from(text)))),
        Err(unreadable) => failure(&Status::internal(unreadable.to_string())),
    }
}

/// The answers of a stream. The HTTP status waits for the first of them, or for what went wrong instead.
pub(super) async fn lines(response: Response<Body>, message: usize) -> Response<Body> {
    let mut messages = Messages::new(response);
    let first = match messages.next().await {
        Ok(Some(first)) => line(message, &first),
        Ok(None) => return answered(Body::empty()),
        Err(status) => {
            let text = error_line(&status);
            return json(http_status(status.code()), Body::new(Full::new(Bytes::from(text))));
        }
    };
    let rest = stream::unfold((Some(first), Some(messages)), move |(first, messages)| async move {
        let mut messages = messages?;
        if let Some(first) = first {
            return Some((Frame::data(Bytes::from(first)), (None, Some(messages))));
        }
        let (text, messages) = match messages.next().await {
            Ok(None) => return None,
            Ok(Some(next)) => (line(message, &next), Some(messages)),
            Err(status) => (error_line(&status), None),
        };
        Some((Frame::data(Bytes::from(text)), (None, messages)))
    });
    let rest = futures_util::StreamExt::map(rest, Ok::<_, Status>);
    answered(Body::new(StreamBody::new(rest)))
}

fn answered(body: Body) -> Response<Body> {
    let mut response = json(StatusCode::OK, body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("grpc-metadata-content-type", kind);
    response
}

fn line(message: usize, wire: &[u8]) -> String {
    let mut json = String::with_capacity(wire.len() * 2);
    if let Err(unreadable) = encode::encode(message, wire, &mut json) {
        return error_line(&Status::internal(unreadable.to_string()));
    }
    let mut line = String::with_capacity(json.len() + 16);
    line.push_str("{\"result\":");
    encode::push_for_line(&json, &mut line);
    line.push_str("}\n");
    line
}

fn error_line(status: &Status) -> String {
    let mut error = String::new();
    push_code(status, &mut error);
    let mut line = String::from("{\"error\":{");
    encode::push_for_line(&error, &mut line);
    line.push_str("}}\n");
    line
}

/// The messages of a gRPC response.
struct Messages {
    headers: HeaderMap,
    body: Pin<Box<Body>>,
    arrived: BytesMut,
    ended: bool,
}

impl Messages {
    fn new(response: Response<Body>) -> Messages {
        let (parts, body) = response.into_parts();
        Messages {
            headers: parts.headers,
            ended: body.is_end_stream(),
            body: Box::pin(body),
            arrived: BytesMut::new(),
        }
    }

    /// The next message; `None` after the last one of a call that went well.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some((prefix, rest)) = self.arrived.split_first_chunk::<PREFIX_BYTES>() {
                let [_, a, b, c, d] = *prefix;
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if rest.len() >= length {
                    self.arrived.advance(PREFIX_BYTES);
                    return Ok(Some(self.arrived.split_to(length).freeze()));
                }
            }
            if self.ended {
                return checked(&self.headers);
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(status)) => return Err(status),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.arrived.extend_from_slice(&data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.headers = trailers;
                        }
                        self.ended = true;
                    }
                },
            }
        }
    }
}

fn checked(headers: &HeaderMap) -> Result<Option<Bytes>, Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(None),
    }
}
