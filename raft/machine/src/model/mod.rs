//! The objects of the registry, as commands carry them, snapshots store them and edges read them.

mod conditions;
mod instance;
mod monitor;
mod pool;
mod registry;
mod rules;
mod users;
mod votes;

pub use conditions::*;
pub use instance::*;
pub use monitor::*;
pub use pool::*;
pub use registry::*;
pub use rules::*;
pub use users::*;
pub use votes::*;

use bytes::Bytes;

/// Identifier of an object: a UUIDv7 made at the edge, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Id {
    #[prost(fixed64, tag = "1")]
    pub high: u64,
    #[prost(fixed64, tag = "2")]
    pub low: u64,
}

impl Id {
    /// From the 128 bits of a UUID.
    pub const fn from_u128(value: u128) -> Self {
        Self {
            high: (value >> 64) as u64,
            low: value as u64,
        }
    }

    /// The 128 bits of the UUID.
    pub const fn as_u128(self) -> u128 {
        ((self.high as u128) << 64) | self.low as u128
    }

    /// Parses 32 hexadecimal digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self::from_u128)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.as_u128())
    }
}

/// A secret sealed with the cluster key: key id, nonce and ciphertext in one string of bytes. Never shown.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Sealed {
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.bytes.len())
    }
}

/// What every object carries.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Meta {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    /// Counts the configuration's changes from 1; edits name the one they saw (ETag).
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(string, tag = "3")]
    pub owner: String,
    #[prost(string, tag = "4")]
    pub created_by: String,
    /// Wall clock of the leader at creation, milliseconds since the Unix epoch; for display only.
    #[prost(int64, tag = "5")]
    pub created_at_ms: i64,
}

/// One of the two data centers of a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DataCenter {
    Dc1 = 0,
    Dc2 = 1,
}

impl DataCenter {
    /// Both, in order.
    pub const ALL: [DataCenter; 2] = [DataCenter::Dc1, DataCenter::Dc2];

    /// The spelling of SDK keys and of the API.
    pub const fn name(self) -> &'static str {
        match self {
            DataCenter::Dc1 => "dc1",
            DataCenter::Dc2 => "dc2",
        }
    }

    /// The side's row in the table of a write canary.
    pub(crate) const fn row(self) -> u32 {
        match self {
            DataCenter::Dc1 => 1,
            DataCenter::Dc2 => 2,
        }
    }

    /// The side of a spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dc| dc.name() == name)
    }

    /// The opposite side.
    pub const fn other(self) -> Self {
        match self {
            DataCenter::Dc1 => DataCenter::Dc2,
            DataCenter::Dc2 => DataCenter::Dc1,
        }
    }
}

/// A member of the cluster as the state knows it: every node is a worker (a prober).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeRecord {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub zone: String,
    /// Addresses as `host:port`: peers, KV of the first instance, console.
    #[prost(string, tag = "4")]
    pub peer: String,
    #[prost(string, tag = "5")]
    pub kv: String,
    #[prost(string, tag = "6")]
    pub console: String,
    /// Which site the node stands for: `dc1`, `dc2` or `arbiter`.
    #[prost(string, tag = "7")]
    pub site: String,
    /// Stays a learner until it is promoted; otherwise it becomes a voter as soon as it has caught up.
    #[prost(bool, tag = "8")]
    pub learner: bool,
}

/// Feature points of the edition `same-city` that exist in this version.
pub const FEATURE_POINTS: [&str; 7] = [
    "mysql",
    "oracle",
    "postgresql",
    "redis",
    "mongodb",
    "elasticsearch",
    "api",
];

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "User({}, role {}, auth revision {})",
            self.name, self.role, self.auth_revision
        )
    }
}
