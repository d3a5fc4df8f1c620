//! The multi-version store: live keys, what a compaction left of superseded versions, and the history of revisions.
//!
//! - `current` holds the newest version of every key that exists, so reads of the newest revision never meet a tombstone.
//! - `history` holds the events of every revision since the compact revision. Watchers read it; reads of the past follow the
//!   links of a key's versions through it ([`crate::links`]); and the sweep walks it to find what a compaction made
//!   unreachable, so that no compaction ever scans the whole store.
//! - `older` holds what links lead to outside the history, by (key, revision): versions that were written before the compact
//!   revision and superseded after it. It also holds every tombstone that can be read: where the versions of a deleted key
//!   are found.
//!
//! Compaction moves one number. Everything that is observable (reads, sizes, hashes, snapshots) follows from that number
//! and never from how far the sweep has come, so nodes may sweep at different speeds.

use imbl::OrdMap;

use crate::error::KvError;
use crate::history::History;
use crate::key::Key;
use crate::keyrange::KeyRange;
use crate::links::{Links, Place};
use crate::sweep::SweepCursor;
use crate::version::Version;

/// Revision of an empty store, as in etcd.
pub(crate) const FIRST_REVISION: i64 = 1;

/// What etcd holds for "never compacted"; compaction to revision 0 is therefore possible once.
pub(crate) const NEVER_COMPACTED: i64 = -1;

#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
    pub(crate) current: OrdMap<Key, Version>,
    pub(crate) older: OrdMap<(Key, i64), Version>,
    pub(crate) history: History,
    /// Accounted bytes of every version ever written here; what compaction freed is subtracted on reading.
    pub(crate) written_bytes: u64,
    /// CRC32C over every change since the beginning.
    pub(crate) change_digest: u32,
    pub(crate) cursor: SweepCursor,
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
            history: History::starting_at(revision + 1),
            written_bytes: 0,
            change_digest: 0,
            cursor: SweepCursor::starting_at(revision + 1),
        }
    }

    /// Lets the history begin after `revision`, of which no change is known.
    pub(crate) fn begin_after(&mut self, revision: i64) {
        debug_assert!(self.history.is_empty(), "history begins before its first revision");
        self.revision = revision;
        self.history = History::starting_at(revision + 1);
        self.cursor = SweepCursor::starting_at(revision + 1);
    }

    /// Accounted bytes of all versions that can still be read.
    pub(crate) fn size_bytes(&self) -> u64 {
        let freed = self
            .history
            .at(self.compact_revision)
            .map_or(0, |entry| entry.garbage_bytes);
        self.written_bytes - freed
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
        // No key is that old. Snapshots ask for those before a compaction also where there was none.
        let bounds = range.bounds().filter(|_| revision > FIRST_REVISION);
        let mut past = bounds.and_then(|_| self.next_past_key(range, &(Key::new(range.start()), i64::MIN)));
        let mut current = bounds
            .map(|bounds| self.current.range::<_, [u8]>(bounds))
            .into_iter()
            .flatten()
            .peekable();
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
                    _ => self.past_version(key, newest, revision),
                };
                if past.is_some_and(|other| other == key) {
                    past = self.next_past_key(range, &(key.clone(), i64::MAX));
                }
                if found.is_some() {
                    return found;
                }
            }
        })
    }

    /// The key as it stood after `revision`; `None` if it did not exist then.
    pub(crate) fn get_at(&self, key: &[u8], revision: i64) -> Option<&Version> {
        match self.current.get(key) {
            Some(version) if version.kv().mod_revision <= revision => Some(version),
            newest => self.past_version(&Key::new(key), newest, revision),
        }
    }

    /// The key as it stood after `revision`, where its newest version, if it exists, is younger than that.
    fn past_version(&self, key: &Key, newest: Option<&Version>, revision: i64) -> Option<&Version> {
        let in_this_life = newest.and_then(|newest| self.version_before(key, newest, revision));
        in_this_life.or_else(|| {
            // The next deletion after that revision ended the life in which the key may have been.
            let ((found, _), tombstone) = self.older.get_next(&(key.clone(), revision + 1))?;
            let same = found == key;
            same.then(|| self.version_before(key, tombstone, revision)).flatten()
        })
    }

    /// Follows the links from a version that is younger than `revision` to the youngest that is not; `None` if the key was
    /// created after `revision`.
    fn version_before(&self, key: &Key, from: &Version, revision: i64) -> Option<&Version> {
        let mut links = from.links();
        loop {
            let skip = links.skip().filter(|place| place.revision > revision);
            let place = match skip {
                Some(place) => place,
                None => links.previous()?,
            };
            let version = self.history.version(place);
            let version = version
                .or_else(|| self.older.get(&(key.clone(), place.revision)))
                .expect("a version that can be read is kept");
            if place.revision <= revision {
                return Some(version);
            }
            links = version.links();
        }
    }

    /// Links of a version of `revision` that supersedes `replaced`.
    pub(crate) fn links_after(history: &History, replaced: &Version, revision: i64) -> Links {
        let before = replaced.links();
        let mod_revision = replaced.kv().mod_revision;
        // Nothing can read a version that its own revision replaced.
        if mod_revision == revision {
            return *before;
        }
        let skipped = before.skip().and_then(|place| history.version(place));
        let place = Place {
            revision: mod_revision,
            sub: replaced.sub(),
        };
        Links::after(place, before, skipped.map(Version::links))
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
}

#[cfg(test)]
mod tests {
    use crate::*;

    /// As many steps as a search in a tree would take, also where the history was compacted meanwhile.
    #[test]
    fn a_version_is_found_in_few_steps_whatever_the_number_of_those_after_it() {
        const VERSIONS: i64 = 20_000;
        let mut keyspace = Keyspace::new();
        let put = SystemWrite::Put {
            key: "k".into(),
            value: "v".into(),
        };
        for written in 0..VERSIONS {
            keyspace.system_write(std::slice::from_ref(&put));
            if written == VERSIONS / 4 {
                let revision = written / 2;
                let compacted = keyspace.apply(None, &KvOp::Compact(CompactRequest { revision }));
                assert!(compacted.result.is_ok());
            }
        }
        let store = &keyspace.store;
        for revision in (store.compact_revision.max(2)..store.revision).step_by(37) {
            let mut links = store.current.get(&b"k"[..]).expect("the key lives").links();
            let mut steps = 0;
            let found = loop {
                steps += 1;
                let skip = links.skip().filter(|place| place.revision > revision);
                let place = skip.or_else(|| links.previous()).expect("an earlier version");
                if place.revision <= revision {
                    break place.revision;
                }
                links = store.history.version(place).expect("within the history").links();
            };
            assert_eq!(found, revision);
            assert!(steps <= 60, "{steps} steps to revision {revision}");
            let read = store.get_at(b"k", revision).expect("it lived then");
            assert_eq!(read.kv().mod_revision, revision);
        }
    }
}
