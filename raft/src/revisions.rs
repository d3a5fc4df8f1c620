//! The ring of applied revisions between `apply` and those who follow them.
//!
//! `apply` never waits for a follower. The ring is bounded by the bytes that its revisions hold, which they share with the
//! store; a follower that falls behind it is told how much it missed and reads the history instead.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::handle::AppliedRevision;

/// Bytes of events in the ring; the newest revision stays whatever its size.
pub const MAX_PUBLISHED_BYTES: usize = 16 << 20;
/// Accounted for a revision and for each of its events beside keys and values.
const OVERHEAD_BYTES: usize = 128;

#[derive(Default)]
struct Ring {
    /// Number of the first revision in the ring; numbers count what was published, gaps included.
    first: u64,
    revisions: VecDeque<(AppliedRevision, usize)>,
    bytes: usize,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.revisions.len() as u64
    }

    fn push(&mut self, revision: AppliedRevision) {
        let bytes = cost_bytes(&revision);
        self.bytes += bytes;
        self.revisions.push_back((revision, bytes));
        while self.bytes > MAX_PUBLISHED_BYTES && self.revisions.len() > 1 {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((_, bytes)) = self.revisions.pop_front() {
            self.bytes -= bytes;
            self.first += 1;
        }
    }
}

fn cost_bytes(revision: &AppliedRevision) -> usize {
    OVERHEAD_BYTES
        + revision
            .events
            .iter()
            .map(|event| event.kv.key.len() + event.kv.value.len() + OVERHEAD_BYTES)
            .sum::<usize>()
}

/// Where `apply` publishes.
pub(crate) struct RevisionRing {
    ring: Arc<Mutex<Ring>>,
    /// Number of the next revision.
    end: watch::Sender<u64>,
}

impl RevisionRing {
    pub fn new() -> Self {
        Self {
            ring: Arc::default(),
            end: watch::Sender::new(0),
        }
    }

    /// Every revision published from now on.
    pub fn follow(&self) -> Revisions {
        let end = self.end.subscribe();
        let next = lock(&self.ring).end();
        Revisions {
            ring: self.ring.clone(),
            next,
            end,
        }
    }

    /// Adds revisions and wakes the followers.
    pub fn publish(&self, revisions: impl IntoIterator<Item = AppliedRevision>) {
        let end = {
            let mut ring = lock(&self.ring);
            revisions.into_iter().for_each(|revision| ring.push(revision));
            ring.end()
        };
        self.end.send_replace(end);
    }

    /// Revisions were applied that nobody can tell one by one: every follower has missed something.
    pub fn skip(&self) {
        let end = {
            let mut ring = lock(&self.ring);
            ring.first = ring.end() + 1;
            ring.revisions.clear();
            ring.bytes = 0;
            ring.end()
        };
        self.end.send_replace(end);
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A follower of applied revisions.
pub struct Revisions {
    ring: Arc<Mutex<Ring>>,
    next: u64,
    end: watch::Receiver<u64>,
}

impl Revisions {
    /// The next revision, in order.
    ///
    /// # Errors
    ///
    /// [`RecvError::Lagged`] once for every stretch that was missed, with its length (at least that: a snapshot that was
    /// installed counts as one); [`RecvError::Closed`] when consensus has ended on this node.
    pub async fn recv(&mut self) -> Result<AppliedRevision, RecvError> {
        loop {
            self.end.borrow_and_update();
            {
                let ring = lock(&self.ring);
                if self.next < ring.first {
                    let missed = ring.first - self.next;
                    self.next = ring.first;
                    return Err(RecvError::Lagged(missed));
                }
                if let Some((revision, _)) = ring.revisions.get((self.next - ring.first) as usize) {
                    self.next += 1;
                    return Ok(revision.clone());
                }
            }
            self.end.changed().await.map_err(|_| RecvError::Closed)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use quorate_kv::{Event, EventKind, KeyValue, RevisionEvents};
    use quorate_machine::Id;

    use super::*;

    fn revision(number: i64, value_bytes: usize) -> AppliedRevision {
        let kv = KeyValue {
            key: "key".into(),
            value: vec![0; value_bytes].into(),
            mod_revision: number,
            ..KeyValue::default()
        };
        let events = vec![Event {
            kind: EventKind::Put,
            kv,
        }];
        AppliedRevision {
            instance: Id::from_u128(1),
            events: RevisionEvents::new(events),
        }
    }

    fn received(follower: &mut Revisions) -> Option<Result<i64, RecvError>> {
        let received = follower.recv().now_or_never()?;
        Some(received.map(|applied| applied.events.revision()))
    }

    #[test]
    fn followers_get_every_revision_in_order_from_where_they_began() {
        let ring = RevisionRing::new();
        ring.publish([revision(1, 1)]);
        let mut follower = ring.follow();
        assert_eq!(received(&mut follower), None);
        ring.publish([revision(2, 1), revision(3, 1)]);
        assert_eq!(received(&mut follower), Some(Ok(2)));
        assert_eq!(received(&mut follower), Some(Ok(3)));
        assert_eq!(received(&mut follower), None);
        drop(ring);
        assert_eq!(received(&mut follower), Some(Err(RecvError::Closed)));
    }

    #[test]
    fn the_ring_is_bounded_by_bytes_not_by_revisions() {
        const MIB: usize = 1 << 20;
        let ring = RevisionRing::new();
        let mut small = ring.follow();
        ring.publish((1..=20_000).map(|number| revision(number, 10)));
        assert_eq!(received(&mut small), Some(Ok(1)), "20,000 small ones fit");
        let mut large = ring.follow();
        ring.publish((1..=20).map(|number| revision(number, MIB)));
        assert_eq!(received(&mut large), Some(Err(RecvError::Lagged(5))));
        assert_eq!(received(&mut large), Some(Ok(6)));
        assert!(lock(&ring.ring).bytes <= MAX_PUBLISHED_BYTES);
        // One that is larger than the whole ring is still told.
        let mut follower = ring.follow();
        ring.publish([revision(21, 2 * MAX_PUBLISHED_BYTES)]);
        assert_eq!(received(&mut follower), Some(Ok(21)));
    }

    #[test]
    fn a_snapshot_in_between_is_a_gap_for_everybody() {
        let ring = RevisionRing::new();
        let mut follower = ring.follow();
        ring.publish([revision(1, 1)]);
        ring.skip();
        ring.publish([revision(9, 1)]);
        assert_eq!(received(&mut follower), Some(Err(RecvError::Lagged(2))));
        assert_eq!(received(&mut follower), Some(Ok(9)));
    }
}
