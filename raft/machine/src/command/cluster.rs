//! What the cluster and its nodes say of themselves: beginnings, members, votes and reports. What people ask for is not here.

use bytes::Bytes;

use crate::model::*;

/// The first command of a cluster: who it is and what exists from the start.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Bootstrap {
    #[prost(message, required, tag = "1")]
    pub cluster_id: Id,
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<NodeRecord>,
    #[prost(message, required, tag = "3")]
    pub module_id: Id,
    #[prost(message, required, tag = "4")]
    pub namespace_id: Id,
    #[prost(message, required, tag = "5")]
    pub instance_id: Id,
    #[prost(message, required, tag = "6")]
    pub root_user_id: Id,
    /// argon2 hash of the console's root password.
    #[prost(string, tag = "7")]
    pub root_password_hash: String,
    /// bcrypt hashes of the KV users `root` and `mas`.
    #[prost(bytes = "bytes", tag = "8")]
    pub kv_root_password_hash: Bytes,
    #[prost(bytes = "bytes", tag = "9")]
    pub kv_sdk_password_hash: Bytes,
    #[prost(string, repeated, tag = "10")]
    pub feature_points: Vec<String>,
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bootstrap({}, nodes {:?})", self.cluster_id, self.nodes)
    }
}

/// The first command of a cluster that stands in for etcd: one open keyspace, no console user, no key of the machine's own.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BootstrapEtcd {
    /// Made by [`crate::etcd_numbered_cluster`].
    #[prost(message, required, tag = "1")]
    pub cluster_id: Id,
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<NodeRecord>,
    #[prost(message, required, tag = "3")]
    pub instance_id: Id,
    #[prost(message, required, tag = "4")]
    pub namespace_id: Id,
    /// 128 random bits that every member signs KV tokens with.
    #[prost(message, required, tag = "5")]
    pub token_secret: Id,
}

/// A node leaves the cluster; its id is never used again.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RemoveNode {
    #[prost(uint64, tag = "1")]
    pub node: u64,
}

/// A node was added or its addresses changed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpsertNode {
    #[prost(message, required, tag = "1")]
    pub node: NodeRecord,
    /// True for a node that joins with an id that nobody has had, false for another record of one that is there; refused where
    /// that is not so. Logs from before have neither: the record is set, whatever was there.
    #[prost(bool, optional, tag = "2")]
    pub new: Option<bool>,
    /// What a node says of itself: its role and its peer address stay as they are registered. It may have read them before
    /// they were changed.
    #[prost(bool, tag = "3")]
    pub keeps_place: bool,
}

/// First command of a term; automatic decisions hold until the leader has heard the workers.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaderStarted {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub node: u64,
}

/// The leader of `term` has heard this worker (once a term).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WorkerSeen {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub term: u64,
}

/// Three heartbeats of this worker were missed by the leader of `term`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WorkerLapsed {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub term: u64,
}

/// One vote of a worker, with its finding.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VoteReport {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    /// Generation of the monitor's configuration that was probed; another one is ignored.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(enumeration = "DataCenter", tag = "3")]
    pub data_center: i32,
    #[prost(enumeration = "Vote", tag = "4")]
    pub vote: i32,
    #[prost(enumeration = "FindingClass", tag = "5")]
    pub class: i32,
    /// The engine's own words, at most 512 bytes.
    #[prost(string, tag = "6")]
    pub text: String,
    /// Login refused before the first success: the side is `init-failed`.
    #[prost(bool, tag = "7")]
    pub never_logged_in: bool,
    /// How long before the report was sent the first failed attempt of this transition ended, milliseconds; for timelines.
    #[prost(uint32, tag = "8")]
    pub age_ms: u32,
    /// What ails the data source though it answers; each condition once.
    #[prost(message, repeated, tag = "105")]
    pub conditions: Vec<ConditionReport>,
}

/// Changed votes of one worker; with `full`, all of them (what is not named is `unknown`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReportHealth {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Rises with every report of an incarnation; a lower one is ignored.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    #[prost(message, repeated, tag = "4")]
    pub votes: Vec<VoteReport>,
    #[prost(bool, tag = "5")]
    pub full: bool,
}

/// Only time passed.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Tick {}

/// State hash of one node after it applied `index`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReportStateHash {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub index: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub hash: Bytes,
}
