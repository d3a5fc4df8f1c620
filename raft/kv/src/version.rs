//! Versions of keys, and the changes of one revision, as the store holds them.
//!
//! The indexes, the history and the watchers share every version: one allocation each, beside the bytes themselves, which are
//! those of the request.

use std::sync::Arc;

use crate::links::Links;
use crate::types::*;

/// Accounted bytes of one version of a key beside its key and value: about what the indexes and the history take.
pub const VERSION_OVERHEAD_BYTES: u64 = 256;

/// One version of a key, or a tombstone.
#[derive(Clone)]
pub(crate) struct Version(Arc<Change>);

struct Change {
    event: Event,
    /// Which change of its revision this was, from 0: etcd's sub-revision.
    sub: u32,
    links: Links,
}

impl Version {
    pub(crate) fn new(event: Event, sub: u32, links: Links) -> Self {
        Version(Arc::new(Change { event, sub, links }))
    }

    pub(crate) fn kv(&self) -> &KeyValue {
        &self.0.event.kv
    }

    pub(crate) fn sub(&self) -> u32 {
        self.0.sub
    }

    /// Where the versions of the key before this one are.
    pub(crate) fn links(&self) -> &Links {
        &self.0.links
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.0.event.kind == EventKind::Delete
    }

    /// Accounted size in bytes.
    pub(crate) fn cost(&self) -> u64 {
        (self.kv().key.len() + self.kv().value.len()) as u64 + VERSION_OVERHEAD_BYTES
    }
}

/// All events of one revision, at least one, in the order in which they were made. Every clone shares them with the store.
#[derive(Clone)]
pub struct RevisionEvents(Changes);

#[derive(Clone)]
enum Changes {
    /// Nearly every revision has one change only.
    One(Version),
    Many(Arc<Vec<Version>>),
}

impl RevisionEvents {
    /// Events that belong together.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn new(events: impl IntoIterator<Item = Event>) -> Self {
        let versions = (0..).zip(events);
        let mut versions = versions.map(|(sub, event)| Version::new(event, sub, Links::default()));
        let first = versions.next().expect("a revision has an event");
        RevisionEvents::of(first, versions.collect())
    }

    pub(crate) fn of(first: Version, rest: Vec<Version>) -> Self {
        RevisionEvents(match rest.is_empty() {
            true => Changes::One(first),
            false => Changes::Many(Arc::new(std::iter::once(first).chain(rest).collect())),
        })
    }

    /// The revision.
    pub fn revision(&self) -> i64 {
        self.as_slice()[0].kv().mod_revision
    }

    /// The events, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.as_slice().iter().map(|version| &version.0.event)
    }

    /// The event at a position.
    ///
    /// # Panics
    ///
    /// If there is none at that position.
    pub fn at(&self, position: usize) -> &Event {
        &self.as_slice()[position].0.event
    }

    pub(crate) fn as_slice(&self) -> &[Version] {
        match &self.0 {
            Changes::One(version) => std::slice::from_ref(version),
            Changes::Many(versions) => versions,
        }
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

impl PartialEq for RevisionEvents {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for RevisionEvents {}

impl std::fmt::Debug for RevisionEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
