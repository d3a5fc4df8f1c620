//! What only the node can make of an instance: password hashes, its authority, client certificates.

use bytes::Bytes;
use quorate_machine::{Id, Instance, Sealed};

use crate::context::EdgeFuture;

/// Passwords of a new instance's KV users, as typed.
#[derive(Clone)]
pub struct KvPasswords {
    /// Of `root`.
    pub root: String,
    /// Of `mas`, which SDKs use.
    pub sdk: String,
}

/// What a new instance begins with.
#[derive(Clone)]
pub struct InstanceSecrets {
    /// bcrypt hash of `root`'s password.
    pub kv_root_password_hash: Bytes,
    /// bcrypt hash of `mas`'s password.
    pub kv_sdk_password_hash: Bytes,
    /// Certificate of the instance's own authority, PEM.
    pub kv_ca: String,
    /// Its key, sealed.
    pub kv_ca_key: Sealed,
}

/// What a client needs for mutual TLS, in PEM.
#[derive(Clone)]
pub struct ClientFiles {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// Makes them.
pub trait InstanceKeys: Send + Sync + 'static {
    /// Hashes and authority of a new instance; the text says what went wrong.
    fn make(&self, instance: Id, passwords: KvPasswords) -> EdgeFuture<Result<InstanceSecrets, String>>;

    /// Hash of a KV user's password, as etcd stores it.
    fn hash(&self, password: String) -> EdgeFuture<Result<Bytes, String>>;

    /// A client certificate of the instance.
    fn client_files(&self, instance: &Instance) -> EdgeFuture<Result<ClientFiles, String>>;
}
