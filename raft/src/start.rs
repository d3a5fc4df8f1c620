//! Starts a node's consensus: data directory, log, snapshots, peer port, and Raft on threads of its own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use openraft::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{InitializeError, RaftError};
use openraft_rt_tokio::TokioRuntime;
use prost::Message;
use quorate_machine::Id;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::service::Routes;

use crate::clock::SystemWallClock;
use crate::core::{Core, CoreError, CoreParts, Metrics, Retention, Timers};
use crate::growth::bound_log;
use crate::handle::{ClusterStatus, Handle};
use crate::log::{DataDir, DataDirError, FatalHook, LogError, LogReader, LogStore};
use crate::network::wire::{Call, CallKind, Nothing};
use crate::network::{
    GrpcTransport, Heard, LOSSES_CAPACITY, Peer, PeerDialer, PeerTls, Purpose, Transport, serve_peers,
};
use crate::running::Running;
use crate::snapshot::DirectoryStore;
use crate::standing::{Standing, Standings};
use crate::types::Member;
use crate::watchdog::watch_stalls;

/// How often every peer is asked whether it is there.
const PING_INTERVAL_MS: u64 = 250;
/// Threads that run Raft and the peer port. One: a proposal passes half a dozen tasks here, and with a second thread every
/// hand-over between them may be a wake-up (decision 030). The log's writer has a thread of its own.
const DEFAULT_THREADS: usize = 1;

/// How a node with an empty data directory begins. A directory that is not empty goes on where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// It must not be empty: a node that lost its data never votes again under the same id.
    Continue,
    /// It waits for a cluster to take it in (bootstrap of the other nodes, or a join as learner).
    Join,
    /// It begins a new cluster with these members, itself among them.
    Initialise(BTreeMap<u64, Member>),
}

/// What [`start`] needs.
pub struct RaftOptions {
    /// Raft id of this node; never reused within a cluster.
    pub node_id: u64,
    /// The cluster; a data directory of another one is refused.
    pub cluster_id: Id,
    /// Data directory; see [`DataDir`].
    pub data_dir: PathBuf,
    /// What to do if it is empty.
    pub beginning: Beginning,
    /// The peer port, bound.
    pub listener: TcpListener,
    /// Certificates between peers.
    pub tls: PeerTls,
    /// Makes connections to peers.
    pub dialer: Arc<dyn PeerDialer>,
    /// Heartbeats and elections.
    pub timers: Timers,
    /// Snapshots and the log behind them.
    pub retention: Retention,
    /// Elections that do not wait for the lease of a leader whose process is gone.
    pub fast_elections: bool,
    /// Routes of the peer port that need no certificate (join).
    pub anonymous_routes: Option<Routes>,
    /// Threads that run Raft and the peer port.
    pub threads: usize,
    /// Called once when the log cannot be written any more; the process should end.
    pub on_fatal: FatalHook,
}

impl RaftOptions {
    /// Options with the defaults of this project for everything that has one. An I/O error of the log is logged, and
    /// the node's status then says `fatal`.
    pub fn new(
        node_id: u64,
        cluster_id: Id,
        data_dir: PathBuf,
        listener: TcpListener,
        tls: PeerTls,
        dialer: Arc<dyn PeerDialer>,
    ) -> Self {
        Self {
            node_id,
            cluster_id,
            data_dir,
            beginning: Beginning::Continue,
            listener,
            tls,
            dialer,
            timers: Timers::default(),
            retention: Retention::default(),
            fast_elections: true,
            anonymous_routes: None,
            threads: DEFAULT_THREADS,
            on_fatal: Box::new(|error| tracing::error!("the log cannot be written, this node stops: {error}")),
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The directory is empty and must not be.
    #[error(
        "the data directory {0} is empty: a node that lost its data must join the cluster again under a new id \
         (quorate join); to begin a new cluster use quorate bootstrap"
    )]
    Empty(PathBuf),
    /// The directory is another node's.
    #[error("the data directory {path} belongs to node {node_id} of cluster {cluster_id}, not to this node")]
    Foreign {
        path: PathBuf,
        node_id: u64,
        cluster_id: Id,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Consensus does not start.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    /// The cluster cannot be initialised.
    #[error("cannot initialise the cluster: {0}")]
    Initialise(String),
    /// A panic while starting.
    #[error("starting consensus panicked")]
    Panicked,
}

pub(crate) type NodeCore = Core<TokioRuntime, GrpcTransport>;

/// Starts a node's consensus on threads of its own. It serves once it has heard of a leader: see [`Handle::status`].
///
/// # Errors
///
/// [`StartError`] says what to do.
pub async fn start(options: RaftOptions) -> Result<Handle, StartError> {
    let io = |what| move |source| StartError::Io { what, source };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(options.threads.max(1))
        .thread_name("raft")
        .enable_all();
    let runtime = builder.build().map_err(io("start the threads of Raft"))?;
    let spawned = runtime.spawn(assemble(options));
    match spawned.await {
        Ok(Ok(assembled)) => Ok(Handle::new(Running::new(assembled, runtime))),
        Ok(Err(error)) => {
            runtime.shutdown_background();
            Err(error)
        }
        Err(_) => {
            runtime.shutdown_background();
            Err(StartError::Panicked)
        }
    }
}

/// A started node, still without its runtime.
pub(crate) struct Assembled {
    pub core: Arc<NodeCore>,
    pub data_dir: DataDir,
    pub incarnation: u64,
    pub status: watch::Receiver<ClusterStatus>,
    pub heard: Heard,
    pub log: LogReader<TokioRuntime>,
    /// Ends when the log's writer has closed its files.
    pub log_closed: oneshot::Receiver<()>,
}

fn open_data_dir(options: &RaftOptions) -> Result<(DataDir, u64), StartError> {
    let mut data_dir = DataDir::open(&options.data_dir)?;
    if data_dir.identity().is_none() {
        if options.beginning == Beginning::Continue {
            return Err(StartError::Empty(options.data_dir.clone()));
        }
        data_dir.initialise(options.cluster_id, options.node_id)?;
    }
    let identity = data_dir
        .identity()
        .ok_or_else(|| StartError::Empty(options.data_dir.clone()))?;
    if identity.node_id != options.node_id || identity.cluster_id != options.cluster_id {
        return Err(StartError::Foreign {
            path: options.data_dir.clone(),
            node_id: identity.node_id,
            cluster_id: identity.cluster_id,
        });
    }
    let incarnation = identity.incarnation;
    Ok((data_dir, incarnation))
}

async fn assemble(options: RaftOptions) -> Result<Assembled, StartError> {
    let io = |what| move |source| StartError::Io { what, source };
    let (data_dir, incarnation) = open_data_dir(&options)?;
    let (writer_lives, log_closed) = oneshot::channel::<()>();
    let on_fatal = options.on_fatal;
    let fatal: FatalHook = Box::new(move |error| {
        // Dropped with the writer, which is how its end is noticed.
        let _writer_lives = writer_lives;
        on_fatal(error);
    });
    let log = LogStore::<TokioRuntime>::open(&data_dir.log(), &data_dir.watermark(), fatal)?;
    let log_reader = log.reader();
    let store = DirectoryStore::open(&data_dir.snapshots()).map_err(io("open the snapshot directory"))?;
    let (losses, lost) = mpsc::channel(LOSSES_CAPACITY);
    let heard = Heard::default();
    let transport = GrpcTransport::new(options.tls.clone(), options.dialer, heard.clone(), losses);
    let core = Core::start(CoreParts {
        node_id: options.node_id,
        incarnation,
        cluster_id: options.cluster_id.to_string().into(),
        log,
        store: Arc::new(store),
        transport: transport.clone(),
        wall: Arc::new(SystemWallClock),
        timers: options.timers,
        retention: options.retention,
        fast_elections: options.fast_elections,
    });
    let core = Arc::new(core.await?);
    // Before peers can reach this node: members that begin together vote for each other as soon as they can.
    if let Beginning::Initialise(members) = options.beginning {
        initialise(&core, members).await?;
    }
    let listener = options.listener;
    listener.set_nonblocking(true).map_err(io("use the peer port"))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(io("use the peer port"))?;
    let handler = Arc::new(core.server.clone());
    let serving = serve_peers(listener, options.tls, handler, options.anonymous_routes, heard.clone());
    let essential = |what, task: BoxFuture<'static, ()>| tokio::spawn(core.standings.clone().essential(what, task));
    essential("the peer port", Box::pin(serving));
    let status = publish_status(&core);
    essential(
        "the watch over connections",
        Box::pin(watch_connections(core.clone(), lost)),
    );
    essential("the question who is there", Box::pin(ping(core.clone(), transport)));
    if let Some(reason) = read_fence(&data_dir)? {
        tracing::error!("this node is fenced: {reason}");
        core.fence_now(reason);
    }
    let stalls = watch_stalls(core.clone(), log_reader.clone());
    essential("the watch over disk and apply", Box::pin(stalls));
    essential(
        "the bound of the log",
        Box::pin(bound_log(core.clone(), options.retention)),
    );
    Ok(Assembled {
        core,
        data_dir,
        incarnation,
        status,
        heard,
        log: log_reader,
        log_closed,
    })
}

/// Where a fence is noted.
pub(crate) fn fence_file(data_dir: &DataDir) -> PathBuf {
    data_dir.root().join("fenced")
}

fn read_fence(data_dir: &DataDir) -> Result<Option<String>, StartError> {
    match std::fs::read_to_string(fence_file(data_dir)) {
        Ok(reason) => Ok(Some(reason)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StartError::Io {
            what: "read the note of a fence",
            source,
        }),
    }
}

async fn initialise(core: &NodeCore, members: BTreeMap<u64, Member>) -> Result<(), StartError> {
    let refused = |error: &dyn std::fmt::Display| StartError::Initialise(error.to_string());
    if core.raft.is_initialized().await.map_err(|error| refused(&error))? {
        return Ok(());
    }
    match core.raft.initialize(members).await {
        // It voted in an earlier run and had no log yet: it gets the members from whom it voted for.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(refused(&error)),
    }
}

/// Looks whether a leader is gone whenever a connection ends.
async fn watch_connections(core: Arc<NodeCore>, mut lost: mpsc::Receiver<u64>) {
    while let Some(peer) = lost.recv().await {
        core.elections.connection_lost(peer).await;
    }
}

/// Asks every other member regularly whether it is there; the transport notes who answers.
async fn ping(core: Arc<NodeCore>, transport: GrpcTransport) {
    let frame = Bytes::from(
        Call {
            kind: Some(CallKind::Ping(Nothing {})),
        }
        .encode_to_vec(),
    );
    let interval = Duration::from_millis(PING_INTERVAL_MS);
    loop {
        let peers: Vec<Peer> = {
            let metrics = core.raft.metrics();
            let metrics = metrics.borrow_watched();
            let nodes = metrics.membership_config.membership().nodes();
            let others = nodes.filter(|(id, _)| **id != core.node_id);
            others
                .map(|(id, node)| Peer {
                    id: *id,
                    address: node.peer.clone(),
                })
                .collect()
        };
        let calls = peers.into_iter().map(|peer| {
            let (transport, frame) = (transport.clone(), frame.clone());
            async move { tokio::time::timeout(interval, transport.call(&peer, Purpose::Control, frame)).await }
        });
        // Who does not answer is simply not heard.
        let _ = futures_util::future::join_all(calls).await;
        tokio::time::sleep(interval).await;
    }
}

fn publish_status(core: &Arc<NodeCore>) -> watch::Receiver<ClusterStatus> {
    let initial = status_of(
        core.node_id,
        &core.raft.metrics().borrow_watched(),
        &core.standings.now(),
        &core.standings,
    );
    let (sender, receiver) = watch::channel(initial);
    let (node_id, standings) = (core.node_id, core.standings.clone());
    let publish = move |metrics: &Metrics<TokioRuntime>, standing: &Standing| {
        let status = status_of(node_id, metrics, standing, &standings);
        sender.send_if_modified(|published| {
            // The contact time alone wakes nobody: it changes with every heartbeat.
            let differs = ClusterStatus {
                last_contact: published.last_contact,
                ..status.clone()
            } != *published;
            *published = status;
            differs
        });
    };
    tokio::spawn(core.standings.clone().run(core.raft.clone(), publish));
    receiver
}

fn status_of(
    node_id: u64,
    metrics: &Metrics<TokioRuntime>,
    standing: &Standing,
    standings: &Standings<TokioRuntime>,
) -> ClusterStatus {
    let index = |log_id: &Option<crate::codec::LogId>| log_id.as_ref().map_or(0, |id| id.index);
    let membership = metrics.membership_config.membership();
    ClusterStatus {
        node_id,
        term: metrics.current_term,
        leader: metrics.current_leader,
        last_log_index: metrics.last_log_index.unwrap_or(0),
        committed_index: index(&metrics.local_committed),
        applied_index: index(&metrics.last_applied),
        snapshot_index: index(&metrics.snapshot),
        voters: membership.voter_ids().collect(),
        learners: membership.learner_ids().collect(),
        last_contact: standings
            .last_contact()
            .and_then(|at| std::time::Instant::now().checked_sub(at.elapsed())),
        serving: standing.serving,
        watchable: standing.watchable,
        fatal: standing.fatal.clone(),
        fenced: standing.fenced.clone(),
    }
}
