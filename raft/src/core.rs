//! One node's consensus over any runtime and transport: openraft with this project's parts around it.
//!
//! A real node is a core on tokio with gRPC ([`crate::start()`]); the simulation runs the same core on virtual time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::RaftLogStorage;
use openraft::{AsyncRuntime, Config, SnapshotPolicy};

use crate::clock::{ClusterClock, WallClock};
use crate::fast_election::FastElection;
use crate::growth::LogGrowth;
use crate::handle::{CallError, Committed};
use crate::log::{LogReader, LogStore};
use crate::machine_store::{ApplyObserver, MachineParts, OpenError, SharedState, StateMachine};
use crate::measures::{ConsensusMetrics, Measures};
use crate::network::{Addresses, AskSlot, PeerNetworks, PeerServer, PeerServerParts, Transport};
use crate::node_requests::NodeAskSlot;
use crate::observers::Observers;
use crate::propose::{LeaderDoor, LeaderRounds, Pump, ReadRounds, Session, WithoutQuorum};
use crate::snapshot::SnapshotStore;
use crate::standing::{SERVING_AFTER_CONTACT_MS, Standings};
use crate::state_hashes::StateHashes;
use crate::types::{Raft, TypeConfig};

/// Entries, or commands, after which a snapshot is made.
const SNAPSHOT_EVERY_ENTRIES: u64 = 100_000;
/// Bytes of entries after which a snapshot is made.
const SNAPSHOT_EVERY_BYTES: u64 = 256 << 20;
/// Bytes of entries kept behind a snapshot.
const KEPT_BEHIND_SNAPSHOT_BYTES: u64 = 64 << 20;
/// Entries kept behind a snapshot, for followers that lag a little, or that take in a snapshot while others write on: what was
/// written meanwhile must still be there when they are done, or they begin anew for ever.
const KEPT_BEHIND_SNAPSHOT_ENTRIES: u64 = 100_000;
/// A follower that lags more entries than this gets a snapshot.
const REPLICATION_LAG_ENTRIES: u64 = 50_000;
/// Entries in one message to a follower at most; the log's reader bounds the bytes.
const MAX_PAYLOAD_ENTRIES: u64 = 4_096;
/// Purged in steps of at least this many entries.
const PURGE_BATCH_ENTRIES: u64 = 1_000;

/// Times of elections, in milliseconds. The leader's lease is `election_max_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Between heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// A follower that has not heard a leader for the lease waits between this…
    pub election_min_ms: u64,
    /// …and this before it campaigns.
    pub election_max_ms: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            heartbeat_ms: 50,
            election_min_ms: 200,
            election_max_ms: 300,
        }
    }
}

/// How much log is kept in memory and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A snapshot is made after this many entries, or after this many commands if the log has grown by as much as the last
    /// snapshot was long; four times as many are enough by themselves.
    pub snapshot_every_entries: u64,
    /// … or after this many bytes of entries, whichever comes first.
    pub snapshot_every_bytes: u64,
    /// Entries kept behind a snapshot, at most.
    pub kept_entries: u64,
    /// Bytes of entries kept behind a snapshot, about; what is not yet in a snapshot is always kept.
    pub kept_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            snapshot_every_entries: SNAPSHOT_EVERY_ENTRIES,
            snapshot_every_bytes: SNAPSHOT_EVERY_BYTES,
            kept_entries: KEPT_BEHIND_SNAPSHOT_ENTRIES,
            kept_bytes: KEPT_BEHIND_SNAPSHOT_BYTES,
        }
    }
}

/// openraft's settings.
fn config(cluster_id: &str, timers: Timers, retention: Retention) -> Config {
    Config {
        cluster_name: cluster_id.to_owned(),
        heartbeat_interval: timers.heartbeat_ms,
        election_timeout_min: timers.election_min_ms,
        election_timeout_max: timers.election_max_ms,
        max_payload_entries: MAX_PAYLOAD_ENTRIES,
        replication_lag_threshold: REPLICATION_LAG_ENTRIES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(retention.snapshot_every_entries),
        max_in_snapshot_log_to_keep: retention.kept_entries,
        // Small logs are purged in small steps: of many commands in few entries, too little would ever go.
        purge_batch_size: PURGE_BATCH_ENTRIES.min(retention.kept_entries.max(1)),
        broadcast_submitted_on_append: Some(true),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}

/// Why consensus does not start.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The snapshots do not fit the log.
    #[error(transparent)]
    Snapshot(#[from] OpenError),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(#[from] std::io::Error),
    /// The timers are no valid ones.
    #[error("the timers cannot be used: {0}")]
    Timers(#[from] openraft::ConfigError),
    /// openraft refuses what it found.
    #[error("consensus cannot start from what is on disk: {0}")]
    Raft(String),
}

/// What a core is made of.
pub(crate) struct CoreParts<RT: AsyncRuntime, T> {
    pub node_id: u64,
    pub incarnation: u64,
    pub cluster_id: Arc<str>,
    pub log: LogStore<RT>,
    pub store: Arc<dyn SnapshotStore>,
    pub transport: T,
    pub wall: Arc<dyn WallClock>,
    pub timers: Timers,
    pub retention: Retention,
    pub fast_elections: bool,
}

/// One node's consensus.
pub(crate) struct Core<RT: AsyncRuntime, T> {
    pub node_id: u64,
    pub raft: Raft<RT>,
    pub state: Arc<SharedState>,
    pub clock: Arc<ClusterClock<RT>>,
    pub observers: Arc<Observers<RT>>,
    pub standings: Arc<Standings<RT>>,
    pub elections: Arc<FastElection<RT, T>>,
    pub server: PeerServer<RT, T>,
    pub growth: LogGrowth,
    pub measures: Arc<Measures>,
    pub door: Arc<LeaderDoor<RT>>,
    session: Arc<Session>,
    rounds: Arc<LeaderRounds>,
    reads: Arc<ReadRounds>,
    /// Who answers requests to the leader here.
    pub asked: AskSlot,
    /// Who answers requests of other nodes here.
    pub node_asked: NodeAskSlot,
    transport: T,
    /// Where the clients of openraft find the peers.
    pub addresses: Addresses,
    /// Held by who changes the members.
    pub members_turn: tokio::sync::Mutex<()>,
}

impl<RT: AsyncRuntime, T: Transport> Core<RT, T> {
    /// Opens the state and starts openraft and the tasks around it. The standing has to be run by the caller.
    pub async fn start(mut parts: CoreParts<RT, T>) -> Result<Self, CoreError> {
        let node_id = parts.node_id;
        let config = config(&parts.cluster_id, parts.timers, parts.retention).validate()?;
        let purged = parts.log.get_log_state().await?.last_purged_log_id;
        let clock = Arc::new(ClusterClock::new(0));
        let observers = Arc::new(Observers::new(StateHashes::new(parts.store.clone())));
        let growth = LogGrowth::new(parts.retention.kept_bytes);
        let measures = Arc::new(Measures::default());
        let machine = StateMachine::open(MachineParts {
            store: parts.store.clone(),
            cluster_id: parts.cluster_id.clone(),
            observer: observers.clone(),
            purged,
            clock: clock.clone(),
            growth: growth.clone(),
            measures: measures.clone(),
        })?;
        // What a snapshot holds is not applied again: without this, readers of an idle cluster would wait for an entry.
        observers.applied(machine.applied_index(), false);
        let state = machine.shared();
        let addresses = Addresses::default();
        let networks = PeerNetworks::new(
            node_id,
            addresses.clone(),
            parts.transport.clone(),
            parts.store.clone(),
            parts.log.reader(),
        );
        let raft = Raft::<RT>::new(node_id, Arc::new(config), networks, parts.log, machine).await;
        let raft = raft.map_err(|error| CoreError::Raft(error.to_string()))?;
        let standings = Standings::new(node_id);
        let door = Arc::new(LeaderDoor::new(node_id, raft.clone(), clock.clone(), parts.wall));
        let session = Session::new(node_id, parts.incarnation);
        let rounds = LeaderRounds::start(raft.clone(), standings.clone());
        let reads = ReadRounds::start(standings.clone(), rounds.clone(), parts.transport.clone());
        let elections = FastElection::new(
            node_id,
            raft.clone(),
            parts.transport.clone(),
            standings.clone(),
            parts.fast_elections,
        );
        let asked = AskSlot::default();
        let node_asked = NodeAskSlot::default();
        let server = PeerServer::new(PeerServerParts {
            node_id,
            raft: raft.clone(),
            state: state.clone(),
            store: parts.store,
            cluster_id: parts.cluster_id,
            standings: standings.clone(),
            door: door.clone(),
            rounds: rounds.clone(),
            elections: elections.clone(),
            asked: asked.clone(),
            node_asked: node_asked.clone(),
        });
        let transport = parts.transport;
        let pump = Pump {
            session: session.clone(),
            standings: standings.clone(),
            door: door.clone(),
            transport: transport.clone(),
        };
        let _detached = RT::spawn(standings.clone().essential("the sender of proposals", pump.run()));
        Ok(Self {
            node_id,
            raft,
            state,
            clock,
            observers,
            standings,
            elections,
            server,
            growth,
            measures,
            door,
            session,
            rounds,
            reads,
            asked,
            node_asked,
            transport,
            addresses,
            members_turn: tokio::sync::Mutex::default(),
        })
    }

    /// Proposes an encoded proposal; see [`crate::Handle::propose`] and [`crate::Handle::propose_patiently`].
    pub async fn propose(
        &self,
        proposal: Bytes,
        deadline: Duration,
        without_quorum: WithoutQuorum,
    ) -> Result<Committed, CallError> {
        let outcome = self.propose_uncounted(proposal, deadline, without_quorum).await;
        let counter = match &outcome {
            Ok(_) => &self.measures.proposals_answered,
            Err(_) => &self.measures.proposals_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    async fn propose_uncounted(
        &self,
        proposal: Bytes,
        deadline: Duration,
        without_quorum: WithoutQuorum,
    ) -> Result<Committed, CallError> {
        self.standings.check_serving()?;
        let mut ticket = self.session.enqueue(proposal, without_quorum)?;
        if let Ok(answer) = RT::timeout(deadline, &mut ticket.answer).await {
            return answer.unwrap_or(Err(CallError::Stopped));
        }
        let sent = ticket.withdraw();
        match self.standings.check_serving() {
            Ok(()) => Err(CallError::TimedOut),
            Err(CallError::NoLeader) if sent => Err(CallError::TimedOutLeaderLost),
            Err(error) => Err(error),
        }
    }

    /// See [`crate::Handle::read_index`].
    pub async fn read_index(&self, deadline: Duration) -> Result<(), CallError> {
        self.standings.check_serving()?;
        let reading = async {
            let index = self.reads.read_index().await?;
            self.observers.wait_applied(index).await;
            Ok(())
        };
        RT::timeout(deadline, reading).await.unwrap_or(Err(CallError::TimedOut))
    }

    /// See [`crate::Handle::has_acknowledged`].
    pub fn has_acknowledged(&self) -> bool {
        self.observers.applied_index() >= self.session.acknowledged()
    }

    /// See [`crate::Handle::read_acknowledged`].
    pub async fn read_acknowledged(&self, deadline: Duration) -> Result<(), CallError> {
        let index = self.session.acknowledged();
        let waiting = async {
            let look = Duration::from_millis(SERVING_AFTER_CONTACT_MS);
            while RT::timeout(look, self.observers.wait_applied(index)).await.is_err() {
                self.standings.check_serving()?;
            }
            Ok(())
        };
        RT::timeout(deadline, waiting).await.unwrap_or(Err(CallError::TimedOut))
    }

    /// See [`crate::Handle::confirm_leadership`].
    pub async fn confirm_leadership(&self, deadline: Duration) -> Result<(), CallError> {
        let confirming = async {
            let index = self.rounds.confirm().await?.ok_or(CallError::NoLeader)?;
            // A leader that has just begun may not have applied yet what its predecessor acknowledged.
            self.observers.wait_applied(index).await;
            Ok(())
        };
        RT::timeout(deadline, confirming)
            .await
            .unwrap_or(Err(CallError::TimedOut))
    }

    /// What consensus measures of itself; `log` is what only the log knows.
    pub fn metrics(&self, log: &LogReader<RT>) -> ConsensusMetrics {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let measures = &self.measures;
        ConsensusMetrics {
            leader_changes: self.standings.leader_changes(),
            applied_index: self.observers.applied_index(),
            log_purged_index: self.raft.metrics().borrow_watched().purged.map_or(0, |id| id.index),
            proposals_pending: count(self.session.pending()),
            proposals_answered: measures.proposals_answered.load(Ordering::Relaxed),
            proposals_failed: measures.proposals_failed.load(Ordering::Relaxed),
            log_queue: count(log.stats().queue_depth),
            log_since_snapshot_bytes: self.growth.since_snapshot_bytes(),
            fsync: log.fsyncs(),
            apply: measures.apply.read(),
            snapshot_build: measures.snapshot_build.read(),
            snapshots_failed: measures.snapshots_failed.load(Ordering::Relaxed),
            snapshot_install: measures.snapshot_install.read(),
        }
    }

    /// What carries calls to peers.
    pub(crate) fn transport(&self) -> &T {
        &self.transport
    }
}

/// A core's type over the runtime, for openraft's own types.
pub(crate) type Metrics<RT> = openraft::RaftMetrics<TypeConfig<RT>>;
