//! One instance's port: TLS and plaintext side by side, told apart by the first byte.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use quorate_machine::Id;
use quorate_raft::{ClusterStatus, Handle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caller::Connection;
use crate::certificates;
use crate::clients::Clients;
use crate::context::{Context, MAX_CONCURRENT_SNAPSHOTS, cluster_id, member_id};
use crate::credentials::Credentials;
use crate::gateway::websocket::AfterUpgrade;
use crate::http2::{self, Protocol};
use crate::jwt::JwtKeys;
use crate::lessor::LeaseKeeper;
use crate::members::MemberKeeper;
use crate::metered::Metered;
use crate::metrics::Metrics;
use crate::preface;
use crate::route::{ConnectionService, Routes};
use crate::token::TokenKey;
use crate::watch::WatchHub;

/// Connections of one port; further ones are closed at once.
pub const MAX_CONNECTIONS: usize = 10_000;

/// Connections that the system holds before they are accepted.
const BACKLOG_CONNECTIONS: u32 = 1_024;

/// For the first byte, again for the TLS handshake, and again for the first words of a request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// For requests in flight when the port closes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a port that is not open yet looks for its instance.
const READY_RECHECK: Duration = Duration::from_millis(10);

/// How long one of the reads may take that a port waits for before it opens; it is made again.
const READY_READ_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a port looks whether users or roles have changed: no entry announces it.
const AUTH_RECHECK: Duration = Duration::from_millis(100);

/// Pause after the system refused to accept, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// First byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Why a port could not be served.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The address cannot be bound or listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// Consensus ended before the port could open.
    #[error("consensus stopped before the port opened")]
    Stopped,
    /// The settings leave no way in.
    #[error("the port has neither TLS nor plaintext; configure a certificate or allow plaintext")]
    NoTransport,
}

/// A port that is reserved but does not accept connections yet.
#[derive(Debug)]
pub struct KvPort {
    socket: TcpSocket,
    address: SocketAddr,
    listening: watch::Sender<bool>,
}

impl KvPort {
    /// Reserves an address, so that a conflict shows at start, while clients are still refused and try another node.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub fn reserve(address: SocketAddr) -> Result<KvPort, DoorError> {
        let bind = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            socket.set_reuseaddr(true)?;
            socket.set_nodelay(true)?;
            socket.bind(address)?;
            let address = socket.local_addr()?;
            Ok(KvPort {
                socket,
                address,
                listening: watch::Sender::new(false),
            })
        };
        bind().map_err(|source| DoorError::Listen { address, source })
    }

    /// The reserved address, with the port that the system chose where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Becomes true when the port accepts connections, and stays so: whether it is still served is told by [`serve_kv`].
    pub fn listening(&self) -> watch::Receiver<bool> {
        self.listening.subscribe()
    }

    fn listen(self) -> Result<TcpListener, DoorError> {
        let address = self.address;
        let listener = self.socket.listen(BACKLOG_CONNECTIONS);
        let listener = listener.map_err(|source| DoorError::Listen { address, source })?;
        self.listening.send_replace(true);
        Ok(listener)
    }
}

/// What serves one instance.
pub struct KvDoor {
    /// The instance whose keyspace is served.
    pub instance: Id,
    /// This node's consensus.
    pub handle: Handle,
    /// The process's matcher.
    pub hub: WatchHub,
    /// Usually the process's [`crate::Lessor`].
    pub leases: Arc<dyn LeaseKeeper>,
    /// The process's registry of clients.
    pub clients: Arc<Clients>,
    /// Signs tokens; equal on every node of the cluster.
    pub token_key: TokenKey,
    /// Tokens are JSON Web Tokens by these keys; `None`: of the cluster's own format.
    pub jwt: Option<Arc<JwtKeys>>,
    /// Certificate and client verification; a new value is used for new connections. ALPN is set here.
    pub tls: Option<watch::Receiver<Arc<rustls::ServerConfig>>>,
    /// When the present certificate ends, in seconds since 1970, for the metrics ([`crate::certificate_expiry_seconds`]).
    pub certificate_expiry: Option<watch::Receiver<i64>>,
    /// Whether connections without TLS are served.
    pub allow_plaintext: bool,
    /// Refuses plaintext and TLS without a client certificate.
    pub require_client_certificate: bool,
    /// Who changes the members; `None` where the port may not ("permission denied").
    pub members: Option<Arc<dyn MemberKeeper>>,
    /// Only health, version and metrics are served, no keys.
    pub pages_only: bool,
}

/// Serves a port until `shutdown` ends, then lets requests finish and ends streams.
///
/// Connections are accepted once this node can answer: it has contact with a quorum and holds the instance.
///
/// # Errors
///
/// [`DoorError`] if the port cannot be opened.
pub async fn serve_kv(port: KvPort, door: KvDoor, shutdown: impl Future<Output = ()>) -> Result<(), DoorError> {
    if door.tls.is_none() && (!door.allow_plaintext || door.require_client_certificate) {
        return Err(DoorError::NoTransport);
    }
    tokio::pin!(shutdown);
    let cluster = tokio::select! {
        ready = ready(&door) => ready?,
        () = &mut shutdown => return Ok(()),
    };
    let drain = CancellationToken::new();
    let cluster_id = cluster_id(cluster, door.instance);
    let context = Context {
        member_id: member_id(cluster_id, door.handle.node_id()),
        cluster_id,
        instance: door.instance,
        status: door.handle.status(),
        credentials: Credentials::new(door.token_key.clone()),
        tokens: door.token_key,
        jwt: door.jwt,
        leases: door.leases,
        hub: door.hub,
        clients: door.clients,
        members: door.members,
        metrics: Arc::default(),
        certificate_expiry: door.certificate_expiry,
        auth_revision: follow_auth_revision(door.handle.clone(), door.instance, drain.clone()),
        handle: door.handle,
        snapshots: Arc::new(tokio::sync::Semaphore::new(MAX_CONCURRENT_SNAPSHOTS)),
        drain: drain.clone(),
    };
    let metrics = Arc::clone(&context.metrics);
    tokio::spawn(
        drain
            .clone()
            .run_until_cancelled_owned(count_leader_changes(context.status.clone(), Arc::clone(&metrics))),
    );
    let acceptor = Acceptor {
        routes: Routes::new(Arc::new(context)),
        http1: http1_settings(),
        tls: door.tls.map(|configs| configs_with_alpn(configs, drain.clone())),
        allow_plaintext: door.allow_plaintext && !door.require_client_certificate,
        require_client_certificate: door.require_client_certificate,
        metrics,
        pages_only: door.pages_only,
        drain: drain.clone(),
    };
    let listener = port.listen()?;
    let connections = TaskTracker::new();
    tokio::select! {
        () = accept(listener, Arc::new(acceptor), &connections) => {}
        () = &mut shutdown => {}
    }
    drain.cancel();
    connections.close();
    if timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!(
            "KV connections were still busy {} s after the port closed",
            DRAIN_TIMEOUT.as_secs()
        );
    }
    Ok(())
}

/// The revision of users and roles of the instance, followed until `drain`.
fn follow_auth_revision(handle: Handle, instance: Id, drain: CancellationToken) -> watch::Receiver<u64> {
    let read = move || {
        handle
            .read(|state| state.keyspace(&instance).map(|keyspace| keyspace.auth_revision()))
            .unwrap_or_default()
    };
    let (sender, receiver) = watch::channel(read());
    tokio::spawn(drain.run_until_cancelled_owned(async move {
        let mut interval = tokio::time::interval(AUTH_RECHECK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let revision = read();
            sender.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        }
    }));
    receiver
}

/// Counts the leaders that this node sees one after the other.
async fn count_leader_changes(mut status: watch::Receiver<ClusterStatus>, metrics: Arc<Metrics>) {
    let mut last = None;
    loop {
        let leader = status.borrow_and_update().leader;
        if leader.is_some() && leader != last {
            metrics.leader_changes.fetch_add(1, Ordering::Relaxed);
            last = leader;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Waits until this node can serve the instance; gives the cluster's id. After a restart its state may be behind what it told
/// its clients before, which a serializable read or a watch from now would show: it opens with what is committed by then.
async fn ready(door: &KvDoor) -> Result<Id, DoorError> {
    let mut status = door.handle.status();
    let mut wakeups = door.handle.wakeups();
    loop {
        let serving = status.borrow_and_update().serving;
        wakeups.borrow_and_update();
        let cluster = door.handle.read(|state| {
            state.keyspace(&door.instance)?;
            state.cluster_id()
        });
        if let Some(cluster) = cluster.filter(|_| serving)
            && door.handle.read_index(READY_READ_TIMEOUT).await.is_ok()
        {
            return Ok(cluster);
        }
        // The instance may come with an entry or a snapshot, neither of which has to show in the standing.
        let news = async {
            tokio::select! {
                changed = status.changed() => changed,
                changed = wakeups.changed() => changed,
            }
        };
        if let Ok(changed) = timeout(READY_RECHECK, news).await {
            changed.map_err(|_| DoorError::Stopped)?;
        }
    }
}

/// The configurations with ALPN for HTTP/2 and HTTP/1.1, following changes until `drain`.
fn configs_with_alpn(
    mut configs: watch::Receiver<Arc<rustls::ServerConfig>>,
    drain: CancellationToken,
) -> watch::Receiver<Arc<rustls::ServerConfig>> {
    let with_alpn = |config: &rustls::ServerConfig| {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    };
    let (sender, receiver) = watch::channel(with_alpn(&configs.borrow_and_update()));
    tokio::spawn(drain.run_until_cancelled_owned(async move {
        while configs.changed().await.is_ok() {
            let config = with_alpn(&configs.borrow_and_update());
            sender.send_replace(config);
        }
        // The last configuration stays in use.
        std::future::pending::<()>().await;
    }));
    receiver
}

fn http1_settings() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT);
    http
}

struct Acceptor {
    routes: Routes,
    http1: auto::Builder<TokioExecutor>,
    tls: Option<watch::Receiver<Arc<rustls::ServerConfig>>>,
    allow_plaintext: bool,
    require_client_certificate: bool,
    metrics: Arc<Metrics>,
    pages_only: bool,
    drain: CancellationToken,
}

async fn accept(listener: TcpListener, acceptor: Arc<Acceptor>, connections: &TaskTracker) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a KV connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(client = %peer, "KV connection refused: {MAX_CONNECTIONS} are open");
            continue;
        };
        let acceptor = Arc::clone(&acceptor);
        connections.spawn(async move {
            if let Err(error) = acceptor.serve(stream, peer).await {
                tracing::debug!(client = %peer, "KV connection ended: {error}");
            }
            drop(place);
        });
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

impl Acceptor {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), ConnectionError> {
        stream.set_nodelay(true)?;
        let mut first = [0];
        if timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await?? == 0 {
            return Ok(());
        }
        if first[0] != TLS_HANDSHAKE {
            if !self.allow_plaintext {
                return Err("plaintext is refused on this port; connect with TLS".into());
            }
            return self.serve_http(stream, peer, None).await;
        }
        let Some(configs) = &self.tls else {
            return Err("TLS is not configured on this port".into());
        };
        let config = Arc::clone(&configs.borrow());
        let stream = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await??;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        if self.require_client_certificate && certificate.is_none() {
            return Err("this port needs a client certificate".into());
        }
        let name = certificate
            .filter(|_| self.require_client_certificate)
            .and_then(|der| certificates::common_name(der));
        self.serve_http(stream, peer, name).await
    }

    /// No gRPC, no gateway: who reaches a port for metrics reaches no key.
    async fn serve_pages(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(), ConnectionError> {
        let routes = self.routes.clone();
        let service = hyper::service::service_fn(move |request| routes.clone().page(request));
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        match self.drain.run_until_cancelled(served).await {
            Some(served) => Ok(served?),
            None => Ok(()),
        }
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        common_name: Option<Arc<str>>,
    ) -> Result<(), ConnectionError> {
        if self.pages_only {
            return self.serve_pages(stream).await;
        }
        let connection = Connection {
            source: Arc::from(peer.to_string()),
            common_name,
        };
        let mut stream = Metered::new(stream, Arc::clone(&self.metrics));
        let words = timeout(HANDSHAKE_TIMEOUT, preface::read(&mut stream)).await??;
        if words.is_http2() {
            let protocol = Protocol::new(self.routes.clone(), connection, Instant::now());
            return Ok(http2::serve(stream, protocol, &self.drain).await?);
        }
        let after_upgrade = AfterUpgrade::default();
        let service = ConnectionService::new(self.routes.clone(), connection, after_upgrade.clone());
        let stream = TokioIo::new(words.before(stream));
        {
            let connection = self.http1.serve_connection_with_upgrades(stream, service);
            tokio::pin!(connection);
            tokio::select! {
                result = connection.as_mut() => result?,
                () = self.drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await?;
                }
            }
        }
        if let Some(session) = after_upgrade.take() {
            session.await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reserved_port_does_not_listen_yet() {
        let port = KvPort::reserve("127.0.0.1:0".parse().expect("an address")).expect("reserved");
        let (address, listening) = (port.address(), port.listening());
        assert!(!*listening.borrow());
        assert!(TcpStream::connect(address).await.is_err());
        let _listener = port.listen().expect("it listens");
        assert!(*listening.borrow());
        assert!(TcpStream::connect(address).await.is_ok());
    }
}
