//! `OP_MSG` (MongoDB 3.6 and later): one command, one reply, on one connection.

use std::sync::Arc;

use bson::{Document, doc};
use quorate_machine::FindingClass;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::errors;
use crate::{endpoint::Endpoint, failure::Failure, observation::Stage, tls};

const OP_MSG: i32 = 2013;
/// Message length, request id, id answered, operation; four bytes each.
const HEADER_BYTES: usize = 16;
/// Flags before the sections.
const FLAGS_BYTES: usize = 4;
/// Longest reply that is read: those to a prober's questions are some kilobytes.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The section that is one document.
const SECTION_BODY: u8 = 0;

/// What a connection runs over.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection. After a failure that is not the server's own reply it must not be used again.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    last_request: i32,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wire(request {})", self.last_request)
    }
}

impl Wire {
    /// Resolves, connects and encrypts.
    pub(super) async fn open(
        endpoint: &Endpoint,
        encryption: Option<&Arc<ClientConfig>>,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let stream = endpoint.connect(deadline).await?;
        Self::over(stream, endpoint, encryption, deadline).await
    }

    /// Over a connection that stands.
    pub(super) async fn over(
        stream: TcpStream,
        endpoint: &Endpoint,
        encryption: Option<&Arc<ClientConfig>>,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let stream: Box<dyn Stream> = match encryption {
            None => Box::new(stream),
            Some(config) => Box::new(tls::handshake(config.clone(), &endpoint.address, stream, deadline).await?),
        };
        Ok(Self {
            stream,
            last_request: 0,
        })
    }

    /// Runs `command` in `database`; a reply that says `ok: 0` is a failure. `stage` is where the caller is.
    pub(super) async fn run(
        &mut self,
        database: &str,
        mut command: Document,
        stage: Stage,
        deadline: Instant,
    ) -> Result<Document, Failure> {
        let started = Instant::now();
        command.insert("$db", database);
        let reply = match timeout_at(deadline, self.exchange(&command, stage)).await {
            Ok(reply) => reply?,
            Err(_) => {
                let name = command.keys().next().map_or("a command", String::as_str);
                return Err(Failure::timed_out(stage, &format!("no answer to {name}"), started));
            }
        };
        match errors::of_reply(&reply, stage) {
            None => Ok(reply),
            Some(failure) => Err(failure),
        }
    }

    async fn exchange(&mut self, command: &Document, stage: Stage) -> Result<Document, Failure> {
        self.last_request = self.last_request.wrapping_add(1);
        let message = encode(self.last_request, command)?;
        let io = |error: std::io::Error| Failure::of_io(&error, stage);
        self.stream.write_all(&message).await.map_err(io)?;
        self.stream.flush().await.map_err(io)?;
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).await.map_err(io)?;
        let length = body_length(&header, self.last_request)
            .ok_or_else(|| wrong(stage, "what answers does not speak MongoDB's protocol"))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.map_err(io)?;
        decode(&body).ok_or_else(|| wrong(stage, "a reply of MongoDB's protocol that cannot be read"))
    }
}

fn wrong(stage: Stage, text: &str) -> Failure {
    Failure::new(stage, FindingClass::WrongAnswer, text)
}

fn encode(request: i32, command: &Document) -> Result<Vec<u8>, Failure> {
    let body = command
        .to_vec()
        .map_err(|error| Failure::new(Stage::Query, FindingClass::Misconfigured, &error.to_string()))?;
    let length = HEADER_BYTES + FLAGS_BYTES + 1 + body.len();
    let mut message = Vec::with_capacity(length);
    for number in [i32::try_from(length).unwrap_or(i32::MAX), request, 0, OP_MSG, 0] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.push(SECTION_BODY);
    message.extend_from_slice(&body);
    Ok(message)
}

/// Bytes behind a header that answers `request`; `None` if it is no such header.
fn body_length(header: &[u8; HEADER_BYTES], request: i32) -> Option<usize> {
    let number = |at: usize| Some(i32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(number(0)?).ok()?;
    let fits = (HEADER_BYTES + FLAGS_BYTES + 1..=MAX_MESSAGE_BYTES).contains(&length);
    (fits && number(8)? == request && number(12)? == OP_MSG).then(|| length - HEADER_BYTES)
}

fn decode(body: &[u8]) -> Option<Document> {
    let (kind, document) = body.get(FLAGS_BYTES..)?.split_first()?;
    if *kind != SECTION_BODY {
        return None;
    }
    // A checksum may follow; the document knows its own length.
    Document::from_reader(document).ok()
}

/// The question who a server is: `hello`, or `isMaster` where that is not known (before 4.4.2).
pub(super) async fn hello(wire: &mut Wire, deadline: Instant, more: Document) -> Result<Document, Failure> {
    let asked = |name: &str| {
        let mut command = doc! { name: 1 };
        command.extend(more.clone());
        command
    };
    match wire.run("admin", asked("hello"), Stage::Query, deadline).await {
        Err(failure) if errors::is_unknown_command(&failure) => {
            wire.run("admin", asked("isMaster"), Stage::Query, deadline).await
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back() {
        let command = doc! { "ping": 1, "$db": "admin" };
        let mut message = encode(7, &command).unwrap();
        // As a reply: it answers 7.
        message[8..12].copy_from_slice(&7i32.to_le_bytes());
        let header: [u8; HEADER_BYTES] = message[..HEADER_BYTES].try_into().unwrap();
        assert_eq!(body_length(&header, 7), Some(message.len() - HEADER_BYTES));
        assert_eq!(decode(&message[HEADER_BYTES..]), Some(command));
        assert_eq!(body_length(&header, 8), None, "the answer to another question");
    }

    #[test]
    fn what_is_no_reply_is_told() {
        assert_eq!(body_length(b"HTTP/1.1 400 Bad", 1), None);
        assert_eq!(body_length(&[0xff; HEADER_BYTES], -1), None);
        assert_eq!(body_length(&[0; HEADER_BYTES], 0), None);
        for body in [
            &b""[..],
            &[0; 4],
            &[0; 5],
            &[0, 0, 0, 0, 1, 5, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 255, 255, 255, 127],
        ] {
            assert_eq!(decode(body), None, "{body:?}");
        }
    }
}
