//! A node of the protocol that counts what it is asked, and a proxy that counts connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// What came in.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicUsize,
    pub requests: AtomicUsize,
    /// Requests with a login.
    pub logins: AtomicUsize,
}

impl Counts {
    pub fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Ends its task when dropped.
pub struct Counter {
    pub address: SocketAddr,
    pub counts: Arc<Counts>,
    task: AbortHandle,
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes connections on to `server`, reading the heads of plain HTTP requests on their way.
pub async fn proxy(server: SocketAddr) -> Result<Counter> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let counts = Arc::new(Counts::default());
    let counted = counts.clone();
    let task = tokio::spawn(async move {
        // Dropped with this task: the connections end with their listener.
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.connections.fetch_add(1, Ordering::SeqCst);
            connections.spawn(async move {
                let mut server = TcpStream::connect(server).await?;
                copy_bidirectional(&mut stream, &mut server).await
            });
        }
    })
    .abort_handle();
    Ok(Counter { address, counts, task })
}

/// Answers every request on a connection: `OPTIONS` with 200, all others with `status` and `body`.
pub async fn node(status: &'static str, body: &'static str) -> Result<Counter> {
    node_silent_at(None, status, body).await
}

/// The same, but a request for `silent_at` gets no answer, and none after it on that connection.
pub async fn node_silent_at(
    silent_at: Option<&'static str>,
    status: &'static str,
    body: &'static str,
) -> Result<Counter> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let counts = Arc::new(Counts::default());
    let counted = counts.clone();
    let task = tokio::spawn(async move {
        // Dropped with this task: the connections end with their listener.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.connections.fetch_add(1, Ordering::SeqCst);
            let counted = counted.clone();
            connections.spawn(async move { answer(stream, &counted, silent_at, status, body).await });
        }
    })
    .abort_handle();
    Ok(Counter { address, counts, task })
}

async fn answer(
    stream: TcpStream,
    counts: &Counts,
    silent_at: Option<&str>,
    status: &str,
    body: &str,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request).await? == 0 {
            return Ok(());
        }
        counts.requests.fetch_add(1, Ordering::SeqCst);
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            if header.to_ascii_lowercase().starts_with("authorization:") {
                counts.logins.fetch_add(1, Ordering::SeqCst);
            }
            if header.trim().is_empty() {
                break;
            }
        }
        if silent_at.is_some_and(|path| request.contains(path)) {
            std::future::pending::<()>().await;
        }
        let (status, body) = if request.starts_with("OPTIONS") {
            ("200 OK", "")
        } else {
            (status, body)
        };
        let length = body.len();
        let reply =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(reply.as_bytes()).await?;
    }
}
