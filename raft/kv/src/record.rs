//! The logical content of a keyspace as a sequence of records in defined order: the common ground of snapshots and of the
//! state hash.
//!
//! Order: header, alarms, leases, users, roles, live keys that were last changed before the compact revision, then every change
//! from the compact revision on, then the blocks of an import that is under way, then the end. Superseded versions follow from
//! the changes; attached keys follow from the keys.

use bytes::Bytes;

use crate::alarm::Alarm;
use crate::keyrange::KeyRange;
use crate::keyspace::Keyspace;
use crate::lease::Granted;
use crate::types::*;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Header {
    #[prost(int64, tag = "1")]
    pub(crate) revision: i64,
    #[prost(int64, tag = "2")]
    pub(crate) compact_revision: i64,
    #[prost(uint64, tag = "3")]
    pub(crate) quota_bytes: u64,
    #[prost(bool, tag = "4")]
    pub(crate) auth_enabled: bool,
    #[prost(uint64, tag = "5")]
    pub(crate) auth_revision: u64,
    #[prost(fixed32, tag = "6")]
    pub(crate) change_digest: u32,
    /// Number of the last grant of a lease.
    #[prost(uint64, tag = "7")]
    pub(crate) last_grant: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct LeaseRecord {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    #[prost(int64, tag = "2")]
    pub(crate) ttl_seconds: i64,
    /// Number of its grant.
    #[prost(uint64, tag = "3")]
    pub(crate) grant: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct UserRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) password_hash: Bytes,
    #[prost(bool, tag = "3")]
    pub(crate) no_password: bool,
    #[prost(string, repeated, tag = "4")]
    pub(crate) roles: Vec<String>,
    #[prost(uint64, tag = "5")]
    pub(crate) revision: u64,
}

impl std::fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserRecord {{ name: {:?} }}", self.name)
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct RoleRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) permissions: Vec<Permission>,
}

/// A live key that was last changed before the compact revision.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct KeyRecord {
    #[prost(message, required, tag = "1")]
    pub(crate) kv: KeyValue,
    /// Which change of its revision this was.
    #[prost(uint32, tag = "2")]
    pub(crate) sub: u32,
}

/// One change of the history. Its revision is the key's `mod_revision`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ChangeRecord {
    #[prost(bool, tag = "1")]
    pub(crate) deleted: bool,
    #[prost(message, required, tag = "2")]
    pub(crate) kv: KeyValue,
}

/// A block of an import that is under way.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ImportRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) import: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) block: Bytes,
}

/// Last record. Its count tells a whole snapshot from one that was cut.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct EndRecord {
    /// Records before this one.
    #[prost(uint64, tag = "1")]
    pub(crate) records: u64,
}

/// A new meaning is a new variant with a new tag; tags are never reused.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum RecordKind {
    #[prost(message, tag = "1")]
    Header(Header),
    #[prost(message, tag = "2")]
    Lease(LeaseRecord),
    #[prost(message, tag = "3")]
    User(UserRecord),
    #[prost(message, tag = "4")]
    Role(RoleRecord),
    #[prost(message, tag = "5")]
    Key(KeyRecord),
    #[prost(message, tag = "6")]
    Change(ChangeRecord),
    #[prost(message, tag = "7")]
    End(EndRecord),
    #[prost(message, tag = "8")]
    Import(ImportRecord),
    #[prost(message, tag = "30")]
    Alarm(Alarm),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Record {
    #[prost(oneof = "RecordKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 30")]
    pub(crate) kind: Option<RecordKind>,
}

impl Keyspace {
    /// All records but the last, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = RecordKind> {
        let (store, auth) = (&self.store, &self.auth);
        let header = Header {
            revision: store.revision,
            compact_revision: store.compact_revision,
            quota_bytes: self.quota_bytes,
            auth_enabled: auth.enabled,
            auth_revision: auth.revision,
            change_digest: store.change_digest,
            last_grant: self.leases.last_grant(),
        };
        let leases = self
            .leases
            .iter()
            .map(|(id, Granted { ttl_seconds, grant })| RecordKind::Lease(LeaseRecord { id, ttl_seconds, grant }));
        let users = auth.users.values().map(|user| {
            RecordKind::User(UserRecord {
                name: user.name.clone(),
                password_hash: user.password_hash.clone(),
                no_password: user.no_password,
                roles: user.roles.clone(),
                revision: user.revision,
            })
        });
        let roles = auth.roles.iter().map(|(name, held)| {
            RecordKind::Role(RoleRecord {
                name: name.clone(),
                permissions: held.clone(),
            })
        });
        let compacted = store.compact_revision;
        let keys = store
            .scan_at(KeyRange::From(&[]), compacted)
            .filter(move |version| version.kv().mod_revision < compacted)
            .map(|version| {
                RecordKind::Key(KeyRecord {
                    kv: version.kv().clone(),
                    sub: version.sub(),
                })
            });
        let changes = store.history.from(compacted).flat_map(|entry| {
            entry.changes.as_slice().iter().map(|version| {
                RecordKind::Change(ChangeRecord {
                    deleted: version.is_tombstone(),
                    kv: version.kv().clone(),
                })
            })
        });
        let imports = self.importing.iter().flat_map(|importing| {
            importing.blocks.iter().map(|block| {
                RecordKind::Import(ImportRecord {
                    import: importing.id,
                    block: block.clone(),
                })
            })
        });
        std::iter::once(RecordKind::Header(header))
            .chain(self.alarms().map(RecordKind::Alarm))
            .chain(leases)
            .chain(users)
            .chain(roles)
            .chain(keys)
            .chain(changes)
            .chain(imports)
    }
}
