//! Hashes of the whole state at log indexes that every node hashes: nodes that differ have diverged.
//!
//! `apply` hands a clone of the state over at exactly these indexes, which is cheap; the hash, which reads every key, is
//! made elsewhere. At most one state waits for it. Nodes that cannot keep up leave indexes out, and must leave out the same
//! ones, or nothing could be compared: of two waiting states the one at the rounder index stays, of equally round ones the
//! newer. The larger the state, the fewer of these indexes are taken, so that hashing costs a small, constant share of one
//! core. Reporting hashes, comparing them and fencing are not done here.

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

/// Cluster time between two hashes, for every full MiB of stored keys and values: a core hashes a MiB in about 4 ms.
const PAUSE_MS_PER_MIB: u64 = 1_000;

/// Chooses the indexes at which states are hashed, alike on every node: from the index, cluster time and the state's size,
/// which are the same everywhere. A node that has just started may take one more than the others.
#[derive(Default)]
pub(crate) struct Cadence {
    /// Cluster time and slot length at the last index that could have been chosen.
    candidate: Option<(u64, u64)>,
}

impl Cadence {
    /// True if the state after the entry at `index` is to be hashed; asked once for every index, in order.
    pub fn is_due(&mut self, index: u64, state: &State) -> bool {
        index > 0
            && index.is_multiple_of(STATE_HASH_EVERY_ENTRIES)
            && self.begins_slot(state.last_time_ms(), pause_ms(state.stored_bytes()))
    }

    /// True if `now_ms` is in another slot of `pause_ms` than the candidate before it, or the slots have just changed: a young state
    /// that grows as fast as they do would never come to the end of one.
    fn begins_slot(&mut self, now_ms: u64, pause_ms: u64) -> bool {
        let before = self.candidate.replace((now_ms, pause_ms));
        let same = |(before_ms, of_ms): (u64, u64)| of_ms == pause_ms && before_ms / pause_ms == now_ms / pause_ms;
        pause_ms == 0 || !before.is_some_and(same)
    }
}

/// A power of two, so that a growing state changes the slots seldom; 0 for a state that is hashed in no time.
fn pause_ms(stored_bytes: u64) -> u64 {
    match stored_bytes >> 20 {
        0 => 0,
        mib => (mib * PAUSE_MS_PER_MIB).next_power_of_two(),
    }
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
            self.store.run_behind(Box::new(move || work.run()));
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
    fn every_1024th_entry_is_due_while_the_state_is_small() {
        let (mut cadence, state) = (Cadence::default(), State::new());
        let due: Vec<u64> = (0..=4 * STATE_HASH_EVERY_ENTRIES)
            .filter(|index| cadence.is_due(*index, &state))
            .collect();
        assert_eq!(due, [1, 2, 3, 4].map(|number| number * STATE_HASH_EVERY_ENTRIES));
    }

    #[test]
    fn a_large_state_is_due_once_in_a_slot_that_grows_with_it() {
        assert_eq!(pause_ms((1 << 20) - 1), 0);
        assert_eq!(pause_ms(1 << 20), 1_024);
        assert_eq!(pause_ms(100 << 20), 131_072);
        let mut cadence = Cadence::default();
        let due = [1_000, 1_010, 1_020, 1_030, 2_050, 2_060].map(|now_ms| cadence.begins_slot(now_ms, 1_024));
        assert_eq!(due, [true, false, false, true, true, false]);
        // A state that grows is hashed with every doubling.
        let due = [(3_000, 4_096), (3_010, 4_096), (3_020, 8_192), (3_030, 8_192)]
            .map(|(now_ms, pause)| cadence.begins_slot(now_ms, pause));
        assert_eq!(due, [true, false, true, false]);
        // Who starts later goes on alike after its first one.
        let mut later = Cadence::default();
        let due = [1_020, 1_030, 2_050, 2_060].map(|now_ms| later.begins_slot(now_ms, 1_024));
        assert_eq!(due, [true, true, true, false]);
    }
}
