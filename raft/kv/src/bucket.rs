//! A keyspace as etcd lays it out in its `key` bucket: one entry per version, in the order of revisions.
//!
//! The hash and the snapshots for etcd's tools are made of it. It gives what an etcd holds that compacted at the same
//! revision: superseded versions before the compact revision are gone.

use prost::Message;

use crate::keyrange::KeyRange;
use crate::keyspace::Keyspace;
use crate::types::*;
use crate::version::Version;

/// One version of a key in etcd's encoding.
#[derive(Clone, Copy)]
pub struct BucketEntry<'a>(pub(crate) &'a Version);

impl BucketEntry<'_> {
    /// Appends the bucket's key: the revision, `_`, the number of the change within it, and `t` for a deletion.
    pub fn write_key(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.0.kv().mod_revision.to_be_bytes());
        buffer.push(b'_');
        buffer.extend_from_slice(&u64::from(self.0.sub()).to_be_bytes());
        if self.0.is_tombstone() {
            buffer.push(b't');
        }
    }

    /// Appends the bucket's value, an `mvccpb.KeyValue`; of a deletion it holds the key alone. The tags of [`KeyValue`] are
    /// etcd's.
    pub fn write_value(&self, buffer: &mut Vec<u8>) {
        let kv = self.0.kv();
        let encoded = if self.0.is_tombstone() {
            let key = kv.key.clone();
            KeyValue {
                key,
                ..KeyValue::default()
            }
            .encode(buffer)
        } else {
            kv.encode(buffer)
        };
        encoded.expect("a vector grows as needed");
    }
}

impl Keyspace {
    /// Every entry of the bucket, ascending. Takes memory for a reference to each key that was last changed before the compact
    /// revision.
    pub fn bucket_entries(&self) -> impl Iterator<Item = BucketEntry<'_>> {
        let compacted = self.store.compact_revision;
        let mut before: Vec<&Version> = self
            .store
            .scan_at(KeyRange::From(&[]), compacted)
            .filter(|version| version.kv().mod_revision < compacted)
            .collect();
        before.sort_by_key(|version| (version.kv().mod_revision, version.sub()));
        let changes = self
            .store
            .history
            .from(compacted)
            .flat_map(|entry| entry.changes.as_slice());
        before.into_iter().chain(changes).map(BucketEntry)
    }

    /// Roles with the permissions that were granted to them, in order of their names; those of `root`, which needs none, too.
    pub fn granted_permissions(&self) -> impl Iterator<Item = (&str, &[Permission])> {
        self.auth.roles.iter().map(|(name, held)| (name.as_str(), &held[..]))
    }
}
