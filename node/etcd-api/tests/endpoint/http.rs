//! A plain HTTP/1.1 client, so that tests see the bytes of an answer.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::PATIENCE;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub headers: String,
    pub body: String,
}

/// A connection on which an answer's body is read line by line.
pub struct Stream {
    reader: BufReader<TcpStream>,
    pub status: u16,
    pub headers: String,
}

impl Stream {
    /// Sends a request and reads the head of the answer. Without `length` the body goes on for ever, in chunks.
    pub async fn open(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str, ends: bool) -> Stream {
        let mut stream = TcpStream::connect(address).await.expect("connection");
        let framing = match ends {
            true => format!("content-length: {}\r\n\r\n{body}", body.len()),
            false => format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
        };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}{framing}");
        stream.write_all(request.as_bytes()).await.expect("request");
        let mut reader = BufReader::new(stream);
        let mut headers = String::new();
        timeout(PATIENCE, async {
            while !headers.ends_with("\r\n\r\n") {
                assert!(
                    reader.read_line(&mut headers).await.expect("head") > 0,
                    "the connection ended: {headers}"
                );
            }
        })
        .await
        .expect("an answer in time");
        let status = headers
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("status");
        Stream {
            reader,
            status,
            headers,
        }
    }

    /// The next line of a chunked body.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, async {
            while !line.starts_with('{') {
                line.clear();
                assert!(
                    self.reader.read_line(&mut line).await.expect("body") > 0,
                    "the connection ended"
                );
            }
        })
        .await
        .expect("a line in time");
        line
    }

    async fn rest(mut self) -> String {
        let mut body = Vec::new();
        let read = timeout(PATIENCE, self.reader.read_to_end(&mut body)).await;
        read.expect("an end in time").expect("body");
        let body = String::from_utf8(body).expect("text");
        if !self.headers.to_lowercase().contains("transfer-encoding: chunked") {
            return body;
        }
        let (mut rest, mut whole) = (body.as_str(), String::new());
        while let Some((length, after)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).expect("length of a chunk");
            whole.push_str(&after[..length]);
            rest = after[length..].trim_start_matches("\r\n");
        }
        whole
    }
}

/// One request and its whole answer.
pub async fn exchange(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let stream = Stream::open(address, method, path, headers, body, true).await;
    let content_type = stream.headers.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type").then(|| value.to_owned())
    });
    Answer {
        status: stream.status,
        content_type: content_type.unwrap_or_default(),
        headers: stream.headers.to_lowercase(),
        body: stream.rest().await,
    }
}

pub async fn post(address: SocketAddr, path: &str, body: &str) -> Answer {
    exchange(address, "POST", path, "", body).await
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, "GET", path, "", "").await
}
