//! The bounded queue between the hub and one stream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Encoded events that wait for one stream, in bytes; beyond it, watchers go on from history.
pub const MAX_STREAM_BYTES: usize = 1024 * 1024;

/// Events that wait for one stream; beyond it, watchers go on from history.
pub const MAX_STREAM_EVENTS: usize = 1000;

/// Accounted bytes of a queued item beside its events.
const ITEM_OVERHEAD_BYTES: usize = 96;

/// Accounted bytes of an event beside its encoding.
const EVENT_OVERHEAD_BYTES: usize = 32;

/// All events of one revision for one watcher.
#[derive(Debug)]
pub(crate) struct Item {
    /// The stream's number for the watcher; unlike a watch id it is never used again.
    pub(crate) serial: u64,
    pub(crate) revision: i64,
    pub(crate) events: Vec<Bytes>,
}

impl Item {
    pub(crate) fn cost_bytes(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.len() + EVENT_OVERHEAD_BYTES).sum();
        events + ITEM_OVERHEAD_BYTES
    }
}

/// A watcher that was set aside: it goes on from this revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lagging {
    pub(crate) serial: u64,
    pub(crate) next_revision: i64,
}

/// Bytes that wait in all streams together.
#[derive(Default)]
pub(crate) struct Budget {
    queued_bytes: AtomicUsize,
    max_bytes: usize,
}

impl Budget {
    pub(crate) fn new(max_bytes: usize) -> Budget {
        Budget {
            queued_bytes: AtomicUsize::new(0),
            max_bytes,
        }
    }
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Item>,
    lagging: Vec<Lagging>,
    /// What waits here or was taken but not yet released.
    bytes: usize,
    events: usize,
}

/// The queue of one stream. The hub fills it and never waits; the session empties it.
pub(crate) struct StreamQueue {
    inner: Mutex<Inner>,
    budget: Arc<Budget>,
    pub(crate) wake: Notify,
}

impl StreamQueue {
    pub(crate) fn new(budget: Arc<Budget>) -> StreamQueue {
        StreamQueue {
            inner: Mutex::default(),
            budget,
            wake: Notify::new(),
        }
    }

    /// Queues an item, or gives it back if there is no room.
    pub(crate) fn push(&self, item: Item) -> Result<(), Item> {
        let (bytes, events) = (item.cost_bytes(), item.events.len());
        let mut inner = self.lock();
        let queued = self.budget.queued_bytes.load(Ordering::Relaxed);
        let fits = inner.bytes + bytes <= MAX_STREAM_BYTES
            && inner.events + events <= MAX_STREAM_EVENTS
            && queued + bytes <= self.budget.max_bytes;
        if !fits {
            return Err(item);
        }
        inner.bytes += bytes;
        inner.events += events;
        inner.items.push_back(item);
        self.budget.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        drop(inner);
        self.wake.notify_one();
        Ok(())
    }

    /// Tells the session that a watcher was set aside.
    pub(crate) fn set_aside(&self, lagging: Lagging) {
        self.lock().lagging.push(lagging);
        self.wake.notify_one();
    }

    /// Everything that waits. Items must be given to [`StreamQueue::release`] once they are sent.
    pub(crate) fn take(&self) -> (VecDeque<Item>, Vec<Lagging>) {
        let mut inner = self.lock();
        (std::mem::take(&mut inner.items), std::mem::take(&mut inner.lagging))
    }

    pub(crate) fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.items.is_empty() && inner.lagging.is_empty()
    }

    /// Frees the room of an item.
    pub(crate) fn release(&self, item: &Item) {
        let bytes = item.cost_bytes();
        let mut inner = self.lock();
        inner.bytes -= bytes;
        inner.events -= item.events.len();
        self.budget.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that wait or were taken and not released.
    pub(crate) fn held_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamQueue {
    fn drop(&mut self) {
        let held = self.held_bytes();
        self.budget.queued_bytes.fetch_sub(held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(revision: i64, bytes: usize) -> Item {
        Item {
            serial: 1,
            revision,
            events: vec![Bytes::from(vec![0; bytes])],
        }
    }

    #[test]
    fn a_full_queue_gives_items_back_until_room_is_released() {
        let queue = StreamQueue::new(Arc::new(Budget::new(usize::MAX)));
        queue.push(item(2, MAX_STREAM_BYTES / 2)).expect("room");
        let refused = queue.push(item(3, MAX_STREAM_BYTES / 2)).expect_err("no room");
        assert_eq!(refused.revision, 3);
        let (items, _) = queue.take();
        assert!(
            queue.push(item(3, MAX_STREAM_BYTES / 2)).is_err(),
            "taken is not released"
        );
        items.iter().for_each(|item| queue.release(item));
        queue.push(item(3, MAX_STREAM_BYTES / 2)).expect("room again");
    }

    #[test]
    fn the_number_of_events_is_bounded_and_so_are_all_streams_together() {
        let budget = Arc::new(Budget::new(64 * 1024));
        let queue = StreamQueue::new(Arc::clone(&budget));
        let pushed = (0..2000)
            .take_while(|revision| queue.push(item(*revision, 1)).is_ok())
            .count();
        assert!(pushed < MAX_STREAM_EVENTS, "{pushed}");
        assert!(StreamQueue::new(Arc::clone(&budget)).push(item(1, 1000)).is_err());
        drop(queue);
        assert_eq!(budget.queued_bytes.load(Ordering::Relaxed), 0);
    }
}
