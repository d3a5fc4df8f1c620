//! Commands about instances: their creation, edits and end, and what nodes say of their ports (A5, G3).

use bytes::Bytes;

use crate::model::*;

/// A further instance beside the bootstrapped one: a keyspace of its own with users `root` and `mas`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct CreateInstance {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(message, required, tag = "2")]
    pub namespace: Id,
    #[prost(message, required, tag = "3")]
    pub spec: InstanceSpec,
    /// bcrypt hashes of the KV users `root` and `mas`.
    #[prost(bytes = "bytes", tag = "4")]
    pub kv_root_password_hash: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub kv_sdk_password_hash: Bytes,
    /// The instance's own authority: certificate in PEM, and its key, sealed.
    #[prost(string, tag = "6")]
    pub kv_ca: String,
    #[prost(message, required, tag = "7")]
    pub kv_ca_key: Sealed,
}

impl std::fmt::Debug for CreateInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreateInstance({} {:?})", self.id, self.spec)
    }
}

/// Another name or description (A5.1).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateInstance {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(message, required, tag = "3")]
    pub spec: InstanceSpec,
}

/// Deletes an instance with everything in it (A5.6).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteInstance {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// The instance's name, typed once more.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// What became of an instance's port on a node; proposed when it changes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReportInstancePort {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    #[prost(message, required, tag = "2")]
    pub port: InstancePort,
}

/// Somebody is given a client certificate of an instance (A5.2). Who asks may have it once this is carried out; the certificate
/// itself is made beside the state.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct IssueClientCertificate {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
}
