//! The transport of a real node: gRPC over mutual TLS, one connection per peer and purpose.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::grpc::{
    BytesCodec, CALL_PATH, KEEP_ALIVE_INTERVAL_MS, KEEP_ALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES, WINDOW_BYTES, stream_path,
};
use super::tls::{CLUSTER_HEADER, NODE_HEADER, Naming, PeerTls, TARGET_HEADER, host_name, server_name};
use super::{Frames, Peer, Purpose, StreamKind, Transport, TransportError};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT_MS: u64 = 1_000;
/// Losses of connections not yet looked at, at most; more of them say nothing new.
pub(crate) const LOSSES_CAPACITY: usize = 64;

/// Makes the TCP connections to peers: a node may bind its own address first, or go by way of a fault proxy.
pub trait PeerDialer: Send + Sync + 'static {
    /// Connects to the peer `to` that listens at `address` (`host:port`).
    fn connect(&self, to: u64, address: String, purpose: Purpose) -> BoxFuture<'static, io::Result<TcpStream>>;
}

/// Connects directly, from a given local address if there is one.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDialer {
    /// Local address of outgoing connections; `None` leaves it to the system.
    pub source: Option<IpAddr>,
}

impl PeerDialer for TcpDialer {
    fn connect(&self, _to: u64, address: String, _purpose: Purpose) -> BoxFuture<'static, io::Result<TcpStream>> {
        let source = self.source;
        Box::pin(async move {
            let Some(source) = source else {
                return TcpStream::connect(address).await;
            };
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the address resolves to nothing");
            for target in tokio::net::lookup_host(address).await? {
                let socket = if target.is_ipv4() {
                    TcpSocket::new_v4()?
                } else {
                    TcpSocket::new_v6()?
                };
                socket.bind(SocketAddr::new(source, 0))?;
                match socket.connect(target).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }
}

/// When each peer was last heard, in either direction.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    at: Arc<Mutex<BTreeMap<u64, Instant>>>,
}

impl Heard {
    pub fn note(&self, peer: u64) {
        self.at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(peer, Instant::now());
    }

    /// Peers heard within this time.
    pub fn within(&self, within: Duration) -> Vec<u64> {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.iter()
            .filter(|(_, at)| at.elapsed() <= within)
            .map(|(id, _)| *id)
            .collect()
    }
}

/// Carries frames over gRPC.
#[derive(Clone)]
pub(crate) struct GrpcTransport {
    shared: Arc<Shared>,
}

struct Shared {
    tls: PeerTls,
    dialer: Arc<dyn PeerDialer>,
    channels: Mutex<BTreeMap<(u64, Purpose, String), Channel>>,
    heard: Heard,
    /// Told which peer's connection ended.
    losses: mpsc::Sender<u64>,
}

impl GrpcTransport {
    /// `losses` is told the peer of every connection that ends.
    pub fn new(tls: PeerTls, dialer: Arc<dyn PeerDialer>, heard: Heard, losses: mpsc::Sender<u64>) -> Self {
        let channels = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                tls,
                dialer,
                channels,
                heard,
                losses,
            }),
        }
    }

    fn channel(&self, to: &Peer, purpose: Purpose) -> Result<Channel, TransportError> {
        let mut channels = self.shared.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (to.id, purpose, to.address.clone());
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        // The connector speaks TLS itself; tonic must not look for a TLS configuration of its own.
        let endpoint = Endpoint::try_from(format!("http://{}", super::tls::peer_certificate_name(to.id)));
        let endpoint = endpoint
            .map_err(|error| TransportError::Unreachable(error.to_string()))?
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(Duration::from_millis(KEEP_ALIVE_INTERVAL_MS))
            .keep_alive_timeout(Duration::from_millis(KEEP_ALIVE_TIMEOUT_MS))
            .keep_alive_while_idle(true);
        let (shared, to) = (self.shared.clone(), to.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let (shared, to) = (shared.clone(), to.clone());
            async move { connect(&shared, &to, purpose).await.map(TokioIo::new) }
        });
        let channel = endpoint.connect_with_connector_lazy(connector);
        // An address that changed leaves its old channel behind.
        channels.retain(|(id, other, _), _| *id != key.0 || *other != purpose);
        channels.insert(key, channel.clone());
        Ok(channel)
    }

    /// A request that says whose it is and for whom, where certificates do not.
    fn request<T>(&self, to: &Peer, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Naming::Headers(own) = &self.shared.tls.naming {
            let metadata = request.metadata_mut();
            metadata.insert(NODE_HEADER, own.node.into());
            metadata.insert(TARGET_HEADER, to.id.into());
            if let Ok(cluster) = own.cluster.parse() {
                metadata.insert(CLUSTER_HEADER, cluster);
            }
        }
        request
    }

    fn client(&self, to: &Peer, purpose: Purpose) -> Result<Grpc<Channel>, TransportError> {
        let client = Grpc::new(self.channel(to, purpose)?);
        Ok(client
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

async fn connect(shared: &Arc<Shared>, to: &Peer, purpose: Purpose) -> io::Result<Watched> {
    let connecting = async {
        let stream = shared.dialer.connect(to.id, to.address.clone(), purpose).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &shared.tls.client else {
            return Ok::<_, io::Error>(Either::Right(stream));
        };
        let name = match &shared.tls.naming {
            Naming::Certificates => server_name(to.id),
            Naming::Headers(_) => host_name(&to.address),
        };
        let name = name.ok_or_else(|| io::Error::other("the peer has no name that a certificate could have"))?;
        let connected = TlsConnector::from(config.clone()).connect(name, stream).await?;
        Ok(Either::Left(connected))
    };
    let limit = Duration::from_millis(CONNECT_TIMEOUT_MS);
    let stream = tokio::time::timeout(limit, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let stream = stream.inspect_err(|error| tracing::debug!("no connection to node {}: {error}", to.id))?;
    shared.heard.note(to.id);
    Ok(Watched {
        stream,
        peer: to.id,
        losses: shared.losses.clone(),
    })
}

/// A connection that tells when it ends.
struct Watched {
    stream: Either<TlsStream<TcpStream>, TcpStream>,
    peer: u64,
    losses: mpsc::Sender<u64>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A full queue holds news of the same kind; a closed one belongs to a node that stops.
        let _ = self.losses.try_send(self.peer);
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Only what found no connection was certainly never sent: tonic's `Unavailable` also stands for a connection on which a request
/// was written and which then fell silent.
fn lost(status: Status) -> TransportError {
    let mut sources = std::iter::successors(std::error::Error::source(&status), |error| error.source());
    match sources.any(|error| error.is::<tonic::ConnectError>()) {
        true => TransportError::Unreachable(status.message().to_owned()),
        false => TransportError::Lost(status.to_string()),
    }
}

fn not_ready(error: tonic::transport::Error) -> TransportError {
    TransportError::Unreachable(error.to_string())
}

impl Transport for GrpcTransport {
    async fn call(&self, to: &Peer, purpose: Purpose, frame: Bytes) -> Result<Bytes, TransportError> {
        let mut client = self.client(to, purpose)?;
        client.ready().await.map_err(not_ready)?;
        let path = PathAndQuery::from_static(CALL_PATH);
        let answer = client
            .unary(self.request(to, frame), path, BytesCodec)
            .await
            .map_err(lost)?;
        self.shared.heard.note(to.id);
        Ok(answer.into_inner())
    }

    async fn stream(
        &self,
        to: &Peer,
        purpose: Purpose,
        kind: StreamKind,
        frames: BoxStream<'static, Bytes>,
    ) -> Result<Frames, TransportError> {
        let mut client = self.client(to, purpose)?;
        client.ready().await.map_err(not_ready)?;
        let path = PathAndQuery::from_static(stream_path(kind));
        let answer = client
            .streaming(self.request(to, frames), path, BytesCodec)
            .await
            .map_err(lost)?;
        Ok(answer.into_inner().map(|frame| frame.map_err(lost)).boxed())
    }

    async fn is_refused(&self, to: &Peer) -> bool {
        let connected = self
            .shared
            .dialer
            .connect(to.id, to.address.clone(), Purpose::Control)
            .await;
        matches!(connected, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}
