//! One HTTP/2 connection with many unary gRPC calls on it, as lean as a load generator on the servers' own processors has to be.
//!
//! It knows just enough of RFC 9113: one path, one reply of a frame or several, whose bytes are counted and not read; a call that
//! failed has none (gRPC over HTTP/2, "Trailers-Only"). The server's header compression is not undone. Requests name their
//! headers by the dynamic table from the second on. Not a client for anything else.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::etcd::ConnectOptions;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// What a server may have sent on the connection and nobody has confirmed: the most there is (RFC 9113, 6.9.1).
const WINDOW_BYTES: u32 = (1 << 31) - 1;
/// What both sides may send before anything was said (RFC 9113, 6.9.2).
const FIRST_WINDOW_BYTES: u32 = 65_535;
/// Received bytes are confirmed so rarely that it costs nothing.
const CONFIRM_EVERY_BYTES: u32 = 1 << 29;
const READ_BUFFER_BYTES: usize = 64 << 10;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const HEADER_TABLE_SIZE: u16 = 1;
const TABLE_BYTES: u32 = 4_096;

/// Length of the prefix of a gRPC message.
pub const PREFIX_BYTES: usize = 5;

/// A call that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What the caller gave with the request.
    pub caller: usize,
    /// Length of the answer with its prefix; 0 if there was none.
    pub answer_bytes: usize,
}

/// See the module.
pub struct Connection {
    socket: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    /// By stream.
    calls: HashMap<u32, Ended>,
    /// Headers of the first request, which fill the server's table; afterwards those that refer to it.
    headers: Vec<u8>,
    next_stream: u32,
    /// What may still be sent.
    window: i64,
    unconfirmed: u32,
}

impl Connection {
    /// Connects for calls of one path (`/etcdserverpb.KV/Put`).
    ///
    /// # Errors
    ///
    /// If nobody speaks HTTP/2 there, or keeps no table of headers.
    pub async fn open(options: &ConnectOptions, token: Option<&str>, path: &str) -> Result<Self> {
        ensure!(options.ca.is_none(), "the load generator speaks plainly");
        let socket = TcpStream::connect(&options.endpoint).await?;
        socket.set_nodelay(true)?;
        let mut connection = Self {
            socket,
            out: PREFACE.to_vec(),
            input: Vec::with_capacity(READ_BUFFER_BYTES),
            calls: HashMap::new(),
            headers: first_headers(path, &options.endpoint, token),
            next_stream: 1,
            window: i64::from(FIRST_WINDOW_BYTES),
            unconfirmed: 0,
        };
        connection.frame(kind::SETTINGS, 0, 0, &[]);
        connection.frame(
            kind::WINDOW_UPDATE,
            0,
            0,
            &(WINDOW_BYTES - FIRST_WINDOW_BYTES).to_be_bytes(),
        );
        // The server's settings come first; nothing else can come before a request.
        connection.exchange(&mut Vec::new()).await?;
        Ok(connection)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.frame_head(payload.len(), kind, flags, stream);
        self.out.extend_from_slice(payload);
    }

    fn frame_head(&mut self, length: usize, kind: u8, flags: u8, stream: u32) {
        self.out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        self.out.extend_from_slice(&[kind, flags]);
        self.out.extend_from_slice(&stream.to_be_bytes());
    }

    /// True if a request of so many bytes may be sent now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.window >= bytes as i64
    }

    /// How many calls wait for their answer.
    pub fn open_calls(&self) -> usize {
        self.calls.len()
    }

    /// Notes a request to be sent with the next [`Self::exchange`]; `message` has its prefix.
    pub fn call(&mut self, caller: usize, message: &[u8]) {
        let stream = self.next_stream;
        self.next_stream += 2;
        let headers = std::mem::take(&mut self.headers);
        self.frame(kind::HEADERS, END_HEADERS, stream, &headers);
        self.headers = if stream == 1 { later_headers(&headers) } else { headers };
        self.frame(kind::DATA, END_STREAM, stream, message);
        self.window -= message.len() as i64;
        let call = Ended {
            caller,
            answer_bytes: 0,
        };
        self.calls.insert(stream, call);
    }

    /// Sends what was noted, waits for something to come, and adds the calls that are over.
    ///
    /// # Errors
    ///
    /// If the server ends the connection.
    pub async fn exchange(&mut self, ended: &mut Vec<Ended>) -> Result<()> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        let read = self.socket.read_buf(&mut self.input).await?;
        ensure!(read > 0, "the server closed the connection");
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        while let Some(head) = input.get(at..at + FRAME_HEAD_BYTES) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let payload_at = at + FRAME_HEAD_BYTES;
            let Some(payload) = input.get(payload_at..payload_at + length) else {
                break;
            };
            self.take(kind, flags, stream, payload, ended)?;
            at = payload_at + length;
        }
        input.drain(..at);
        input.reserve(READ_BUFFER_BYTES);
        self.input = input;
        Ok(())
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8], ended: &mut Vec<Ended>) -> Result<()> {
        match kind {
            kind::DATA => {
                if let Some(call) = self.calls.get_mut(&stream) {
                    call.answer_bytes += payload.len();
                }
                self.confirm(payload.len() as u32);
                self.end(stream, flags & END_STREAM != 0, ended);
            }
            kind::HEADERS => self.end(stream, flags & END_STREAM != 0, ended),
            kind::RST_STREAM => self.end(stream, true, ended),
            kind::SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let (id, value) = setting.split_at(2);
                    let value = u32::from_be_bytes(value.try_into()?);
                    let table = u16::from_be_bytes(id.try_into()?) == HEADER_TABLE_SIZE;
                    ensure!(!table || value >= TABLE_BYTES, "the server keeps no table of headers");
                }
                self.frame(kind::SETTINGS, ACK, 0, &[]);
            }
            kind::PING if flags & ACK == 0 => self.frame(kind::PING, ACK, 0, payload),
            kind::WINDOW_UPDATE if stream == 0 => {
                let more = payload.try_into().context("a WINDOW_UPDATE of another length")?;
                self.window += i64::from(u32::from_be_bytes(more));
            }
            kind::GOAWAY => bail!("the server wants no more calls: {}", payload.escape_ascii()),
            _ => {}
        }
        Ok(())
    }

    fn confirm(&mut self, bytes: u32) {
        self.unconfirmed += bytes;
        if self.unconfirmed >= CONFIRM_EVERY_BYTES {
            let confirmed = std::mem::take(&mut self.unconfirmed).to_be_bytes();
            self.frame(kind::WINDOW_UPDATE, 0, 0, &confirmed);
        }
    }

    fn end(&mut self, stream: u32, over: bool, ended: &mut Vec<Ended>) {
        if over && let Some(call) = self.calls.remove(&stream) {
            ended.push(call);
        }
    }
}

/// `:method: POST` and `:scheme: http` of the static table (RFC 7541, appendix A).
const FIXED: [u8; 2] = [0x83, 0x86];
/// The first place of the dynamic table.
const DYNAMIC: u8 = 62;

/// Headers that are added to the server's table: `:path`, `:authority`, `content-type`, `te`, and the token.
fn first_headers(path: &str, authority: &str, token: Option<&str>) -> Vec<u8> {
    /// Literal with incremental indexing (RFC 7541, 6.2.1), its name from the static table.
    const INDEXED_NAME: u8 = 0x40;
    let mut block = FIXED.to_vec();
    for (name, value) in [(4, path), (1, authority), (31, "application/grpc")] {
        block.push(INDEXED_NAME | name);
        string(&mut block, value);
    }
    for (name, value) in [("te", Some("trailers")), ("token", token)] {
        if let Some(value) = value {
            block.push(INDEXED_NAME);
            string(&mut block, name);
            string(&mut block, value);
        }
    }
    block
}

/// The same headers by their places: the last one added has the first.
fn later_headers(first: &[u8]) -> Vec<u8> {
    let mut added = 4;
    if first.windows(5).any(|bytes| bytes == b"token") {
        added += 1;
    }
    let places = (0..added).rev().map(|place| 0x80 | (DYNAMIC + place));
    FIXED.into_iter().chain(places).collect()
}

/// A string without Huffman coding (RFC 7541, 5.2).
fn string(block: &mut Vec<u8>, text: &str) {
    /// The largest value in one byte.
    const ONE_BYTE: usize = 127;
    let mut length = text.len();
    if length < ONE_BYTE {
        block.push(length as u8);
    } else {
        block.push(ONE_BYTE as u8);
        length -= ONE_BYTE;
        while length >= 128 {
            block.push((length % 128) as u8 | 0x80);
            length /= 128;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_strings_have_their_length_in_several_bytes() {
        let mut block = Vec::new();
        string(&mut block, &"a".repeat(1337));
        // 1337 - 127 = 1210 = 9 * 128 + 58.
        assert_eq!(block[..3], [127, 0x80 | 58, 9]);
        assert_eq!(block.len(), 3 + 1337);
    }

    #[test]
    fn later_headers_name_the_first_ones_in_their_order() {
        let first = first_headers("/p", "a", Some("t"));
        assert_eq!(later_headers(&first), [0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]);
        let anonymous = first_headers("/p", "a", None);
        assert_eq!(later_headers(&anonymous), [0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe]);
    }
}
