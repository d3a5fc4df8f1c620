//! Versions of keys, and the changes of one revision, as the store holds them.
//!
//! The indexes and the history share every version: one allocation each, beside the bytes themselves, which are those of
//! the request. Events for watchers are made from them when they are wanted.

use std::sync::Arc;

use crate::types::*;

/// Accounted bytes of one version of a key beside its key and value: about what the indexes and the history take.
pub const VERSION_OVERHEAD_BYTES: u64 = 256;

/// One version of a key, or a tombstone.
#[derive(Clone)]
pub(crate) struct Version(Arc<Change>);

struct Change {
    kv: KeyValue,
    kind: EventKind,
    /// Which change of its revision this was, from 0: etcd's sub-revision.
    sub: u32,
}

impl Version {
    pub(crate) fn new(kind: EventKind, kv: KeyValue, sub: u32) -> Self {
        Version(Arc::new(Change { kv, kind, sub }))
    }

    pub(crate) fn kv(&self) -> &KeyValue {
        &self.0.kv
    }

    pub(crate) fn sub(&self) -> u32 {
        self.0.sub
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.0.kind == EventKind::Delete
    }

    /// Accounted size in bytes.
    pub(crate) fn cost(&self) -> u64 {
        (self.kv().key.len() + self.kv().value.len()) as u64 + VERSION_OVERHEAD_BYTES
    }

    fn event(&self) -> Event {
        Event {
            kind: self.0.kind,
            kv: self.0.kv.clone(),
        }
    }
}

/// All changes of one revision, in order; at least one.
#[derive(Clone)]
pub(crate) enum Changes {
    /// Nearly every revision has one change only.
    One(Version),
    Many(Arc<Vec<Version>>),
}

impl Changes {
    pub(crate) fn as_slice(&self) -> &[Version] {
        match self {
            Changes::One(version) => std::slice::from_ref(version),
            Changes::Many(versions) => versions,
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.as_slice()[0].kv().mod_revision
    }

    pub(crate) fn to_events(&self) -> Arc<RevisionEvents> {
        let events = self.as_slice().iter().map(Version::event).collect();
        Arc::new(RevisionEvents {
            revision: self.revision(),
            events,
        })
    }

    /// CRC32C over the changes, continuing `digest`.
    pub(crate) fn digest(&self, digest: u32) -> u32 {
        self.as_slice().iter().fold(digest, |digest, version| {
            let kv = version.kv();
            let numbers = [
                i64::from(version.is_tombstone()),
                kv.create_revision,
                kv.mod_revision,
                kv.version,
                kv.lease,
                kv.key.len() as i64,
                kv.value.len() as i64,
            ];
            let mut bytes = [0; 56];
            for (slot, number) in bytes.chunks_exact_mut(8).zip(numbers) {
                slot.copy_from_slice(&number.to_le_bytes());
            }
            [&bytes[..], &kv.key, &kv.value]
                .into_iter()
                .fold(digest, crc32c::crc32c_append)
        })
    }
}

/// One revision of the history.
#[derive(Clone)]
pub(crate) struct HistoryEntry {
    pub(crate) changes: Changes,
    /// Accounted bytes of all versions that a compaction at this revision makes unreachable.
    pub(crate) garbage_bytes: u64,
}
