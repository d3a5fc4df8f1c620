//! What a user sets of a monitor.

use crate::model::*;

/// Timing of one monitor (C3); an absent field means the global setting of its kind. Milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timing {
    #[prost(uint32, optional, tag = "1")]
    pub retry_interval_ms: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub monitor_timeout_ms: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub access_timeout_ms: Option<u32>,
    /// Accept values below the reference's minimum (C3, fast profile).
    #[prost(bool, tag = "4")]
    pub fast_profile: bool,
}

/// Routing algorithm of relational kinds (C20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Routing {
    SingleReadWrite = 0,
    LocalReadSingleWrite = 1,
}

impl Routing {
    /// The spelling of SDK keys.
    pub const fn name(self) -> &'static str {
        match self {
            Routing::SingleReadWrite => "single-read-write",
            Routing::LocalReadSingleWrite => "local-read-single-write",
        }
    }
}

/// One side of a relational monitor (C20). Addresses are `host:port`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RelationalSite {
    #[prost(string, tag = "1")]
    pub cloud: String,
    #[prost(string, tag = "2")]
    pub region: String,
    #[prost(string, tag = "3")]
    pub address: String,
    #[prost(string, repeated, tag = "4")]
    pub replicas: Vec<String>,
}

/// A MySQL monitor (C20): the account and the monitoring database are the same on both sides.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MysqlSpec {
    #[prost(string, tag = "1")]
    pub user: String,
    /// Absent in an edit that keeps the present password.
    #[prost(message, optional, tag = "2")]
    pub password: Option<Sealed>,
    #[prost(string, tag = "3")]
    pub monitoring_database: String,
    #[prost(string, tag = "4")]
    pub connecting_database: String,
    #[prost(message, required, tag = "5")]
    pub dc1: RelationalSite,
    #[prost(message, required, tag = "6")]
    pub dc2: RelationalSite,
}

impl MysqlSpec {
    /// One side.
    pub fn site(&self, dc: DataCenter) -> &RelationalSite {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }
}

/// What a monitor probes. A further kind is a further variant.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum MonitorKind {
    #[prost(message, tag = "10")]
    Mysql(MysqlSpec),
}

/// How the old side is fenced before the new one becomes active (core contract 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FencePolicy {
    None = 0,
    Try = 1,
    Require = 2,
}

/// What a user sets of a monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MonitorSpec {
    /// `{kind}-` + 10 of a–z0–9 when left empty (generated at the edge); fixed after creation.
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bool, tag = "2")]
    pub notification: bool,
    #[prost(bool, tag = "3")]
    pub probing: bool,
    #[prost(bool, tag = "4")]
    pub automatic_switch: bool,
    #[prost(message, required, tag = "5")]
    pub timing: Timing,
    #[prost(enumeration = "FencePolicy", tag = "6")]
    pub fence_policy: i32,
    #[prost(oneof = "MonitorKind", tags = "10")]
    pub kind: Option<MonitorKind>,
}

impl MonitorSpec {
    /// Feature point of the kind, for example `mysql`; empty where no kind is given (such a spec is refused).
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Some(MonitorKind::Mysql(_)) => "mysql",
            None => "",
        }
    }

    /// The MySQL part, if that is the kind.
    pub fn mysql(&self) -> Option<&MysqlSpec> {
        match &self.kind {
            Some(MonitorKind::Mysql(mysql)) => Some(mysql),
            None => None,
        }
    }
}
