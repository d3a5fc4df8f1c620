//! The matcher: every applied revision once, against every synced watcher.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_kv::{Keyspace, RevisionEvents};
use quorate_machine::Id;
use quorate_raft::{AppliedRevision, ClusterStatus, Handle};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::events::Encoder;
use super::index::WatchIndex;
use super::queue::{Budget, Item, Lagging, StreamQueue};
use super::watcher::{KeySpan, Options};

/// Events that wait in all streams of the process together, in bytes; beyond it, watchers go on from history.
pub const MAX_QUEUED_BYTES: usize = 256 * 1024 * 1024;

/// Revisions read from history under one hold of the lock, when the matcher has to catch up itself.
const CATCH_UP_REVISIONS: usize = 1000;

/// How often the matcher looks for revisions that nobody told it of: an installed snapshot brings such.
const RECHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The matcher of a process, for all instances. Cheap to clone.
#[derive(Clone)]
pub struct WatchHub {
    shared: Arc<Shared>,
    /// True once the matcher has ended because consensus has; gone without that if it panicked.
    ended: watch::Receiver<bool>,
}

/// What streams need to know of this node's standing. Unlike the full one it hardly ever changes, and each change wakes
/// every stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) serving: bool,
    pub(crate) watchable: bool,
}

struct Shared {
    handle: Handle,
    standing: watch::Receiver<Standing>,
    spaces: Mutex<HashMap<Id, Space>>,
    budget: Arc<Budget>,
    next_watcher: AtomicU64,
}

/// The watchers of one instance.
struct Space {
    /// Every revision up to this one has been matched.
    position: i64,
    index: WatchIndex,
    synced: HashMap<u64, Synced>,
}

/// A watcher that gets events as they are applied.
pub(crate) struct Synced {
    pub(crate) queue: Arc<StreamQueue>,
    /// The stream's number for the watcher.
    pub(crate) serial: u64,
    pub(crate) span: KeySpan,
    pub(crate) options: Options,
    /// Earlier revisions are not for it.
    pub(crate) next_revision: i64,
}

impl WatchHub {
    /// Starts the matcher on the current runtime; it ends when consensus does.
    pub fn start(handle: Handle) -> WatchHub {
        let mut revisions = handle.revisions();
        let (matching, ended) = watch::channel(false);
        let hub = WatchHub {
            ended,
            shared: Arc::new(Shared {
                standing: follow_standing(handle.status()),
                handle,
                spaces: Mutex::default(),
                budget: Arc::new(Budget::new(MAX_QUEUED_BYTES)),
                next_watcher: AtomicU64::new(0),
            }),
        };
        let shared = Arc::clone(&hub.shared);
        tokio::spawn(async move {
            let mut recheck = tokio::time::interval(RECHECK_INTERVAL);
            recheck.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    applied = revisions.recv() => match applied {
                        Ok(applied) => shared.matched(&applied),
                        // What was missed shows as a gap and is read from history.
                        Err(RecvError::Lagged(_)) => shared.recheck(),
                        Err(RecvError::Closed) => break,
                    },
                    _ = recheck.tick() => shared.recheck(),
                }
            }
            matching.send_replace(true);
        });
        hub
    }

    /// Waits until the matcher has panicked. From then on no watcher of this node hears of anything, and nothing shows it: the
    /// node has to stop.
    pub async fn failed(&self) {
        if self.ended.clone().wait_for(|ended| *ended).await.is_ok() {
            std::future::pending().await
        }
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.standing.clone()
    }

    pub(crate) fn new_queue(&self) -> Arc<StreamQueue> {
        Arc::new(StreamQueue::new(Arc::clone(&self.shared.budget)))
    }

    /// Takes a watcher in if its next revision lies beyond what is matched; `None` if it has to catch up first.
    pub(crate) fn join(&self, instance: Id, watcher: Synced) -> Option<u64> {
        let mut spaces = self.shared.lock();
        let space = match spaces.entry(instance) {
            std::collections::hash_map::Entry::Occupied(space) => space.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let revision = self
                    .shared
                    .handle
                    .read(|state| state.keyspace(&instance).map(Keyspace::revision))?;
                place.insert(Space {
                    position: revision,
                    index: WatchIndex::default(),
                    synced: HashMap::new(),
                })
            }
        };
        if watcher.next_revision <= space.position {
            return None;
        }
        let id = self.shared.next_watcher.fetch_add(1, Ordering::Relaxed);
        space.index.insert(&watcher.span, id);
        space.synced.insert(id, watcher);
        Some(id)
    }

    /// Takes a watcher out; nothing is queued for it afterwards.
    pub(crate) fn leave(&self, instance: Id, watcher: u64) {
        if let Some(space) = self.shared.lock().get_mut(&instance) {
            space.remove(watcher);
        }
    }

    /// The revision up to which a stream has got everything, if nothing waits in its queue and the revision is not below
    /// `floor`.
    pub(crate) fn progress(&self, instance: Id, queue: &StreamQueue, floor: i64) -> Option<i64> {
        let spaces = self.shared.lock();
        let position = spaces.get(&instance)?.position;
        // Under the lock nothing is added to the queue.
        (queue.is_empty() && position >= floor).then_some(position)
    }
}

fn follow_standing(mut status: watch::Receiver<ClusterStatus>) -> watch::Receiver<Standing> {
    let read = |status: &ClusterStatus| Standing {
        serving: status.serving,
        watchable: status.watchable,
    };
    let (sender, receiver) = watch::channel(read(&status.borrow_and_update()));
    tokio::spawn(async move {
        while status.changed().await.is_ok() {
            let standing = read(&status.borrow_and_update());
            sender.send_if_modified(|now| std::mem::replace(now, standing) != standing);
        }
    });
    receiver
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn matched(&self, applied: &AppliedRevision) {
        let mut spaces = self.lock();
        let Some(space) = spaces.get_mut(&applied.instance) else {
            return;
        };
        let revision = applied.events.revision();
        if revision <= space.position {
            return;
        }
        if revision == space.position + 1 {
            space.dispatch(&applied.events, |key, revision| {
                self.value_before(applied.instance, key, revision)
            });
            return;
        }
        drop(spaces);
        self.read_history(applied.instance);
    }

    /// Looks for revisions that were applied without being told.
    fn recheck(&self) {
        let instances: Vec<Id> = self.lock().keys().copied().collect();
        for instance in instances {
            self.read_history(instance);
        }
    }

    /// Matches everything between the position and the newest revision. Where history is compacted, all watchers are set
    /// aside; their sessions find out.
    fn read_history(&self, instance: Id) {
        while self.is_behind(instance) {
            let Some(keyspace) = self.handle.read(|state| state.keyspace(&instance).cloned()) else {
                return;
            };
            let mut spaces = self.lock();
            let Some(space) = spaces.get_mut(&instance) else {
                return;
            };
            match keyspace.events_from(space.position + 1) {
                Ok(history) => {
                    let before = space.position;
                    for events in history.take(CATCH_UP_REVISIONS) {
                        space.dispatch(&events, |key, revision| keyspace.value_before(key, revision));
                    }
                    // Revisions without a change: those that an import began after.
                    if space.position == before {
                        space.position = keyspace.revision();
                    }
                }
                Err(_) => {
                    space.set_all_aside();
                    space.position = keyspace.revision();
                }
            }
        }
    }

    fn is_behind(&self, instance: Id) -> bool {
        let revision = self
            .handle
            .read(|state| state.keyspace(&instance).map(Keyspace::revision));
        let spaces = self.lock();
        matches!((spaces.get(&instance), revision), (Some(space), Some(revision)) if space.position < revision)
    }

    fn value_before(&self, instance: Id, key: &[u8], revision: i64) -> Option<quorate_kv::KeyValue> {
        self.handle
            .read(|state| state.keyspace(&instance)?.value_before(key, revision))
    }
}

impl Space {
    fn dispatch(
        &mut self,
        revision: &RevisionEvents,
        value_before: impl FnMut(&[u8], i64) -> Option<quorate_kv::KeyValue>,
    ) {
        self.position = revision.revision();
        let mut hits: Vec<(u64, usize)> = Vec::new();
        for (position, event) in revision.iter().enumerate() {
            self.index
                .for_each(&event.kv.key, |watcher| hits.push((watcher, position)));
        }
        if hits.is_empty() {
            return;
        }
        // One response per watcher, with its events in the order of the revision.
        hits.sort_unstable();
        let mut encoder = Encoder::new(revision, value_before);
        for hits in hits.chunk_by(|a, b| a.0 == b.0) {
            let watcher = &self.synced[&hits[0].0];
            if revision.revision() < watcher.next_revision {
                continue;
            }
            let options = watcher.options;
            let wanted = hits
                .iter()
                .filter(|(_, position)| options.wants(revision.at(*position)));
            let events: Vec<_> = wanted
                .map(|(_, position)| encoder.encoded(*position, options.prev_kv))
                .collect();
            if events.is_empty() {
                continue;
            }
            let item = Item {
                serial: watcher.serial,
                revision: revision.revision(),
                events,
            };
            if watcher.queue.push(item).is_err() {
                self.set_aside(hits[0].0, revision.revision());
            }
        }
    }

    fn set_aside(&mut self, watcher: u64, next_revision: i64) {
        if let Some(removed) = self.remove(watcher) {
            removed.queue.set_aside(Lagging {
                serial: removed.serial,
                next_revision: next_revision.max(removed.next_revision),
            });
        }
    }

    fn set_all_aside(&mut self) {
        let next_revision = self.position + 1;
        let watchers: Vec<u64> = self.synced.keys().copied().collect();
        for watcher in watchers {
            self.set_aside(watcher, next_revision);
        }
    }

    fn remove(&mut self, watcher: u64) -> Option<Synced> {
        let removed = self.synced.remove(&watcher)?;
        self.index.remove(&removed.span, watcher);
        Some(removed)
    }
}
