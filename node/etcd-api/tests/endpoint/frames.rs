//! A client that speaks HTTP/2 frame by frame, and can break every rule of it.

use std::net::SocketAddr;

use quorate_etcd_api::pb::etcdserverpb as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// A frame as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// A connection after the preface.
pub struct RawClient {
    pub stream: TcpStream,
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A setting's bytes.
pub fn setting(key: u16, value: u32) -> Vec<u8> {
    [&key.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A header block of literals that no table keeps. No text is longer than 16 KiB.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            if text.len() < 127 {
                bytes.push(u8::try_from(text.len()).expect("short"));
            } else {
                let rest = text.len() - 127;
                bytes.extend_from_slice(&[127, 0x80 | (rest & 0x7f) as u8, (rest >> 7) as u8]);
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// The header block of a call, with further fields.
pub fn call(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let first = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    block(&[&first[..], more].concat())
}

/// A message with gRPC's prefix.
pub fn message(message: &impl prost::Message) -> Vec<u8> {
    let encoded = message.encode_to_vec();
    let length = u32::try_from(encoded.len()).expect("short");
    [&[0][..], &length.to_be_bytes(), &encoded].concat()
}

/// The request of a get.
pub fn get(key: &str) -> Vec<u8> {
    message(&pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    })
}

impl RawClient {
    /// Connects and greets, with these settings.
    pub async fn connect(address: SocketAddr, settings: &[u8]) -> RawClient {
        let mut stream = TcpStream::connect(address).await.expect("connection");
        stream.set_nodelay(true).expect("an open socket");
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .expect("preface");
        let mut client = RawClient { stream };
        client.send(&frame(SETTINGS, 0, 0, settings)).await;
        client
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload,
            })
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("a frame in time")
    }

    /// The next frame of a kind; others are passed over.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection goes on");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Waits until everything that was sent before is taken in.
    pub async fn round_trip(&mut self) {
        self.send(&frame(PING, 0, 0, b"roundtri")).await;
        loop {
            let answer = self.next_of(PING).await;
            if answer.flags == ACK && answer.payload == b"roundtri" {
                return;
            }
        }
    }

    /// Sends a call in one piece.
    pub async fn call(&mut self, stream: u32, path: &str, more: &[(&str, &str)], request: &[u8]) {
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &call(path, more));
        bytes.extend(frame(DATA, END_STREAM, stream, request));
        self.send(&bytes).await;
    }

    /// Reads a stream's answer to its end: the message, and how many frames it took. Windows stay as they are.
    pub async fn answer(&mut self, stream: u32) -> (Vec<u8>, Vec<Frame>) {
        let (mut message, mut frames) = (Vec::new(), Vec::new());
        loop {
            let frame = self.next().await.expect("the connection goes on");
            if frame.stream != stream {
                continue;
            }
            if frame.kind == DATA {
                message.extend_from_slice(&frame.payload);
            }
            let ended = frame.kind == RST_STREAM || frame.flags & END_STREAM != 0;
            frames.push(frame);
            if ended {
                return (message, frames);
            }
        }
    }

    /// Reads to the end of the connection; gives the code of the GOAWAY that came before it, if one did.
    pub async fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
}

/// What a gRPC message answers to a get.
pub fn value(answer: &[u8]) -> Option<bytes::Bytes> {
    let response: pb::RangeResponse = prost::Message::decode(&answer[5..]).expect("a response");
    response.kvs.into_iter().next().map(|kv| kv.value)
}
