//! openraft's state machine: the pure machine behind a lock, its snapshots, and those who follow what is applied.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use futures_util::{FutureExt, Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{AsyncRuntime, EntryPayload, Instant};
use quorate_kv::RevisionEvents;
use quorate_machine::{Id, Reply, State};

use crate::clock::ClusterClock;
use crate::codec::{Entry, LogId, StoredMembership};
use crate::growth::LogGrowth;
use crate::measures::Measures;
use crate::snapshot::{
    Builder, Snapshot, SnapshotBlob, SnapshotContent, SnapshotError, SnapshotMeta, SnapshotStore, read_snapshot, run,
    verify_snapshot,
};
use crate::state_hashes::{self, Cadence};
use crate::types::{Applied, TypeConfig};

/// Commands after which a hold of the lock takes no further entry: with one entry more it is what a reader waits for at most.
const MAX_COMMANDS_PER_HOLD: usize = 128;
/// Accounted for an entry beside its proposal.
const ENTRY_OVERHEAD_BYTES: u64 = 64;
// At most one entry of a hold is followed by a hash of the state.
const _: () = assert!((MAX_COMMANDS_PER_HOLD as u64) < state_hashes::STATE_HASH_EVERY_ENTRIES);

/// Is told of what is applied, after it can be read. Must not block.
pub(crate) trait ApplyObserver: Send + Sync + 'static {
    /// Revisions of keyspaces, in order.
    fn revisions(&self, revisions: Vec<(Id, RevisionEvents)>);
    /// Everything up to `index` can be read; with `wake`, reconcilers should look at the state.
    fn applied(&self, index: u64, wake: bool);
    /// The state as it was after the entry at `index`, one of those after which every node hashes it.
    fn state_due(&self, index: u64, state: State);
    /// The state was replaced by a snapshot's, at `index`.
    fn replaced(&self, index: u64);
}

/// The state as readers share it.
pub(crate) struct SharedState {
    state: RwLock<State>,
}

impl SharedState {
    /// Locks the state for reading.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while the lock was held is a broken invariant of the machine: the node is going down with it.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same if nobody writes now or waits to.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, State>> {
        match self.state.try_read() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Applies a command that is in no log: this node's state is then another than the others'.
    #[cfg(feature = "testing")]
    pub fn corrupt(&self, envelope: &quorate_machine::Envelope) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let index = state.applied_index();
        quorate_machine::apply(&mut state, index, envelope);
    }
}

/// openraft's view of the machine.
pub(crate) struct StateMachine<RT: AsyncRuntime> {
    shared: Arc<SharedState>,
    clock: Arc<ClusterClock<RT>>,
    observer: Arc<dyn ApplyObserver>,
    store: Arc<dyn SnapshotStore>,
    cluster_id: Arc<str>,
    growth: LogGrowth,
    cadence: Cadence,
    measures: Arc<Measures>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    /// Name, length and content of the snapshot that was read and found whole last: a peer that cannot be reached has openraft
    /// ask for it many times a second, and no entry is applied meanwhile.
    whole: Option<(String, u64, SnapshotMeta)>,
}

/// Why the node cannot start from its snapshots.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The snapshot directory cannot be read.
    #[error("cannot read the snapshots: {0}")]
    Io(#[from] io::Error),
    /// The newest usable snapshot does not reach the log.
    #[error(
        "the snapshot {file} cannot be used ({reason}), and no older one reaches the log, which begins after index {purged}; \
         remove the data directory of this node and let it join again"
    )]
    Damaged { file: String, reason: String, purged: u64 },
    /// Everything before the log is gone.
    #[error(
        "no snapshot is left, but the log begins after index {purged}; remove the data directory of this node and let it \
         join again"
    )]
    Missing { purged: u64 },
}

/// What a state machine starts with beside its snapshots.
pub(crate) struct MachineParts<RT: AsyncRuntime> {
    pub store: Arc<dyn SnapshotStore>,
    pub cluster_id: Arc<str>,
    pub observer: Arc<dyn ApplyObserver>,
    /// Everything up to this index is gone from the log.
    pub purged: Option<LogId>,
    pub clock: Arc<ClusterClock<RT>>,
    pub growth: LogGrowth,
    pub measures: Arc<Measures>,
}

impl<RT: AsyncRuntime> StateMachine<RT> {
    /// Loads the newest snapshot that verifies; an unusable newer one is passed over with a loud log where the log reaches
    /// back far enough, and is an error otherwise.
    pub fn open(parts: MachineParts<RT>) -> Result<Self, OpenError> {
        let purged = parts.purged.map(|id| id.index);
        let mut unusable: Option<(String, String)> = None;
        let mut loaded = None;
        for blob in parts.store.list()? {
            match load(&blob, &parts.cluster_id) {
                Ok(found) => {
                    parts.growth.snapshot_is(blob.length);
                    loaded = Some(found);
                    break;
                }
                Err(error) => {
                    tracing::error!(
                        "the snapshot {} cannot be used: {error}; trying an older one",
                        blob.name
                    );
                    unusable.get_or_insert((blob.name, error.to_string()));
                }
            }
        }
        let reached = loaded
            .as_ref()
            .and_then(|(meta, _)| meta.last_log_id)
            .map(|id| id.index);
        if let Some(purged) = purged.filter(|_| reached < purged) {
            return Err(match unusable {
                Some((file, reason)) => OpenError::Damaged { file, reason, purged },
                None => OpenError::Missing { purged },
            });
        }
        let (last_applied, membership, state) = match loaded {
            Some((meta, state)) => (meta.last_log_id, meta.last_membership, state),
            None => (None, StoredMembership::default(), State::new()),
        };
        parts.clock.observe(state.last_time_ms());
        Ok(Self {
            shared: Arc::new(SharedState {
                state: RwLock::new(state),
            }),
            clock: parts.clock,
            observer: parts.observer,
            store: parts.store,
            cluster_id: parts.cluster_id,
            growth: parts.growth,
            cadence: Cadence::default(),
            measures: parts.measures,
            last_applied,
            membership,
            whole: None,
        })
    }

    /// The state for readers.
    pub fn shared(&self) -> Arc<SharedState> {
        self.shared.clone()
    }

    /// Index of the last entry in the state.
    pub fn applied_index(&self) -> u64 {
        self.last_applied.map_or(0, |id| id.index)
    }

    /// Applies entries under one hold of the lock, as many as one may take, then tells observers and waiting proposers.
    fn apply_some(
        &mut self,
        entries: &mut std::vec::IntoIter<EntryResponder<TypeConfig<RT>>>,
    ) -> Result<(), io::Error> {
        let begun = RT::Instant::now();
        let mut hold = Hold::default();
        let last_time_ms = {
            let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
            while hold.commands < MAX_COMMANDS_PER_HOLD
                && let Some((entry, responder)) = entries.next()
            {
                hold.apply(&mut state, entry, responder)?;
                if self.cadence.is_due(hold.last_index(), &state) {
                    hold.due = Some((hold.last_index(), state.clone()));
                }
            }
            state.last_time_ms()
        };
        let Some(last_log_id) = hold.last else { return Ok(()) };
        self.measures.apply.record(begun.elapsed());
        self.growth.applied(last_log_id.index, hold.commands as u64, hold.bytes);
        self.last_applied = Some(last_log_id);
        if let Some(membership) = hold.membership {
            self.membership = membership;
        }
        self.clock.observe(last_time_ms);
        if !hold.revisions.is_empty() {
            self.observer.revisions(hold.revisions);
        }
        self.observer.applied(last_log_id.index, hold.wake);
        for (responder, replies) in hold.replies {
            responder.send(Applied { replies });
        }
        if let Some((index, state)) = hold.due {
            self.observer.state_due(index, state);
        }
        Ok(())
    }
}

/// What was applied under one hold of the lock.
struct Hold<R> {
    /// Commands, and entries without one.
    commands: usize,
    last: Option<LogId>,
    bytes: u64,
    membership: Option<StoredMembership>,
    revisions: Vec<(Id, RevisionEvents)>,
    wake: bool,
    replies: Vec<(R, Vec<Reply>)>,
    due: Option<(u64, State)>,
}

impl<R> Default for Hold<R> {
    fn default() -> Self {
        Self {
            commands: 0,
            last: None,
            bytes: 0,
            membership: None,
            revisions: Vec::new(),
            wake: false,
            replies: Vec::new(),
            due: None,
        }
    }
}

impl<R> Hold<R> {
    fn last_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index)
    }

    /// Applies one entry; `responder` is there if somebody waits for the replies.
    fn apply(&mut self, state: &mut State, entry: Entry, responder: Option<R>) -> Result<(), io::Error> {
        let Entry { log_id, payload } = entry;
        self.last = Some(log_id);
        self.bytes += ENTRY_OVERHEAD_BYTES;
        let before = self.commands;
        let mut replies = Vec::new();
        match payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(changed) => {
                self.membership = Some(StoredMembership::new(Some(log_id), changed));
            }
            EntryPayload::Normal(commands) => {
                self.bytes += commands.proposal_bytes() as u64;
                let waited_for = responder.is_some();
                let applied = quorate_machine::apply_entry(state, log_id.index, &commands, |outcome| {
                    self.commands += 1;
                    self.wake |= outcome.wake.any();
                    self.revisions.extend(outcome.revisions);
                    if waited_for {
                        replies.push(outcome.reply);
                    }
                });
                applied.map_err(io::Error::other)?;
            }
        }
        self.commands = self.commands.max(before + 1);
        if let Some(responder) = responder {
            self.replies.push((responder, replies));
        }
        Ok(())
    }
}

fn load(blob: &SnapshotBlob, cluster_id: &str) -> Result<(SnapshotMeta, State), SnapshotError> {
    read_snapshot(&mut (blob.open)(0)?, cluster_id)
}

impl<RT: AsyncRuntime> RaftStateMachine<TypeConfig<RT>> for StateMachine<RT> {
    type SnapshotData = SnapshotBlob;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig<RT>>, io::Error>> + Unpin + Send,
    {
        while let Some(first) = entries.next().await {
            let mut batch = vec![first?];
            let mut failed = None;
            while batch.len() < MAX_COMMANDS_PER_HOLD {
                match entries.next().now_or_never() {
                    Some(Some(Ok(next))) => batch.push(next),
                    Some(Some(Err(error))) => {
                        failed = Some(error);
                        break;
                    }
                    Some(None) | None => break,
                }
            }
            let mut batch = batch.into_iter();
            while batch.len() > 0 {
                self.apply_some(&mut batch)?;
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta {
            last_log_id: self.last_applied,
            last_membership: self.membership.clone(),
        };
        let state = self.shared.read().clone();
        self.growth.snapshot_begun();
        Builder {
            store: self.store.clone(),
            cluster_id: self.cluster_id.clone(),
            content: Some(SnapshotContent { meta, state }),
            measures: self.measures.clone(),
            growth: self.growth.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotBlob) -> Result<(), io::Error> {
        let begun = RT::Instant::now();
        let cluster_id = self.cluster_id.clone();
        let name = snapshot.name.clone();
        let length = snapshot.length;
        let (found, state) = run(self.store.as_ref(), move || {
            load(&snapshot, &cluster_id).map_err(|error| io::Error::other(format!("snapshot {name}: {error}")))
        })
        .await?;
        if found.last_log_id != meta.last_log_id {
            return Err(io::Error::other(
                "the snapshot is not at the log index it was announced for",
            ));
        }
        let last_time_ms = state.last_time_ms();
        let old = {
            let mut shared = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *shared, state)
        };
        self.store.run(Box::new(move || drop(old)));
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.clock.observe(last_time_ms);
        self.growth.snapshot_begun();
        self.growth.snapshot_is(length);
        self.measures.snapshot_install.record(begun.elapsed());
        self.observer.replaced(self.applied_index());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let store = self.store.clone();
        let cluster_id = self.cluster_id.clone();
        let whole = self.whole.take();
        let current = run(self.store.as_ref(), move || {
            for snapshot in store.list()? {
                if let Some((name, length, meta)) = &whole
                    && (name, *length) == (&snapshot.name, snapshot.length)
                {
                    let meta = meta.clone();
                    return Ok(Some(Snapshot { meta, snapshot }));
                }
                let verified = verify_snapshot(&mut (snapshot.open)(0)?, &cluster_id);
                match verified {
                    Ok(meta) => return Ok(Some(Snapshot { meta, snapshot })),
                    Err(error) => tracing::error!("the snapshot {} cannot be used: {error}", snapshot.name),
                }
            }
            Ok(None)
        })
        .await?;
        self.whole = current.as_ref().map(|current| {
            let Snapshot { meta, snapshot } = current;
            (snapshot.name.clone(), snapshot.length, meta.clone())
        });
        Ok(current)
    }
}
