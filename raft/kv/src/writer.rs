//! Writing one revision: changes take effect at once, so that later operations of a transaction see them, and
//! [`Writer::commit`] closes the revision.

use bytes::Bytes;

use crate::key::Key;
use crate::keyrange::KeyRange;
use crate::lease::Leases;
use crate::links::Links;
use crate::store::Store;
use crate::types::*;
use crate::version::{RevisionEvents, Version};

/// A revision being written. It cannot fail or be undone: callers check everything first.
pub(crate) struct Writer<'a> {
    store: &'a mut Store,
    leases: &'a mut Leases,
    revision: i64,
    /// Nearly every revision has one change only; the others go to `rest`.
    first: Option<Version>,
    rest: Vec<Version>,
    garbage_bytes: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(store: &'a mut Store, leases: &'a mut Leases) -> Self {
        let revision = store.revision + 1;
        Writer {
            store,
            leases,
            revision,
            first: None,
            rest: Vec::new(),
            garbage_bytes: 0,
        }
    }

    pub(crate) fn store(&self) -> &Store {
        self.store
    }

    /// Revision that a read without a revision sees: the one being written once it has a change.
    pub(crate) fn latest_revision(&self) -> i64 {
        if self.first.is_some() {
            self.revision
        } else {
            self.store.revision
        }
    }

    /// Changes so far, which is the sub-revision of the next one.
    fn changes(&self) -> u32 {
        (usize::from(self.first.is_some()) + self.rest.len()) as u32
    }

    /// Puts a key and returns its version before.
    pub(crate) fn put(&mut self, key: Bytes, value: Bytes, lease: i64) -> Option<Version> {
        let kv = KeyValue {
            key,
            value,
            lease,
            create_revision: self.revision,
            mod_revision: self.revision,
            version: 1,
        };
        self.install(kv, |kv, replaced| {
            kv.create_revision = replaced.create_revision;
            kv.version = replaced.version + 1;
        })
    }

    /// Deletes every key of the range and returns the versions before, ascending.
    pub(crate) fn delete_range(&mut self, range: KeyRange<'_>) -> Vec<Version> {
        let doomed: Vec<Version> = self.store.scan_current(range).cloned().collect();
        for version in &doomed {
            self.delete(version.kv().key.clone());
        }
        doomed
    }

    /// Deletes one key; a key that does not exist changes nothing.
    pub(crate) fn delete(&mut self, key: Bytes) {
        if let Some(previous) = self.store.current.remove(&key[..]) {
            self.bury(key, Some(previous));
        }
    }

    /// Repeats a change that a snapshot holds, with the counters that it has there.
    pub(crate) fn replay(&mut self, change: Event) {
        match change.kind {
            EventKind::Put => {
                self.install(change.kv, |_, _| ());
            }
            EventKind::Delete => {
                let key = change.kv.key;
                // The key may be gone already: its versions before the compact revision are not in a snapshot.
                let previous = self.store.current.remove(&key[..]);
                self.bury(key, previous);
            }
        }
    }

    /// Makes a version the newest of its key, as a change of this revision; `count` numbers one that replaces another.
    fn install(&mut self, mut kv: KeyValue, count: impl FnOnce(&mut KeyValue, &KeyValue)) -> Option<Version> {
        let (sub, revision) = (self.changes(), self.revision);
        let Store { current, history, .. } = &mut *self.store;
        let kind = EventKind::Put;
        let (version, previous) = match current.get_mut(&kv.key[..]) {
            Some(slot) => {
                count(&mut kv, slot.kv());
                let version = Version::new(Event { kind, kv }, sub, Store::links_after(history, slot, revision));
                let previous = std::mem::replace(slot, version.clone());
                (version, Some(previous))
            }
            None => {
                let version = Version::new(Event { kind, kv }, sub, Links::default());
                current.insert(Key::new(&version.kv().key), version.clone());
                (version, None)
            }
        };
        self.record(version, previous.as_ref());
        previous
    }

    /// Records the deletion of a key whose version was taken out of the store.
    fn bury(&mut self, key: Bytes, previous: Option<Version>) {
        let kv = KeyValue {
            key,
            mod_revision: self.revision,
            ..KeyValue::default()
        };
        let place = (Key::new(&kv.key), self.revision);
        // Deleted, made again and deleted within one revision: the first deletion knows what was before it.
        let links = match (self.store.older.get(&place), &previous) {
            (Some(deleted), _) => *deleted.links(),
            (None, Some(previous)) => Store::links_after(&self.store.history, previous, self.revision),
            (None, None) => Links::default(),
        };
        let kind = EventKind::Delete;
        let tombstone = Version::new(Event { kind, kv }, self.changes(), links);
        self.garbage_bytes += tombstone.cost();
        self.store.older.insert(place, tombstone.clone());
        self.record(tombstone, previous.as_ref());
    }

    /// What every change leaves beside the indexes.
    fn record(&mut self, version: Version, previous: Option<&Version>) {
        let old_lease = previous.map_or(0, |previous| previous.kv().lease);
        self.leases.reattach(&version.kv().key, old_lease, version.kv().lease);
        self.store.written_bytes += version.cost();
        if let Some(previous) = previous {
            self.garbage_bytes += previous.cost();
            // Nothing can read a version that its own revision replaced.
            if previous.kv().mod_revision != self.revision {
                self.store.keep_superseded(previous);
            }
        }
        match self.first {
            None => self.first = Some(version),
            Some(_) => self.rest.push(version),
        }
    }

    /// Closes the revision; without a change there is none.
    pub(crate) fn commit(self) -> Option<RevisionEvents> {
        let events = RevisionEvents::of(self.first?, self.rest);
        let store = self.store;
        store.change_digest = events.digest(store.change_digest);
        store.history.push(events.clone(), self.garbage_bytes);
        store.revision = self.revision;
        Some(events)
    }
}
