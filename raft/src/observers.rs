//! Who follows what is applied on this node: waiting reads, watch streams and reconcilers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use quorate_kv::RevisionEvents;
use quorate_machine::{Id, State};
use tokio::sync::watch;

use crate::handle::AppliedRevision;
use crate::machine_store::ApplyObserver;
use crate::published::Published;
use crate::revisions::{RevisionRing, Revisions};
use crate::state_hashes::StateHashes;

/// Publishes what is applied.
pub(crate) struct Observers<RT: AsyncRuntime> {
    applied: Published<RT, u64>,
    /// The same, to be looked at without a lock.
    applied_index: AtomicU64,
    revisions: RevisionRing,
    hashes: Arc<StateHashes>,
    wakeups: watch::Sender<u64>,
}

impl<RT: AsyncRuntime> Observers<RT> {
    pub fn new(hashes: Arc<StateHashes>) -> Self {
        Self {
            applied: Published::new(0),
            applied_index: AtomicU64::new(0),
            revisions: RevisionRing::new(),
            hashes,
            wakeups: watch::channel(0).0,
        }
    }

    /// Every revision applied from now on.
    pub fn revisions(&self) -> Revisions {
        self.revisions.follow()
    }

    /// Hashes of the state at the indexes that every node hashes.
    pub fn state_hashes(&self) -> watch::Receiver<Option<crate::StateHash>> {
        self.hashes.follow()
    }

    /// Index of the last entry that gave reconcilers a reason to look.
    pub fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeups.subscribe()
    }

    /// Index of the last applied entry.
    pub fn applied_index(&self) -> u64 {
        self.applied_index.load(Ordering::Acquire)
    }

    /// Waits until everything up to `index` is applied.
    pub async fn wait_applied(&self, index: u64) {
        let mut applied = self.applied.follow();
        while *applied.borrow_and_update() < index {
            // The sender is this very object, so it is not gone.
            let _ = applied.changed().await;
        }
    }
}

impl<RT: AsyncRuntime> ApplyObserver for Observers<RT> {
    fn revisions(&self, revisions: Vec<(Id, RevisionEvents)>) {
        let applied = revisions.into_iter();
        self.revisions
            .publish(applied.map(|(instance, events)| AppliedRevision { instance, events }));
    }

    fn applied(&self, index: u64, wake: bool) {
        self.applied_index.fetch_max(index, Ordering::AcqRel);
        self.applied.publish_if(index, |present, new| new > present);
        if wake {
            self.wakeups.send_replace(index);
        }
    }

    fn state_due(&self, index: u64, state: State) {
        self.hashes.take(index, state);
    }

    fn replaced(&self, index: u64) {
        self.revisions.skip();
        self.applied(index, true);
    }
}
