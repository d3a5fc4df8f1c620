//! The peer port: TLS, mutual in an appliance, and behind it the peer protocol for nodes and extra routes for everybody else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tower::{Service, ServiceExt};

use super::client::Heard;
use super::grpc::{
    BytesCodec, CALL_PATH, KEEP_ALIVE_INTERVAL_MS, KEEP_ALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES, SERVICE, WINDOW_BYTES,
    stream_kind,
};
use super::tls::{CLUSTER_HEADER, NODE_HEADER, Naming, PeerTls, TARGET_HEADER, node_of};
use super::{PeerHandler, StreamKind, TransportError};
use crate::greeting::Greeting;

/// How long a client may take for the TLS handshake, and then for its first bytes.
const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// Connections that have not shown yet who they are. Further ones wait in the system's queue: a place is free again after
/// two deadlines at the latest.
const MAX_UNKNOWN_CONNECTIONS: usize = 256;
/// Connections of one node: three for each purpose in use, and as many again while lost ones have not timed out.
const MAX_CONNECTIONS_PER_NODE: usize = 32;
/// Connections of clients without a node's certificate (nodes that join). Further ones are closed.
const MAX_ANONYMOUS_CONNECTIONS: usize = 64;
/// Connections of a port whose peers say in headers who they are: what a cluster needs, and as many for others.
const MAX_UNNAMED_CONNECTIONS: usize = 512;
/// Life of a connection without a node's certificate: a join takes seconds.
const ANONYMOUS_LIFETIME_MS: u64 = 60_000;
/// Pause after the system refused to accept a connection (out of descriptors).
const ACCEPT_PAUSE_MS: u64 = 50;
/// How often it is looked whether the node at the other end of a connection was removed from the cluster.
const REMOVAL_LOOK_MS: u64 = 1_000;
/// Streams that one connection may have open.
const MAX_STREAMS_PER_CONNECTION: u32 = 1_024;

/// The authenticated node at the other end of a connection.
#[derive(Clone, Copy)]
struct PeerIdentity(u64);

/// Serves the peer port until the task is aborted. Connections without a node's certificate reach only `anonymous`; those of a
/// node that was removed from the cluster are closed.
pub(crate) async fn serve_peers(
    listener: TcpListener,
    tls: PeerTls,
    handler: Arc<dyn PeerHandler>,
    anonymous: Option<Routes>,
    heard: Heard,
) {
    let routes = anonymous.unwrap_or_default().add_service(PeerService {
        handler: handler.clone(),
        heard,
    });
    let acceptor = tls.server.map(TlsAcceptor::from);
    let places = Places::default();
    loop {
        let unknown = places.unknown.clone().acquire_owned().await;
        let unknown = unknown.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = Connection {
                    routes: routes.clone(),
                    places: places.clone(),
                    naming: tls.naming.clone(),
                    handler: handler.clone(),
                };
                tokio::spawn(connection.serve(stream, acceptor.clone(), unknown));
            }
            Err(error) => {
                tracing::warn!("the peer port cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

/// Places for connections: strangers cannot take those of the nodes, nor one node those of another.
#[derive(Clone)]
struct Places {
    unknown: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
    unnamed: Arc<Semaphore>,
    nodes: Arc<Mutex<BTreeMap<u64, Arc<Semaphore>>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            unknown: Arc::new(Semaphore::new(MAX_UNKNOWN_CONNECTIONS)),
            anonymous: Arc::new(Semaphore::new(MAX_ANONYMOUS_CONNECTIONS)),
            unnamed: Arc::new(Semaphore::new(MAX_UNNAMED_CONNECTIONS)),
            nodes: Arc::default(),
        }
    }
}

impl Places {
    /// A place for a client that has shown who it is; `None` while it has too many. Only nodes of this cluster have a
    /// certificate, so the table is as small as the cluster.
    fn take(&self, identity: Option<PeerIdentity>) -> Option<OwnedSemaphorePermit> {
        let places = match identity {
            None => self.anonymous.clone(),
            Some(PeerIdentity(node)) => {
                let mut nodes = self.nodes.lock().expect("no holder of the table panics");
                let places = nodes
                    .entry(node)
                    .or_insert_with(|| Arc::new(Semaphore::new(MAX_CONNECTIONS_PER_NODE)));
                places.clone()
            }
        };
        places.try_acquire_owned().ok()
    }
}

struct Connection {
    routes: Routes,
    places: Places,
    naming: Naming,
    handler: Arc<dyn PeerHandler>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, acceptor: Option<TlsAcceptor>, unknown: OwnedSemaphorePermit) {
        let limit = Duration::from_millis(HANDSHAKE_TIMEOUT_MS);
        let accepted = async {
            stream.set_nodelay(true)?;
            match acceptor {
                Some(acceptor) => acceptor.accept(stream).await.map(Either::Left),
                None => Ok(Either::Right(stream)),
            }
        };
        let stream = match tokio::time::timeout(limit, accepted).await {
            Ok(Ok(stream)) => stream,
            // Who measures the link connects and leaves without a word.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                tracing::debug!("a connection to the peer port ended before the TLS handshake");
                return;
            }
            Ok(Err(error)) => {
                tracing::info!("a connection to the peer port failed in the TLS handshake: {error}");
                return;
            }
            Err(_) => return,
        };
        if let Naming::Headers(_) = &self.naming {
            let Ok(_place) = self.places.unnamed.clone().try_acquire_owned() else {
                tracing::warn!("a connection to the peer port is closed: too many are open");
                return;
            };
            drop(unknown);
            http2(Greeting::within(limit, stream), Other::Says(self.naming), self.routes).await;
            return;
        }
        let certificates = match &stream {
            Either::Left(stream) => stream.get_ref().1.peer_certificates(),
            Either::Right(_) => None,
        };
        let identity = certificates
            .and_then(|chain| chain.first())
            .and_then(node_of)
            .map(PeerIdentity);
        if let Some(PeerIdentity(node)) = identity
            && self.handler.is_removed(node)
        {
            // It may go on trying for ever.
            tracing::debug!(node, "a node that was removed from the cluster is not let in");
            return;
        }
        let Some(_place) = self.places.take(identity) else {
            let node = identity.map(|PeerIdentity(node)| node);
            tracing::warn!(
                node,
                "a connection to the peer port is closed: too many of its kind are open"
            );
            return;
        };
        drop(unknown);
        let stream = Greeting::within(limit, stream);
        let served = http2(stream, Other::Shown(identity), self.routes);
        if let Some(PeerIdentity(node)) = identity {
            tokio::select! {
                () = served => {}
                () = removal(self.handler.as_ref(), node) => {
                    tracing::info!(node, "a connection to the peer port is closed: the node was removed from the cluster");
                }
            }
        } else if tokio::time::timeout(Duration::from_millis(ANONYMOUS_LIFETIME_MS), served)
            .await
            .is_err()
        {
            tracing::debug!("a connection of the peer port without a node's certificate has lived long enough");
        }
    }
}

/// Ends when it is known that the node was removed from the cluster.
async fn removal(handler: &dyn PeerHandler, node: u64) {
    let mut looks = tokio::time::interval(Duration::from_millis(REMOVAL_LOOK_MS));
    loop {
        looks.tick().await;
        if handler.is_removed(node) {
            return;
        }
    }
}

/// Who is at the other end of a connection.
enum Other {
    /// Whom the certificate names, if it names a node.
    Shown(Option<PeerIdentity>),
    /// Whom each request names.
    Says(Naming),
}

impl Other {
    fn identity(&self, headers: &http::HeaderMap) -> Option<PeerIdentity> {
        match self {
            Self::Shown(identity) => *identity,
            Self::Says(Naming::Certificates) => None,
            Self::Says(Naming::Headers(own)) => {
                let cluster = headers.get(CLUSTER_HEADER)?;
                let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
                let (node, target) = (number(NODE_HEADER)?, number(TARGET_HEADER)?);
                let meant = target == own.node && cluster.as_bytes() == own.cluster.as_bytes();
                meant.then_some(PeerIdentity(node))
            }
        }
    }
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, other: Other, routes: Routes) {
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        if let Some(identity) = other.identity(request.headers()) {
            request.extensions_mut().insert(identity);
        }
        routes.clone().oneshot(request)
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .keep_alive_interval(Duration::from_millis(KEEP_ALIVE_INTERVAL_MS))
        .keep_alive_timeout(Duration::from_millis(KEEP_ALIVE_TIMEOUT_MS))
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!("a connection of the peer port ended: {error}");
    }
}

/// The peer protocol as a gRPC service.
#[derive(Clone)]
struct PeerService {
    handler: Arc<dyn PeerHandler>,
    heard: Heard,
}

impl NamedService for PeerService {
    const NAME: &'static str = SERVICE;
}

impl<B> Service<http::Request<B>> for PeerService
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let Some(PeerIdentity(from)) = request.extensions().get().copied() else {
                let refusal = "this call needs the certificate of a node of this cluster";
                return Ok(Status::unauthenticated(refusal).into_http());
            };
            service.heard.note(from);
            let mut grpc = Grpc::new(BytesCodec)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            let handler = service.handler;
            let path = request.uri().path();
            if path == CALL_PATH {
                return Ok(grpc.unary(Calls { handler, from }, request).await);
            }
            Ok(match stream_kind(path) {
                Some(kind) => grpc.streaming(Streams { handler, from, kind }, request).await,
                None => Status::unimplemented("unknown method of the peer protocol").into_http(),
            })
        })
    }
}

struct Calls {
    handler: Arc<dyn PeerHandler>,
    from: u64,
}

impl UnaryService<Bytes> for Calls {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let answer = self.handler.call(self.from, request.into_inner());
        Box::pin(async move { answer.await.map(Response::new).map_err(Status::internal) })
    }
}

struct Streams {
    handler: Arc<dyn PeerHandler>,
    from: u64,
    kind: StreamKind,
}

impl StreamingService<Bytes> for Streams {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let frames = request
            .into_inner()
            .map(|frame| frame.map_err(|status| TransportError::Lost(status.to_string())));
        let answers = self.handler.stream(self.from, self.kind, frames.boxed());
        let answers = answers.map(|answer| answer.map_err(Status::internal));
        Box::pin(futures_util::future::ready(Ok(Response::new(answers.boxed()))))
    }
}
