//! Writing one revision: changes take effect at once, so that later operations of a transaction see them, and
//! [`Writer::commit`] closes the revision.

use std::sync::Arc;

use bytes::Bytes;

use crate::key::Key;
use crate::keyrange::KeyRange;
use crate::lease::Leases;
use crate::store::Store;
use crate::types::*;
use crate::version::{Changes, HistoryEntry, Version};

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
        let mut kv = KeyValue {
            key,
            value,
            lease,
            create_revision: self.revision,
            mod_revision: self.revision,
            version: 1,
        };
        if let Some(existing) = self.store.current.get(&kv.key[..]) {
            kv.create_revision = existing.kv().create_revision;
            kv.version = existing.kv().version + 1;
        }
        self.install(Version::new(EventKind::Put, kv, self.changes()))
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
        if self.store.current.contains_key(&key[..]) {
            let kv = KeyValue {
                key,
                mod_revision: self.revision,
                ..KeyValue::default()
            };
            self.install(Version::new(EventKind::Delete, kv, self.changes()));
        }
    }

    /// Makes a version the newest of its key, as a change of this revision. A snapshot is replayed through this as well,
    /// therefore a tombstone of a key that is already gone is accepted.
    pub(crate) fn install(&mut self, version: Version) -> Option<Version> {
        let key = &version.kv().key;
        let previous = if version.is_tombstone() {
            self.garbage_bytes += version.cost();
            let previous = self.store.current.remove(&key[..]);
            self.store.older.insert((Key::new(key), self.revision), version.clone());
            previous
        } else if let Some(slot) = self.store.current.get_mut(&key[..]) {
            Some(std::mem::replace(slot, version.clone()))
        } else {
            self.store.current.insert(Key::new(key), version.clone());
            None
        };
        let old_lease = previous.as_ref().map_or(0, |previous| previous.kv().lease);
        self.leases.reattach(key, old_lease, version.kv().lease);
        self.store.written_bytes += version.cost();
        if let Some(previous) = &previous {
            self.garbage_bytes += previous.cost();
            let replaced = previous.kv();
            // Nothing can read a version that its own revision replaced.
            if replaced.mod_revision != self.revision {
                self.store
                    .older
                    .insert((Key::new(&replaced.key), replaced.mod_revision), previous.clone());
            }
        }
        if self.first.is_none() {
            self.first = Some(version);
        } else {
            self.rest.push(version);
        }
        previous
    }

    /// Closes the revision; without a change there is none.
    pub(crate) fn commit(self) -> Option<Arc<RevisionEvents>> {
        let first = self.first?;
        let changes = match self.rest.is_empty() {
            true => Changes::One(first),
            false => Changes::Many(Arc::new(std::iter::once(first).chain(self.rest).collect())),
        };
        let events = changes.to_events();
        let store = self.store;
        let garbage_before = store.history.back().map_or(0, |entry| entry.garbage_bytes);
        store.change_digest = changes.digest(store.change_digest);
        let garbage_bytes = garbage_before + self.garbage_bytes;
        store.history.push_back(HistoryEntry { changes, garbage_bytes });
        store.revision = self.revision;
        Some(events)
    }
}
