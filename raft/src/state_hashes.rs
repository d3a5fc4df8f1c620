//! Hashes of the whole state at log indexes that every node hashes: nodes that differ have diverged.
//!
//! `apply` hands a clone of the state over at exactly these indexes, which is cheap; the hash, which reads every key, is
//! made elsewhere. At most one state waits for it. Nodes that cannot keep up leave indexes out, and must leave out the same
//! ones, or nothing could be compared: of two waiting states the one at the rounder index stays, of equally round ones the
//! newer. Reporting hashes, comparing them and fencing are not done here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_machine::State;
use tokio::sync::watch;

use crate::snapshot::SnapshotStore;

/// Log entries between two hashes.
pub const STATE_HASH_EVERY_ENTRIES: u64 = 1_024;

/// SHA-256 over the state of this node after the entry at `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateHash {
    /// Log index; a multiple of [`STATE_HASH_EVERY_ENTRIES`].
    pub index: u64,
    pub hash: [u8; 32],
}

/// True if the state after this entry is to be hashed.
pub(crate) fn is_due(index: u64) -> bool {
    index > 0 && index.is_multiple_of(STATE_HASH_EVERY_ENTRIES)
}

/// Makes hashes off the path of `apply`.
pub(crate) struct StateHashes {
    store: Arc<dyn SnapshotStore>,
    queue: Mutex<Queue>,
    published: watch::Sender<Option<StateHash>>,
}

#[derive(Default)]
struct Queue {
    waiting: Option<(u64, State)>,
    /// Somebody takes what waits.
    working: bool,
}

impl StateHashes {
    /// `store` runs blocking work.
    pub fn new(store: Arc<dyn SnapshotStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            queue: Mutex::default(),
            published: watch::Sender::new(None),
        })
    }

    /// The newest hash; `None` before the first.
    pub fn follow(&self) -> watch::Receiver<Option<StateHash>> {
        self.published.subscribe()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the state after the entry at `index`. Does not block.
    pub fn take(self: &Arc<Self>, index: u64, state: State) {
        let mut state = Some((index, state));
        let begin = {
            let mut queue = self.queue();
            let kept = queue
                .waiting
                .as_ref()
                .is_some_and(|(kept, _)| roundness(*kept) > roundness(index));
            if !kept {
                // What it replaces is dropped after the lock.
                std::mem::swap(&mut queue.waiting, &mut state);
            }
            !std::mem::replace(&mut queue.working, true)
        };
        drop(state);
        if begin {
            let work = Work {
                hashes: self.clone(),
                ended: false,
            };
            self.store.run(Box::new(move || work.run()));
        }
    }
}

fn roundness(index: u64) -> u32 {
    (index / STATE_HASH_EVERY_ENTRIES).trailing_zeros()
}

/// Hashes until nothing waits.
struct Work {
    hashes: Arc<StateHashes>,
    ended: bool,
}

impl Work {
    fn run(mut self) {
        loop {
            let next = {
                let mut queue = self.hashes.queue();
                let next = queue.waiting.take();
                if next.is_none() {
                    queue.working = false;
                    self.ended = true;
                }
                next
            };
            let Some((index, state)) = next else { return };
            let hash = state.state_hash();
            self.hashes.published.send_replace(Some(StateHash { index, hash }));
        }
    }
}

impl Drop for Work {
    /// Also when no thread could be started for it: the next state then tries again.
    fn drop(&mut self) {
        if !self.ended {
            self.hashes.queue().working = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::snapshot::{SnapshotBlob, SnapshotSink};

    /// Keeps work until the test does it.
    #[derive(Default)]
    struct Held(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

    impl SnapshotStore for Held {
        fn create(&self) -> io::Result<Box<dyn SnapshotSink>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn list(&self) -> io::Result<Vec<SnapshotBlob>> {
            Ok(Vec::new())
        }

        fn run(&self, work: Box<dyn FnOnce() + Send>) {
            self.0.lock().unwrap().push(work);
        }
    }

    fn newest(hashes: &StateHashes) -> Option<u64> {
        hashes.follow().borrow().map(|hash| hash.index)
    }

    #[test]
    fn a_slow_node_keeps_the_roundest_index_and_starts_no_second_worker() {
        let held = Arc::new(Held::default());
        let hashes = StateHashes::new(held.clone());
        for number in [1, 2, 3, 4, 5, 6, 7] {
            hashes.take(number * STATE_HASH_EVERY_ENTRIES, State::new());
        }
        let mut work = std::mem::take(&mut *held.0.lock().unwrap());
        assert_eq!(work.len(), 1);
        assert_eq!(newest(&hashes), None);
        work.pop().unwrap()();
        assert_eq!(newest(&hashes), Some(4 * STATE_HASH_EVERY_ENTRIES));
        // Nothing waits any more: the next state begins anew.
        hashes.take(8 * STATE_HASH_EVERY_ENTRIES, State::new());
        held.0.lock().unwrap().pop().expect("new work")();
        assert_eq!(newest(&hashes), Some(8 * STATE_HASH_EVERY_ENTRIES));
    }

    #[test]
    fn work_that_was_never_done_is_begun_again() {
        let held = Arc::new(Held::default());
        let hashes = StateHashes::new(held.clone());
        hashes.take(STATE_HASH_EVERY_ENTRIES, State::new());
        held.0.lock().unwrap().clear();
        hashes.take(2 * STATE_HASH_EVERY_ENTRIES, State::new());
        held.0.lock().unwrap().pop().expect("new work")();
        assert_eq!(newest(&hashes), Some(2 * STATE_HASH_EVERY_ENTRIES));
    }

    #[test]
    fn every_1024th_entry_is_due() {
        assert!(is_due(STATE_HASH_EVERY_ENTRIES) && is_due(3 * STATE_HASH_EVERY_ENTRIES));
        assert!(!is_due(0) && !is_due(1) && !is_due(STATE_HASH_EVERY_ENTRIES + 1));
    }
}
