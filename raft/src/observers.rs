//! Who follows what is applied on this node: waiting reads, watch streams and reconcilers.

use std::sync::Arc;

use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use quorate_kv::RevisionEvents;
use quorate_machine::Id;
use tokio::sync::{broadcast, watch};

use crate::handle::AppliedRevision;
use crate::machine_store::ApplyObserver;
use crate::published::Published;

/// Revisions that a follower may lag before it has to read the history. They share the stored bytes.
const REVISIONS_CAPACITY: usize = 8192;

/// Publishes what is applied.
pub(crate) struct Observers<RT: AsyncRuntime> {
    applied: Published<RT, u64>,
    revisions: broadcast::Sender<AppliedRevision>,
    wakeups: watch::Sender<u64>,
}

impl<RT: AsyncRuntime> Observers<RT> {
    pub fn new() -> Self {
        Self {
            applied: Published::new(0),
            revisions: broadcast::channel(REVISIONS_CAPACITY).0,
            wakeups: watch::channel(0).0,
        }
    }

    /// Every revision applied from now on.
    pub fn revisions(&self) -> broadcast::Receiver<AppliedRevision> {
        self.revisions.subscribe()
    }

    /// Index of the last entry that gave reconcilers a reason to look.
    pub fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeups.subscribe()
    }

    /// Index of the last applied entry.
    pub fn applied_index(&self) -> u64 {
        self.applied.get()
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
    fn revisions(&self, revisions: Vec<(Id, Arc<RevisionEvents>)>) {
        for (instance, events) in revisions {
            // Nobody listens: then nobody needs it.
            let _ = self.revisions.send(AppliedRevision { instance, events });
        }
    }

    fn applied(&self, index: u64, wake: bool) {
        self.applied.publish_if(index, |present, new| new > present);
        if wake {
            self.wakeups.send_replace(index);
        }
    }

    fn replaced(&self, index: u64) {
        self.applied(index, true);
    }
}
