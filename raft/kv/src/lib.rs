//! Multi-version key-value store with the semantics of etcd v3, as a pure value.
//!
//! One [`Keyspace`] is what one etcd cluster would hold: keys with all their revisions since the last compaction, leases,
//! users and roles, and the events of every revision for watchers. It knows no clock, no I/O and no consensus: an
//! operation and the caller go in, a reply and the events of one revision come out, and equal inputs give equal states.
//! It deliberately is not a server: waiting, streaming, tokens, password checks and lease renewals are the business of the
//! edge and of the leader.
//!
//! - [`Keyspace::apply`] executes a [`KvOp`] from the log, [`Keyspace::range`] and [`Keyspace::read_txn`] read;
//! - [`validate`] holds the checks that need no state; edges call it before they propose, `apply` calls it again;
//! - [`Keyspace::encode_blocks`] and [`KeyspaceDecoder`] carry a keyspace through a snapshot;
//! - cloning a keyspace is cheap (shared, copied on write), which is how a snapshot cut is made.

#![warn(missing_docs)]

mod alarm;
mod apply;
mod auth;
mod bucket;
mod decode;
mod encode;
mod error;
mod hashkv;
mod history;
mod import;
mod key;
mod keyrange;
mod keyspace;
mod lease;
mod links;
mod op;
mod permission;
mod range;
mod record;
mod restore;
mod space;
mod store;
mod sweep;
mod txn;
mod txn_types;
mod types;
mod validate;
mod version;
mod writer;

pub use alarm::{Alarm, AlarmAction, AlarmKind, AlarmRequest, AlarmResponse, MAX_ALARMS};
pub use apply::{Applied, SystemWrite};
pub use auth::{MAX_ROLE_PERMISSIONS, MAX_ROLES, MAX_USERS, UserView};
pub use bucket::BucketEntry;
pub use decode::{DecodeError, KeyspaceDecoder};
pub use error::{ErrorClass, KvError};
pub use hashkv::KvHash;
pub use import::{ImportWriter, MAX_IMPORT_BLOCK_BYTES};
pub use keyspace::{DEFAULT_QUOTA_BYTES, Keyspace};
pub use lease::{MAX_LEASE_TTL_SECONDS, MAX_LEASES, MIN_LEASE_TTL_SECONDS};
pub use op::*;
pub use space::{MACHINE_RESERVE_BYTES, op_adds_data};
pub use types::*;
pub use validate::{
    MAX_AUTH_NAME_BYTES, MAX_REQUEST_BYTES, MAX_TXN_DEPTH, MAX_TXN_OPS, op_writes_into, validate, validate_range,
};
pub use version::{RevisionEvents, VERSION_OVERHEAD_BYTES};
