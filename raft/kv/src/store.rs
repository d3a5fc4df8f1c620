//! The multi-version store: live keys, superseded versions, and the history of revisions.
//!
//! - `current` holds the newest version of every key that exists, so reads of the newest revision never meet a tombstone.
//! - `older` holds what was superseded, and tombstones, by (key, revision); reads of the past look there.
//! - `history` holds the events of every revision since the compact revision; watchers read it, and the sweep walks it to
//!   find what a compaction made unreachable, so that no compaction ever scans the whole store.
//!
//! Compaction moves one number. Everything that is observable (reads, sizes, hashes, snapshots) follows from that number
//! and never from how far the sweep has come, so nodes may sweep at different speeds.

use imbl::{OrdMap, Vector};

use crate::error::KvError;
use crate::key::Key;
use crate::keyrange::KeyRange;
use crate::version::{HistoryEntry, Version};

/// Revision of an empty store, as in etcd.
pub(crate) const FIRST_REVISION: i64 = 1;

/// What etcd holds for "never compacted"; compaction to revision 0 is therefore possible once.
pub(crate) const NEVER_COMPACTED: i64 = -1;

/// Next event the sweep will look at.
#[derive(Clone, Copy)]
struct SweepCursor {
    revision: i64,
    index: usize,
}

#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
    pub(crate) current: OrdMap<Key, Version>,
    pub(crate) older: OrdMap<(Key, i64), Version>,
    pub(crate) history: Vector<HistoryEntry>,
    /// Revision of the first entry of `history`; revisions have no gaps.
    pub(crate) history_start: i64,
    /// Accounted bytes of every version ever written here; what compaction freed is subtracted on reading.
    pub(crate) written_bytes: u64,
    /// CRC32C over every change since the beginning.
    pub(crate) change_digest: u32,
    cursor: SweepCursor,
}

impl Store {
    pub(crate) fn new() -> Self {
        Store::starting_at(FIRST_REVISION, NEVER_COMPACTED)
    }

    /// An empty store whose next revision is `revision + 1`.
    pub(crate) fn starting_at(revision: i64, compact_revision: i64) -> Self {
        Store {
            revision,
            compact_revision,
            current: OrdMap::new(),
            older: OrdMap::new(),
            history: Vector::new(),
            history_start: revision + 1,
            written_bytes: 0,
            change_digest: 0,
            cursor: SweepCursor {
                revision: revision + 1,
                index: 0,
            },
        }
    }

    /// Lets the history begin after `revision`, of which no change is known.
    pub(crate) fn begin_after(&mut self, revision: i64) {
        debug_assert!(self.history.is_empty(), "history begins before its first revision");
        self.revision = revision;
        self.history_start = revision + 1;
        self.cursor = SweepCursor {
            revision: revision + 1,
            index: 0,
        };
    }

    /// Accounted bytes of all versions that can still be read.
    pub(crate) fn size_bytes(&self) -> u64 {
        let freed = self
            .history_at(self.compact_revision)
            .map_or(0, |entry| entry.garbage_bytes);
        self.written_bytes - freed
    }

    pub(crate) fn history_at(&self, revision: i64) -> Option<&HistoryEntry> {
        let index = usize::try_from(revision.checked_sub(self.history_start)?).ok()?;
        self.history.get(index)
    }

    /// Entries of the history from `revision` on, ascending.
    pub(crate) fn history_from(&self, revision: i64) -> impl Iterator<Item = &HistoryEntry> {
        let skipped = revision.saturating_sub(self.history_start).max(0);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.history.len());
        self.history.focus().narrow(skipped..).into_iter()
    }

    /// Newest versions of the keys in `range`, ascending.
    pub(crate) fn scan_current<'a>(&'a self, range: KeyRange<'_>) -> impl Iterator<Item = &'a Version> + use<'a> {
        range
            .bounds()
            .map(|bounds| self.current.range::<_, [u8]>(bounds))
            .into_iter()
            .flatten()
            .map(|(_, version)| version)
    }

    /// Versions of the keys in `range` as they stood after `revision`, ascending, without deleted ones.
    ///
    /// Correct for revisions from the compact revision on; callers check that.
    pub(crate) fn scan_at<'a>(&'a self, range: KeyRange<'a>, revision: i64) -> impl Iterator<Item = &'a Version> {
        let mut current = range
            .bounds()
            .map(|bounds| self.current.range::<_, [u8]>(bounds))
            .into_iter()
            .flatten()
            .peekable();
        let mut past = self.next_past_key(range, &(Key::new(range.start()), i64::MIN));
        std::iter::from_fn(move || {
            loop {
                let live = current.peek().map(|(key, version)| (*key, *version));
                let (key, newest) = match (live, past) {
                    (None, None) => return None,
                    (Some((key, version)), None) => (key, Some(version)),
                    (None, Some(key)) => (key, None),
                    (Some((key, version)), Some(other)) if key <= other => (key, Some(version)),
                    (Some(_), Some(other)) => (other, None),
                };
                if newest.is_some() {
                    current.next();
                }
                let found = match newest {
                    Some(version) if version.kv().mod_revision <= revision => Some(version),
                    _ => self.past_version(key, revision),
                };
                if past.is_some_and(|other| other == key) {
                    past = self.next_past_key(range, &(key.clone(), i64::MAX));
                }
                if let Some(version) = found.filter(|version| !version.is_tombstone()) {
                    return Some(version);
                }
            }
        })
    }

    /// The key as it stood after `revision`; `None` if it did not exist then.
    pub(crate) fn get_at(&self, key: &[u8], revision: i64) -> Option<&Version> {
        match self.current.get(key) {
            Some(version) if version.kv().mod_revision <= revision => Some(version),
            _ => self
                .past_version(&Key::new(key), revision)
                .filter(|version| !version.is_tombstone()),
        }
    }

    fn past_version(&self, key: &Key, revision: i64) -> Option<&Version> {
        let (found, version) = self.older.get_prev(&(key.clone(), revision))?;
        (found.0 == *key).then_some(version)
    }

    fn next_past_key(&self, range: KeyRange<'_>, from: &(Key, i64)) -> Option<&Key> {
        let ((key, _), _) = self.older.get_next(from)?;
        range.contains(key.as_slice()).then_some(key)
    }

    /// Moves the compact revision. What it makes unreachable goes with [`Store::sweep`].
    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), KvError> {
        if revision <= self.compact_revision {
            return Err(KvError::Compacted);
        }
        if revision > self.revision {
            return Err(KvError::FutureRevision);
        }
        self.compact_revision = revision;
        Ok(())
    }

    /// Looks at no more than `budget_versions` events and drops what they made unreachable. True while work remains.
    pub(crate) fn sweep(&mut self, budget_versions: usize) -> bool {
        let mut left = budget_versions;
        while left > 0 && self.cursor.revision <= self.compact_revision {
            let entry = self
                .history_at(self.cursor.revision)
                .expect("the history reaches back to the sweep");
            let changes = entry.changes.clone();
            let versions = changes.as_slice();
            let end = versions.len().min(self.cursor.index.saturating_add(left));
            for version in &versions[self.cursor.index..end] {
                self.drop_superseded_by(version);
            }
            left -= end - self.cursor.index;
            self.cursor.index = end;
            if end == versions.len() {
                self.cursor = SweepCursor {
                    revision: self.cursor.revision + 1,
                    index: 0,
                };
            }
        }
        // The compact revision itself stays: a watch may start there and must see its events.
        let keep_from = self.cursor.revision.min(self.compact_revision);
        while self.history_start < keep_from {
            self.history.pop_front();
            self.history_start += 1;
        }
        self.cursor.revision <= self.compact_revision
    }

    /// A version is unreachable once its successor is compacted, a tombstone once it is compacted itself.
    fn drop_superseded_by(&mut self, version: &Version) {
        let (key, revision) = (Key::new(&version.kv().key), version.kv().mod_revision);
        let before = self
            .older
            .get_prev(&(key.clone(), revision - 1))
            .map(|(found, _)| found);
        if let Some(found) = before.filter(|(found, _)| *found == key).cloned() {
            self.older.remove(&found);
        }
        if version.is_tombstone() {
            let own = (key, revision);
            if self.older.get(&own).is_some_and(Version::is_tombstone) {
                self.older.remove(&own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::*;

    /// What no read can reach is gone from memory too, which nothing outside can see.
    #[test]
    fn a_full_sweep_leaves_only_live_keys_and_the_compact_revision() {
        let mut keyspace = Keyspace::new();
        let put = |key: &str| SystemWrite::Put {
            key: key.to_owned().into(),
            value: "v".into(),
        };
        let delete = |key: &str| SystemWrite::Delete {
            key: key.to_owned().into(),
        };
        for round in 0..50 {
            let (one, other) = (format!("k{}", round % 7), format!("k{}", round % 5));
            keyspace.system_write(&[put(&one), delete(&other), put(&other), delete(&one)]);
            keyspace.system_write(&[put("live"), delete(&other)]);
        }
        assert!(keyspace.store.older.len() > 100);
        let compact = KvOp::Compact(CompactRequest {
            revision: keyspace.revision(),
        });
        assert!(keyspace.apply(None, &compact).result.is_ok());
        while keyspace.sweep(3) {}
        let store = &keyspace.store;
        assert_eq!((store.current.len(), store.older.len(), store.history.len()), (1, 0, 1));
    }
}
