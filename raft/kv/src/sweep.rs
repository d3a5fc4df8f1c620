//! Dropping what a compaction made unreachable, a little with every write.
//!
//! The sweep goes through the history, change by change, up to the compact revision. What it has come past leaves the history;
//! what of it can still be read moves to [`Store::older`].

use crate::key::Key;
use crate::store::Store;
use crate::version::Version;

/// Next change the sweep will look at.
#[derive(Clone, Copy)]
pub(crate) struct SweepCursor {
    revision: i64,
    index: usize,
}

impl SweepCursor {
    /// At the first change of a revision.
    pub(crate) fn starting_at(revision: i64) -> Self {
        SweepCursor { revision, index: 0 }
    }

    /// Whether any change of this revision was looked at.
    fn has_begun(self, revision: i64) -> bool {
        revision < self.revision || (revision == self.revision && self.index > 0)
    }
}

impl Store {
    /// Takes a version that was just superseded; the history holds those that the sweep has not come to.
    pub(crate) fn keep_superseded(&mut self, version: &Version) {
        let revision = version.kv().mod_revision;
        if self.cursor.has_begun(revision) {
            self.older
                .insert((Key::new(&version.kv().key), revision), version.clone());
        }
    }

    /// Looks at no more than `budget_versions` events and drops what they made unreachable. True while work remains.
    pub(crate) fn sweep(&mut self, budget_versions: usize) -> bool {
        let mut left = budget_versions;
        while left > 0 && self.cursor.revision <= self.compact_revision {
            let entry = self
                .history
                .at(self.cursor.revision)
                .expect("the history reaches back to the sweep");
            let changes = entry.changes.clone();
            let versions = changes.as_slice();
            let end = versions.len().min(self.cursor.index.saturating_add(left));
            for version in &versions[self.cursor.index..end] {
                self.settle(version);
            }
            left -= end - self.cursor.index;
            self.cursor.index = end;
            if end == versions.len() {
                self.cursor = SweepCursor::starting_at(self.cursor.revision + 1);
            }
        }
        // The compact revision itself stays: a watch may start there and must see its events.
        let keep_from = self.cursor.revision.min(self.compact_revision);
        self.history.drop_before(keep_from);
        self.cursor.revision <= self.compact_revision
    }

    /// A version is unreachable once its successor is compacted, a tombstone once it is compacted itself. One that was
    /// superseded meanwhile may be needed after its revision has left the history.
    fn settle(&mut self, version: &Version) {
        let (key, revision) = (Key::new(&version.kv().key), version.kv().mod_revision);
        if let Some(previous) = version.links().previous() {
            self.older.remove(&(key.clone(), previous.revision));
        }
        let newest = self.current.get(key.as_slice());
        if version.is_tombstone() {
            self.older.remove(&(key, revision));
        } else if newest.is_none_or(|newest| newest.kv().mod_revision != revision) {
            self.older.insert((key, revision), version.clone());
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
        assert_eq!(keyspace.store.older.len(), 90, "tombstones");
        let compact = KvOp::Compact(CompactRequest {
            revision: keyspace.revision(),
        });
        assert!(keyspace.apply(None, &compact).result.is_ok());
        while keyspace.sweep(3) {}
        let store = &keyspace.store;
        assert_eq!((store.current.len(), store.older.len(), store.history.len()), (1, 0, 1));
    }

    /// Without this, memory grows beyond the quota although little of it can be read.
    #[test]
    fn the_sweep_arrives_where_every_revision_has_many_changes() {
        const KEYS: usize = 128;
        let mut keyspace = Keyspace::new();
        let writes: Vec<SystemWrite> = (0..KEYS)
            .map(|number| SystemWrite::Put {
                key: format!("k{number}").into(),
                value: "v".into(),
            })
            .collect();
        let mut longest = 0;
        for _ in 0..100 {
            keyspace.system_write(&writes);
            let revision = keyspace.revision();
            let compacted = keyspace.apply(None, &KvOp::Compact(CompactRequest { revision }));
            assert!(compacted.result.is_ok());
            longest = longest.max(keyspace.store.history.len());
        }
        assert!(longest <= 3, "{longest} revisions are kept of which one can be read");
    }
}
