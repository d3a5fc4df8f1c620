//! Instances and their ports (A5).

use crate::model::*;
use crate::text::cut;

/// Bytes of what a node says went wrong with a port.
const MAX_PROBLEM_BYTES: usize = 512;

/// The KV port of instance k is the first instance's port and this and k: 2400 + k beside 2379.
const INSTANCE_PORT_OFFSET: u16 = 21;

/// An instance: an isolated resource space with its own KV keyspace (A5).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Instance {
    #[prost(message, required, tag = "1")]
    pub meta: Meta,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub description: String,
    #[prost(message, required, tag = "4")]
    pub namespace: Id,
    /// Position k of the instance's KV port (1..=10); the bootstrapped instance is 1.
    #[prost(uint32, tag = "5")]
    pub ordinal: u32,
    /// Certificate of the instance's own authority, PEM. Empty for the bootstrapped instance, whose authority lies in the
    /// nodes' identity directories.
    #[prost(string, tag = "6")]
    pub kv_ca: String,
    /// Key of that authority in PEM, sealed as the field [`Instance::KV_CA_KEY`] of the instance.
    #[prost(message, optional, tag = "7")]
    pub kv_ca_key: Option<Sealed>,
    /// What nodes said of the instance's port, in order of node id.
    #[prost(message, repeated, tag = "8")]
    pub ports: Vec<InstancePort>,
    /// Datacenter-level automatic switch (D4): the loss of the primary site moves every monitor.
    #[prost(bool, tag = "70")]
    pub site_switch: bool,
}

/// What a user sets of an instance. Name: 1..=64 characters; description: at most 255.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InstanceSpec {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
}

/// An instance's port on one node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InstancePort {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// Why it is not open, in the system's own words; empty where it is.
    #[prost(string, tag = "2")]
    pub problem: String,
}

impl InstancePort {
    /// What `node` says of a port: an empty text where it is open. A longer text than 512 bytes is cut, here as in the state, so
    /// that a node can tell whether its word is known already.
    pub fn new(node: u64, problem: &str) -> Self {
        Self {
            node,
            problem: cut(problem, MAX_PROBLEM_BYTES),
        }
    }
}

/// State of an instance (A5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceStatus {
    /// Nodes are still opening its port.
    Creating,
    /// Its port is open on every node.
    Running,
    /// A node cannot open its port; the ports say why.
    Failed,
}

impl InstanceStatus {
    /// Stable code of the API.
    pub const fn code(self) -> &'static str {
        match self {
            InstanceStatus::Creating => "creating",
            InstanceStatus::Running => "running",
            InstanceStatus::Failed => "failed",
        }
    }
}

impl Instance {
    /// Field name that the authority's key is sealed under.
    pub const KV_CA_KEY: &'static str = "kv-ca-key";

    /// Address of the instance's KV port on a node, `host:port`; `None` if there is no such port: the node's own is too high.
    pub fn kv_address(&self, node: &NodeRecord) -> Option<String> {
        let (host, first) = node.kv.rsplit_once(':')?;
        let port = self.kv_port(first.parse().ok()?)?;
        Some(format!("{host}:{port}"))
    }

    /// The instance's KV port on a node whose first instance has the port `first`; `None` if that is too high.
    pub fn kv_port(&self, first: u16) -> Option<u16> {
        match self.ordinal {
            1 => Some(first),
            ordinal => first
                .checked_add(INSTANCE_PORT_OFFSET)?
                .checked_add(u16::try_from(ordinal).ok()?),
        }
    }
}
