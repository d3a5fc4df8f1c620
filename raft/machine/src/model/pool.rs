//! Connection pools and the read/write state, as SDKs see them.

use crate::model::*;

/// Load balance among read replicas (C10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LoadBalance {
    Random = 0,
    RoundRobin = 1,
}

impl LoadBalance {
    /// The spelling of SDK keys.
    pub const fn name(self) -> &'static str {
        match self {
            LoadBalance::Random => "RANDOM",
            LoadBalance::RoundRobin => "ROUND_ROBIN",
        }
    }
}

/// A data source that SDKs connect to (C10).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DataSource {
    #[prost(string, tag = "1")]
    pub name: String,
    /// `host:port`; MongoDB: several, with commas between them.
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(string, tag = "3")]
    pub schema: String,
}

/// One side of a connection pool (C10).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PoolSite {
    #[prost(message, required, tag = "1")]
    pub source: DataSource,
    #[prost(message, repeated, tag = "2")]
    pub replicas: Vec<DataSource>,
    #[prost(enumeration = "LoadBalance", tag = "3")]
    pub load_balance: i32,
    /// Availability zones (MongoDB).
    #[prost(string, repeated, tag = "4")]
    pub zones: Vec<String>,
}

/// Connection-pool configuration of a relational or MongoDB monitor (C10). Until it is saved no SDK key of the monitor exists.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConnectionPool {
    /// The connecting database, `{d}` of the SDK keys.
    #[prost(string, tag = "1")]
    pub database: String,
    #[prost(enumeration = "Routing", tag = "2")]
    pub routing: i32,
    #[prost(message, required, tag = "3")]
    pub dc1: PoolSite,
    #[prost(message, required, tag = "4")]
    pub dc2: PoolSite,
}

impl ConnectionPool {
    /// One side.
    pub fn site(&self, dc: DataCenter) -> &PoolSite {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }
}

/// Read/write state of one side (C9).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ReadWrite {
    #[prost(bool, tag = "1")]
    pub readable: bool,
    #[prost(bool, tag = "2")]
    pub writable: bool,
}
