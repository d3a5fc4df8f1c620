//! Outgoing connections of a node: from which local address, and through which fault proxy.
//!
//! A production node dials directly. A development node dials from 127.0.0.*n*, so that a link has a source without network
//! namespaces, and may pass the fault proxy of `quorate dev` ([`crate::dev::proxy`]), which speaks the small preamble below.
//!
//! Preamble of a connection to the proxy: `kind (1) | source node (1) | length of target (2, big endian) | target`. The
//! answer is one status byte; after [`STATUS_DONE`] a [`KIND_CONNECT`] connection carries the target's bytes, and a
//! [`KIND_FORWARDER`] one carries the port (2, big endian) of a listener that leads to the target.

use std::io;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Preamble: connect to the target and become that connection.
pub const KIND_CONNECT: u8 = 1;
/// Preamble: tell the port of a listener that leads to the target.
pub const KIND_FORWARDER: u8 = 2;
/// Status: done.
pub const STATUS_DONE: u8 = 0;
/// Status: the target refused the connection.
pub const STATUS_REFUSED: u8 = 1;
/// Status: the target could not be reached.
pub const STATUS_UNREACHABLE: u8 = 2;
/// Longest target, bytes.
pub const MAX_TARGET_BYTES: usize = 512;

/// How this node's outgoing connections leave it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Links {
    node_id: u64,
    source: Option<IpAddr>,
    proxy: Option<SocketAddr>,
}

impl Links {
    /// Links of node `node_id`, opened from `source` and through `proxy` where given.
    pub fn new(node_id: u64, source: Option<IpAddr>, proxy: Option<SocketAddr>) -> Self {
        Self { node_id, source, proxy }
    }

    /// Connects to `target` (`host:port`); a refusal is `ConnectionRefused` also through the proxy. The caller bounds the time.
    pub async fn connect(&self, target: &str) -> io::Result<TcpStream> {
        let stream = match self.proxy {
            None => connect_from(self.source, target).await?,
            Some(proxy) => self.ask_proxy(proxy, KIND_CONNECT, target).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The socket that a driver which dials for itself is to use in place of `target`; `None`: it dials the target directly.
    pub async fn forwarder(&self, target: &str) -> io::Result<Option<SocketAddr>> {
        let Some(proxy) = self.proxy else { return Ok(None) };
        let mut stream = self.ask_proxy(proxy, KIND_FORWARDER, target).await?;
        let port = stream.read_u16().await?;
        Ok(Some(SocketAddr::new(proxy.ip(), port)))
    }

    async fn ask_proxy(&self, proxy: SocketAddr, kind: u8, target: &str) -> io::Result<TcpStream> {
        let length = u16::try_from(target.len())
            .ok()
            .filter(|_| target.len() <= MAX_TARGET_BYTES);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the target is too long"))?;
        let mut preamble = vec![kind, u8::try_from(self.node_id).unwrap_or(u8::MAX)];
        preamble.extend_from_slice(&length.to_be_bytes());
        preamble.extend_from_slice(target.as_bytes());
        let mut stream = TcpStream::connect(proxy).await?;
        stream.write_all(&preamble).await?;
        match stream.read_u8().await? {
            STATUS_DONE => Ok(stream),
            STATUS_REFUSED => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => Err(io::ErrorKind::HostUnreachable.into()),
        }
    }
}

impl quorate_probes::Paths for Links {
    fn forwarder<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Option<SocketAddr>, String>> {
        Box::pin(async move { Links::forwarder(self, address).await.map_err(|error| error.to_string()) })
    }
}

/// Connects to `target` from the local address `source` (any port), trying each address that the name has.
pub async fn connect_from(source: Option<IpAddr>, target: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for address in tokio::net::lookup_host(target).await? {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
