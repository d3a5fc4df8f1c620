//! The door of the consensus layer: propose, read, follow, ask the leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;
use quorate_kv::RevisionEvents;
use quorate_machine::{Id, Proposal, Reply};
use tokio::sync::watch;

use crate::measures::ConsensusMetrics;
use crate::node_requests::{AskNodeError, NodeRequestHandler};
use crate::propose::WithoutQuorum;
use crate::revisions::Revisions;
use crate::running::Running;
use crate::state_hashes::StateHash;
use crate::types::Member;

/// Why a call on the [`Handle`] did not end with a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No leader is known, or this node has been without contact to one (as a leader: to a quorum) for longer than 800 ms.
    #[error("no leader: this node has lost contact with a quorum; try another node")]
    NoLeader,
    /// The deadline ran out before an outcome was known.
    #[error("the request timed out")]
    TimedOut,
    /// The outcome is unknown because the leader was lost while the request was in flight.
    #[error("the request timed out, possibly because the previous leader was lost")]
    TimedOutLeaderLost,
    /// The bounded queue of proposals is full.
    #[error("too many requests: the proposal queue is full; retry later")]
    TooManyRequests,
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopped,
    /// The leader refused or could not carry out an opaque request ([`Handle::ask_leader`]).
    #[error("the leader answered: {0}")]
    Remote(String),
}

/// A proposal's outcome: the machine's reply and the log index that it was applied at.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    pub reply: Reply,
    pub log_index: u64,
}

/// How this node stands in the cluster, published on every change of leader, term or members at once, and on any other
/// change within 20 ms.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterStatus {
    pub node_id: u64,
    /// Raft term of this node.
    pub term: u64,
    /// The leader this node follows or is; `None` while there is none.
    pub leader: Option<u64>,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// When this node was last in contact with a leader (as a leader: had the last quorum acknowledgement);
    /// `None` before the first contact. Monotonic, local.
    pub last_contact: Option<Instant>,
    /// False from 800 ms after the last contact until the next one: unary calls answer UNAVAILABLE at once.
    pub serving: bool,
    /// False from 2 s after the last contact until the next one: watch streams are broken.
    pub watchable: bool,
    /// A fatal error stopped consensus on this node (for example an I/O error of the log).
    pub fatal: Option<String>,
    /// Why this node serves nobody although consensus goes on, see [`Handle::fence`].
    pub fenced: Option<String>,
}

/// One applied revision of one instance's keyspace.
#[derive(Debug, Clone)]
pub struct AppliedRevision {
    pub instance: Id,
    pub events: RevisionEvents,
}

/// Answers opaque requests that other nodes send to this one while it leads ([`Handle::ask_leader`]).
pub trait LeaderRequestHandler: Send + Sync + 'static {
    /// Answers one request of `from`; `Err` travels back as [`CallError::Remote`].
    fn handle(&self, from: u64, request: Bytes) -> futures_util::future::BoxFuture<'static, Result<Bytes, String>>;
}

/// Handle on this node's consensus; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    running: Arc<Running>,
}

impl Handle {
    pub(crate) fn new(running: Running) -> Self {
        Self {
            running: Arc::new(running),
        }
    }

    /// This node's Raft id.
    pub fn node_id(&self) -> u64 {
        self.running.core.node_id
    }

    /// Number that distinguishes this run of the node's data directory: rises with every start.
    pub fn incarnation(&self) -> u64 {
        self.running.incarnation
    }

    /// Proposes a command and waits until it is applied on the leader. Forwards to the leader, parks through a leader change and
    /// resends under its de-duplication stamp until `deadline`. A refusal is an `Ok` reply.
    ///
    /// # Errors
    ///
    /// [`CallError::NoLeader`] (not carried out) and [`CallError::TimedOutLeaderLost`] (unknown) as soon as this node has lost
    /// contact with a quorum, so that the caller can turn to another one.
    pub async fn propose(&self, proposal: Proposal, deadline: Duration) -> Result<Committed, CallError> {
        let proposal = proposal.encode_to_vec().into();
        self.running.core.propose(proposal, deadline, WithoutQuorum::Fail).await
    }

    /// As [`Handle::propose`], for callers that would rather wait than not know: what this node has taken in also waits
    /// through a loss of contact with the quorum. A node without contact still refuses at once.
    ///
    /// # Errors
    ///
    /// [`CallError::NoLeader`] at once, or at `deadline` if no leader can have got it; [`CallError::TimedOut`] and
    /// [`CallError::TimedOutLeaderLost`] not before `deadline`.
    pub async fn propose_patiently(&self, proposal: Proposal, deadline: Duration) -> Result<Committed, CallError> {
        let proposal = proposal.encode_to_vec().into();
        self.running.core.propose(proposal, deadline, WithoutQuorum::Wait).await
    }

    /// As [`Handle::propose`], for a [`Proposal`] that is encoded already.
    pub async fn propose_encoded(&self, proposal: Bytes, deadline: Duration) -> Result<Committed, CallError> {
        self.running.core.propose(proposal, deadline, WithoutQuorum::Fail).await
    }

    /// Waits until this node's state holds everything that was committed when the call began (read index).
    pub async fn read_index(&self, deadline: Duration) -> Result<(), CallError> {
        self.running.core.read_index(deadline).await
    }

    /// True if this node's state holds everything whose outcome this node has told a caller of [`Self::propose`]. A follower
    /// answers with the leader's reply and may apply the entry a moment later. Costs two looks at atomics.
    pub fn has_acknowledged(&self) -> bool {
        self.running.core.has_acknowledged()
    }

    /// Waits until [`Self::has_acknowledged`] holds of everything that was told before this call. Needs no leader, and on a
    /// leader never waits.
    ///
    /// # Errors
    ///
    /// [`CallError::NoLeader`] or [`CallError::Stopped`] if this node stopped serving meanwhile, [`CallError::TimedOut`] after
    /// `deadline`.
    pub async fn read_acknowledged(&self, deadline: Duration) -> Result<(), CallError> {
        self.running.core.read_acknowledged(deadline).await
    }

    /// Reads the local state under a short lock; the closure must not block.
    pub fn read<T>(&self, read: impl FnOnce(&quorate_machine::State) -> T) -> T {
        read(&self.running.core.state.read())
    }

    /// Follows this node's standing.
    pub fn status(&self) -> watch::Receiver<ClusterStatus> {
        self.running.status.clone()
    }

    /// True while this node leads and has a fresh quorum acknowledgement.
    pub fn is_leader(&self) -> bool {
        let standing = self.running.core.standings.now();
        standing.leading && standing.serving
    }

    /// Cluster time now, milliseconds: the time of the last applied entry plus the local monotonic clock since.
    pub fn cluster_time_ms(&self) -> u64 {
        self.running.core.clock.now_ms()
    }

    /// Every applied revision from now on, in order; a receiver that lags re-reads the keyspace's history. After a snapshot
    /// was installed (only on a follower that was far behind) the revisions in between are missing: [`Self::wakeups`] fires.
    pub fn revisions(&self) -> Revisions {
        self.running.core.observers.revisions()
    }

    /// Index of the last applied entry whose outcome asks reconcilers to look at the state again.
    pub fn wakeups(&self) -> watch::Receiver<u64> {
        self.running.core.observers.wakeups()
    }

    /// Hash of this node's state at the newest log index that was hashed, a multiple of
    /// [`STATE_HASH_EVERY_ENTRIES`](crate::STATE_HASH_EVERY_ENTRIES); `None` before the first. Made off the path of `apply`:
    /// a node that cannot keep up leaves indexes out.
    pub fn state_hashes(&self) -> watch::Receiver<Option<StateHash>> {
        self.running.core.observers.state_hashes()
    }

    /// Index of the last entry in this node's state. Unlike [`ClusterStatus::applied_index`], which is published at some
    /// distance, it holds every entry whose reply was given.
    pub fn applied_index(&self) -> u64 {
        self.running.core.observers.applied_index()
    }

    /// What consensus measures of itself.
    pub fn metrics(&self) -> ConsensusMetrics {
        self.running.core.metrics(&self.running.log)
    }

    /// How far each other member's log is flushed, as this node knows while it leads; empty otherwise.
    pub fn flushed_indexes(&self) -> BTreeMap<u64, u64> {
        let metrics = self.running.core.raft.metrics();
        let metrics = metrics.borrow_watched();
        let flushed = metrics.replication.iter().flatten();
        flushed
            .map(|(id, matched)| (*id, matched.as_ref().map_or(0, |id| id.index)))
            .collect()
    }

    /// Takes this node out of service for good: leadership is handed over first, then every call fails as without a leader,
    /// watch streams end, and no leadership is taken. The node still votes and stores the log, which is not in doubt. The
    /// fence outlasts a restart, until the data directory is replaced; [`ClusterStatus::fenced`] says why.
    pub async fn fence(&self, reason: String) {
        self.running.fence(reason).await;
    }

    /// From now on this node takes no leadership: it is about to stop. So that of nodes that stop together none hands
    /// leadership to another.
    pub fn prepare_stop(&self) {
        self.running.core.prepare_stop();
    }

    /// Confirms leadership by a quorum round begun after this call, and waits until this node's state holds everything that was
    /// committed before it; error if this node does not lead (lease keep-alives).
    pub async fn confirm_leadership(&self, deadline: Duration) -> Result<(), CallError> {
        self.running.core.confirm_leadership(deadline).await
    }

    /// Sends an opaque request to the leader's [`LeaderRequestHandler`] (locally if this node leads). It is asked again only
    /// while no leader can have got it.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOutLeaderLost`] if the leader that may have got it was lost: whether it was carried out is unknown.
    pub async fn ask_leader(&self, request: Bytes, deadline: Duration) -> Result<Bytes, CallError> {
        self.running.core.ask_leader(request, deadline).await
    }

    /// As [`Handle::ask_leader`], for a request that does no harm when it is carried out more than once: it is asked again when
    /// a leader is lost, takes long or has a successor, without waiting until its connection is found dead.
    pub async fn ask_leader_idempotent(&self, request: Bytes, deadline: Duration) -> Result<Bytes, CallError> {
        self.running.core.ask_leader_idempotent(request, deadline).await
    }

    /// Sets what answers [`Self::ask_leader`] while this node leads.
    pub fn set_leader_request_handler(&self, handler: Arc<dyn LeaderRequestHandler>) {
        self.running.core.set_leader_request_handler(handler);
    }

    /// Sends an opaque request to the [`NodeRequestHandler`] of a node (this one included), whoever leads. It needs no quorum.
    /// At most [`crate::MAX_NODE_REQUEST_BYTES`] there and [`crate::MAX_NODE_ANSWER_BYTES`] back.
    ///
    /// # Errors
    ///
    /// [`AskNodeError`]: no such member, unreachable, silent for `deadline`, or what the node says.
    pub async fn ask_node(&self, node: u64, request: Bytes, deadline: Duration) -> Result<Bytes, AskNodeError> {
        self.running.core.ask_node(node, request, deadline).await
    }

    /// Sets what answers [`Self::ask_node`] on this node.
    pub fn set_node_request_handler(&self, handler: Arc<dyn NodeRequestHandler>) {
        self.running.core.node_asked.set(handler);
    }

    /// Which peers answered within the last `within`; for the prober's own-sickness check. Every peer is asked four times
    /// a second.
    pub fn reachable_peers(&self, within: Duration) -> Vec<u64> {
        self.running.heard.within(within)
    }

    /// Hands leadership to `to`, or to the other voter with the furthest flushed log, and waits for it.
    /// [`CallError::NoLeader`] if this node does not lead; [`CallError::Remote`] if no voter that may lead answers; after [`CallError::TimedOut`] the next election decides who leads.
    pub async fn transfer_leadership(&self, to: Option<u64>, deadline: Duration) -> Result<(), CallError> {
        self.running.core.transfer_leadership(to, deadline).await
    }

    /// Takes a new node in as a learner: it receives the log and does not vote. Only on the leader; a node that is a member
    /// already keeps its role. Waits until the change is committed.
    pub async fn add_learner(&self, id: u64, member: Member, deadline: Duration) -> Result<(), CallError> {
        self.running.core.add_learner(id, member, deadline).await
    }

    /// Makes learners voters. Only on the leader; they should have caught up. Waits until the change is committed.
    pub async fn promote(&self, ids: Vec<u64>, deadline: Duration) -> Result<(), CallError> {
        self.running.core.promote(ids, deadline).await
    }

    /// Gives a member another name, zone or peer address. Only on the leader. Waits until the change is committed.
    pub async fn update_member(&self, id: u64, member: Member, deadline: Duration) -> Result<(), CallError> {
        self.running.core.update_member(id, member, deadline).await
    }

    /// Removes members, voters or learners. Only on the leader, and not the leader itself. Waits until the change is
    /// committed.
    pub async fn remove(&self, ids: Vec<u64>, deadline: Duration) -> Result<(), CallError> {
        self.running.core.remove(ids, deadline).await
    }

    /// Members of the cluster as this node knows them: voters and learners.
    pub fn members(&self) -> BTreeMap<u64, Member> {
        let metrics = self.running.core.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .membership()
            .nodes()
            .map(|(id, member)| (*id, member.clone()))
            .collect()
    }

    /// Has a snapshot made now, beside running writes; it is there some time after this returns.
    pub async fn trigger_snapshot(&self) -> Result<(), CallError> {
        self.running
            .core
            .raft
            .trigger()
            .snapshot()
            .await
            .map_err(|_| CallError::Stopped)
    }

    /// Has the log up to `index` given up now, however much of it would be kept otherwise; at most what the newest snapshot
    /// covers. A follower that lags behind it catches up by snapshot.
    pub async fn purge_log(&self, index: u64) -> Result<(), CallError> {
        let purge = self.running.core.raft.trigger().purge_log(index).await;
        purge.map_err(|_| CallError::Stopped)
    }

    /// Stops: hands leadership over first, flushes, closes the log. Afterwards the data directory can be opened again.
    pub async fn shutdown(&self) {
        self.running.shutdown().await;
    }

    /// Applies a command on this node alone, so that its state differs from the others'.
    #[cfg(feature = "testing")]
    pub fn corrupt(&self, proposal: Proposal) {
        let envelope = quorate_machine::Envelope {
            proposal: proposal.encode_to_vec().into(),
            ..quorate_machine::Envelope::default()
        };
        self.running.core.state.corrupt(&envelope);
    }

    /// Ends this node as if its process had been killed.
    #[cfg(feature = "testing")]
    pub async fn kill(&self) {
        self.running.kill().await;
    }
}
