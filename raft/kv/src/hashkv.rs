//! etcd's `HashKV`, byte for byte: CRC32C over the bucket name and, in the order of revisions, over the revision key and the
//! encoded key value of everything etcd would hold in its bucket. With it a keyspace can be compared with a real etcd.

use crate::bucket::BucketEntry;
use crate::error::KvError;
use crate::keyrange::KeyRange;
use crate::keyspace::Keyspace;
use crate::version::Version;

/// Name of etcd's bucket, which begins every hash.
const BUCKET_NAME: &[u8] = b"key";

/// Reply to `HashKV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// CRC32C.
    pub hash: u32,
    /// Revision up to which was hashed.
    pub hash_revision: i64,
    /// Compact revision at that moment, -1 without one. Hashes compare only where it is equal.
    pub compact_revision: i64,
}

impl Keyspace {
    /// Hashes all versions up to `revision`, 0 for the newest. Takes time in proportion to the keys and the history, and
    /// memory for a reference to each key.
    ///
    /// One difference stays: asked for a revision it compacted at lately, an etcd answers with the hash that it remembers from
    /// before that compaction (with the compact revision of then), until it restarts.
    ///
    /// # Errors
    ///
    /// [`KvError::Compacted`] and [`KvError::FutureRevision`].
    pub fn hash_kv(&self, revision: i64) -> Result<KvHash, KvError> {
        let store = &self.store;
        let revision = if revision <= 0 { store.revision } else { revision };
        let compact_revision = store.compact_revision;
        if revision < compact_revision {
            return Err(KvError::Compacted);
        }
        if revision > store.revision {
            return Err(KvError::FutureRevision);
        }
        let mut hasher = Hasher {
            crc: crc32c::crc32c(BUCKET_NAME),
            buffer: Vec::new(),
        };
        for version in self.compacted_versions(revision) {
            hasher.add(version);
        }
        for entry in store.history.from(compact_revision + 1) {
            if entry.changes.revision() > revision {
                break;
            }
            entry.changes.as_slice().iter().for_each(|version| hasher.add(version));
        }
        Ok(KvHash {
            hash: hasher.crc,
            hash_revision: revision,
            compact_revision,
        })
    }

    /// Versions from up to the compact revision that count for the hash at `revision`, in the order of revisions: those that
    /// still live there and, as an oddity of etcd, all of them once nothing lives there any more.
    fn compacted_versions(&self, revision: i64) -> Vec<&Version> {
        let (store, all) = (&self.store, KeyRange::From(&[]));
        let compacted = store.compact_revision;
        let mut versions: Vec<&Version> = match store.scan_at(all, revision).next() {
            Some(_) => store
                .scan_at(all, revision)
                .filter(|version| version.kv().mod_revision <= compacted)
                .collect(),
            None => store.scan_at(all, compacted).collect(),
        };
        versions.sort_by_key(|version| (version.kv().mod_revision, version.sub()));
        versions
    }
}

struct Hasher {
    crc: u32,
    buffer: Vec<u8>,
}

impl Hasher {
    fn add(&mut self, version: &Version) {
        self.buffer.clear();
        BucketEntry(version).write_key(&mut self.buffer);
        BucketEntry(version).write_value(&mut self.buffer);
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
    }
}
