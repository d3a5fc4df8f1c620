//! Requests and replies of the store. The field meanings are etcd's (`rpc.proto` of etcd 3.6); the tags are ours, because
//! these types are also what the log and the snapshots hold.

use bytes::Bytes;

pub use crate::txn_types::*;

/// A key with its value and the counters etcd keeps for it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValue {
    /// The key; never empty.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Revision that created the present generation of the key.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// Revision of the last change.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Number of changes since creation; 0 marks a deletion (tombstone).
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The value; empty in a tombstone.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    /// Lease the key is attached to; 0 for none.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// Order of a range reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SortOrder {
    /// By key, as if ascending; by another target, ascending.
    None = 0,
    /// Smallest first.
    Ascend = 1,
    /// Largest first.
    Descend = 2,
}

/// What a range reply is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SortTarget {
    /// By key.
    Key = 0,
    /// By number of changes since creation.
    Version = 1,
    /// By revision of creation.
    Create = 2,
    /// By revision of the last change.
    Mod = 3,
    /// By value.
    Value = 4,
}

/// A read. `range_end` empty = the one key; `"\0"` = every key from `key` on; both `"\0"` = all keys.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeRequest {
    /// First key, or the only one.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// End of the range, exclusive.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// Most keys to return; 0 or less for all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// Revision to read at; 0 or less for the newest.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// A [`SortOrder`].
    #[prost(enumeration = "SortOrder", tag = "5")]
    pub sort_order: i32,
    /// A [`SortTarget`].
    #[prost(enumeration = "SortTarget", tag = "6")]
    pub sort_target: i32,
    /// Leaves the values out.
    #[prost(bool, tag = "7")]
    pub keys_only: bool,
    /// Counts and returns no key.
    #[prost(bool, tag = "8")]
    pub count_only: bool,
    /// Returns only keys last changed at this revision or later; 0 for no filter.
    #[prost(int64, tag = "9")]
    pub min_mod_revision: i64,
    /// Returns only keys last changed at this revision or earlier; 0 for no filter.
    #[prost(int64, tag = "10")]
    pub max_mod_revision: i64,
    /// Returns only keys created at this revision or later; 0 for no filter.
    #[prost(int64, tag = "11")]
    pub min_create_revision: i64,
    /// Returns only keys created at this revision or earlier; 0 for no filter.
    #[prost(int64, tag = "12")]
    pub max_create_revision: i64,
}

/// Reply to a read.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeResponse {
    /// Keys in the wanted order.
    #[prost(message, repeated, tag = "1")]
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left keys out.
    #[prost(bool, tag = "2")]
    pub more: bool,
    /// Keys in the range, whatever the limit and the filters.
    #[prost(int64, tag = "3")]
    pub count: i64,
}

/// Puts one key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRequest {
    /// The key; not empty.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The value; empty with `ignore_value`.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// Lease to attach the key to; 0 for none, which ends an earlier attachment.
    #[prost(int64, tag = "3")]
    pub lease: i64,
    /// Asks for the key as it was before.
    #[prost(bool, tag = "4")]
    pub prev_kv: bool,
    /// Keeps the value of the key, which must exist.
    #[prost(bool, tag = "5")]
    pub ignore_value: bool,
    /// Keeps the lease of the key, which must exist.
    #[prost(bool, tag = "6")]
    pub ignore_lease: bool,
}

/// Reply to a put.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutResponse {
    /// The key as it was before, if that was asked for and the key existed.
    #[prost(message, optional, tag = "1")]
    pub prev_kv: Option<KeyValue>,
}

/// Deletes a key, or a range as in [`RangeRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRangeRequest {
    /// First key, or the only one.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// End of the range, exclusive.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// Asks for the keys as they were before.
    #[prost(bool, tag = "3")]
    pub prev_kv: bool,
}

/// Reply to a deletion.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRangeResponse {
    /// Number of keys deleted.
    #[prost(int64, tag = "1")]
    pub deleted: i64,
    /// The keys as they were before, ascending, if that was asked for.
    #[prost(message, repeated, tag = "2")]
    pub prev_kvs: Vec<KeyValue>,
}

/// Gives up all revisions before one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CompactRequest {
    /// Oldest revision that stays readable.
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

/// Asks for a lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseGrantRequest {
    /// Wanted id; 0 is filled in at the edge with a random positive number before the command is proposed.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Time to live in seconds, raised to the minimum of 2 s.
    #[prost(int64, tag = "2")]
    pub ttl_seconds: i64,
}

/// Reply to granting a lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseGrantResponse {
    /// Id of the lease; never 0.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Granted time to live, in seconds.
    #[prost(int64, tag = "2")]
    pub ttl_seconds: i64,
}

/// Ends a lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseRevokeRequest {
    /// Id of the lease.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// A lease as it stands in the state: no expiry, because renewals are the leader's business and never in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Id of the lease.
    pub id: i64,
    /// Granted time to live, in seconds.
    pub ttl_seconds: i64,
    /// Number of its grant in the keyspace: tells leases apart that have had the same id one after the other.
    pub grant: u64,
    /// Attached keys in order.
    pub keys: Vec<Bytes>,
}

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The key was put.
    Put,
    /// The key was deleted.
    Delete,
}

/// One change of one key. A deletion carries the key and the revision only, as etcd's does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key afterwards.
    pub kv: KeyValue,
}

/// What a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PermissionType {
    /// Range, watch, comparison, value before.
    Read = 0,
    /// Put and delete.
    Write = 1,
    /// Both.
    ReadWrite = 2,
}

/// Permission on a key or a key range (`range_end` as in [`RangeRequest`]).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Permission {
    /// A [`PermissionType`].
    #[prost(enumeration = "PermissionType", tag = "1")]
    pub perm_type: i32,
    /// First key, or the only one; not empty.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// End of the range.
    #[prost(bytes = "bytes", tag = "3")]
    pub range_end: Bytes,
}
