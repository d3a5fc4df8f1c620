//! The HTTPS server of the console port: HTTP/1.1 and HTTP/2 over TLS, with limits, ending gracefully.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use quorate_raft::Greeting;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::context::source_key;
use crate::limits::{
    DRAIN_DEADLINE, HEADER_DEADLINE, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_SOURCE, MAX_REQUESTS_PER_CONNECTION,
    TLS_HANDSHAKE_DEADLINE,
};
use crate::places::{Place, Places};

/// Pause after a failed accept, commonly a shortage of file descriptors: trying on at once would only burn a processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2 pings a silent client this often, so that a connection whose network is cut frees its place.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Serves `router` over TLS until `shutdown` completes, then lets requests in flight end within 5 s.
///
/// `tls` should offer `h2` and `http/1.1` by ALPN. At most 1024 connections are open at a time, 256 of one address. Event streams never end by
/// themselves: call [`crate::ApiContext::end_streams`] when the shutdown begins.
pub async fn serve_https(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let of_source = Places::new(MAX_CONNECTIONS_PER_SOURCE);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let Some(of_source) = of_source.take(&source_key(peer.ip())) else {
                    tracing::debug!(%peer, "console connection refused: {MAX_CONNECTIONS_PER_SOURCE} of its address are open");
                    continue;
                };
                let connection = Connection {
                    router: router.clone(),
                    watcher: graceful.watcher(),
                    peer,
                    _places: (place, of_source),
                };
                connections.spawn(connection.serve(acceptor.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "the console port cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await.is_err() {
        tracing::info!(
            "console connections still open after {} s are cut",
            DRAIN_DEADLINE.as_secs()
        );
    }
    connections.shutdown().await;
}

struct Connection {
    router: Router,
    watcher: Watcher,
    peer: SocketAddr,
    _places: (OwnedSemaphorePermit, Place),
}

impl Connection {
    async fn serve(self, acceptor: TlsAcceptor, stream: TcpStream) {
        // Answers are small and latency counts; a socket that cannot be told so still works.
        let _ = stream.set_nodelay(true);
        let handshake = tokio::time::timeout(TLS_HANDSHAKE_DEADLINE, acceptor.accept(stream));
        let tls = match handshake.await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return tracing::debug!(peer = %self.peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(peer = %self.peer, "TLS handshake took too long"),
        };
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_REQUESTS_PER_CONNECTION)
            .keep_alive_interval(HTTP2_KEEP_ALIVE);
        let (router, peer) = (self.router, self.peer);
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let tls = Greeting::within(HEADER_DEADLINE, tls);
        let connection = builder.serve_connection(TokioIo::new(tls), service).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "console connection ended");
        }
    }
}
