//! Operations that change a keyspace, as the log carries them, and their replies.

use bytes::Bytes;

use crate::alarm::{AlarmRequest, AlarmResponse};
use crate::types::*;

/// Who asks, as authenticated at the edge.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvCaller {
    /// Empty when the keyspace has authentication off.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Auth revision of the keyspace when the caller's credentials were checked; an older one is refused on apply.
    #[prost(uint64, tag = "2")]
    pub auth_revision: u64,
}

/// User to add or to change. The hash is bcrypt, made at the edge, as etcd stores it; empty with `no_password`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct UserCredential {
    /// Name of the user.
    #[prost(string, tag = "1")]
    pub name: String,
    /// bcrypt hash. Never logged.
    #[prost(bytes = "bytes", tag = "2")]
    pub password_hash: Bytes,
    /// The user can only be authenticated by a certificate.
    #[prost(bool, tag = "3")]
    pub no_password: bool,
}

impl std::fmt::Debug for UserCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "UserCredential {{ name: {:?}, no_password: {} }}",
            self.name, self.no_password
        )
    }
}

/// A role and the user to grant it to, or to take it from.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UserRole {
    /// Name of the user.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Name of the role.
    #[prost(string, tag = "2")]
    pub role: String,
}

/// A permission and the role to grant it to, or to take it from.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RolePermission {
    /// Name of the role.
    #[prost(string, tag = "1")]
    pub role: String,
    /// The permission. Its type does not matter when it is taken away.
    #[prost(message, optional, tag = "2")]
    pub permission: Option<Permission>,
}

/// An operation without parameters, or a result without content.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Nothing {}

/// What a step of an import does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ImportAction {
    /// Takes the next block in.
    Append = 0,
    /// Makes everything visible.
    Commit = 1,
    /// Gives the import up.
    Abort = 2,
}

/// One step of an import. The first one begins it and replaces one that was never finished.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImportStep {
    /// Which import this belongs to: a random number, made at the edge.
    #[prost(uint64, tag = "1")]
    pub import: u64,
    /// Number of blocks before this step.
    #[prost(uint64, tag = "2")]
    pub position: u64,
    /// An [`ImportAction`].
    #[prost(enumeration = "ImportAction", tag = "3")]
    pub action: i32,
    /// A block of [`crate::ImportWriter`], to append.
    #[prost(bytes = "bytes", tag = "4")]
    pub block: Bytes,
}

/// An operation on one keyspace. A new operation is a new variant with a new tag; tags are never reused.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum KvOp {
    /// Puts a key.
    #[prost(message, tag = "1")]
    Put(PutRequest),
    /// Deletes a key or a range.
    #[prost(message, tag = "2")]
    DeleteRange(DeleteRangeRequest),
    /// Runs a transaction as one revision.
    #[prost(message, tag = "3")]
    Txn(TxnRequest),
    /// Moves the compact revision.
    #[prost(message, tag = "4")]
    Compact(CompactRequest),
    /// Grants a lease.
    #[prost(message, tag = "5")]
    LeaseGrant(LeaseGrantRequest),
    /// Ends a lease and deletes its keys.
    #[prost(message, tag = "6")]
    LeaseRevoke(LeaseRevokeRequest),
    /// Requires credentials from now on.
    #[prost(message, tag = "10")]
    AuthEnable(Nothing),
    /// Requires no credentials any more.
    #[prost(message, tag = "11")]
    AuthDisable(Nothing),
    /// Adds a user.
    #[prost(message, tag = "12")]
    UserAdd(UserCredential),
    /// Deletes a user, by name.
    #[prost(string, tag = "13")]
    UserDelete(String),
    /// Changes a user's password.
    #[prost(message, tag = "14")]
    UserChangePassword(UserCredential),
    /// Grants a role to a user.
    #[prost(message, tag = "15")]
    UserGrantRole(UserRole),
    /// Takes a role from a user.
    #[prost(message, tag = "16")]
    UserRevokeRole(UserRole),
    /// Adds a role, by name.
    #[prost(string, tag = "17")]
    RoleAdd(String),
    /// Deletes a role, by name, and takes it from its users.
    #[prost(string, tag = "18")]
    RoleDelete(String),
    /// Grants a permission to a role.
    #[prost(message, tag = "19")]
    RoleGrantPermission(RolePermission),
    /// Takes a permission from a role.
    #[prost(message, tag = "20")]
    RoleRevokePermission(RolePermission),
    /// One step of taking over the content of another store.
    #[prost(message, tag = "21")]
    Import(ImportStep),
    /// Asks for, raises or disarms alarms.
    #[prost(message, tag = "30")]
    Alarm(AlarmRequest),
}

/// Successful result of a [`KvOp`]; refusals are [`crate::KvError`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum KvResult {
    /// Result of a put.
    #[prost(message, tag = "1")]
    Put(PutResponse),
    /// Result of a deletion.
    #[prost(message, tag = "2")]
    DeleteRange(DeleteRangeResponse),
    /// Result of a transaction.
    #[prost(message, tag = "3")]
    Txn(TxnResponse),
    /// Compacted.
    #[prost(message, tag = "4")]
    Compact(Nothing),
    /// Result of granting a lease.
    #[prost(message, tag = "5")]
    LeaseGrant(LeaseGrantResponse),
    /// The lease has ended.
    #[prost(message, tag = "6")]
    LeaseRevoke(Nothing),
    /// Any operation on users, roles or authentication.
    #[prost(message, tag = "7")]
    Auth(Nothing),
    /// The step of an import is done.
    #[prost(message, tag = "8")]
    Import(Nothing),
    /// Alarms asked for, raised or disarmed.
    #[prost(message, tag = "30")]
    Alarm(AlarmResponse),
    /// A refusal, as the number of a [`crate::KvError`].
    #[prost(enumeration = "crate::KvError", tag = "15")]
    Refused(i32),
}

/// Reply to a [`KvOp`], with the keyspace's revision after it (the header revision of etcd's replies).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvReply {
    /// Revision of the keyspace after the operation.
    #[prost(int64, tag = "20")]
    pub revision: i64,
    /// Result or refusal; always present.
    #[prost(oneof = "KvResult", tags = "1, 2, 3, 4, 5, 6, 7, 8, 15, 30")]
    pub result: Option<KvResult>,
}
