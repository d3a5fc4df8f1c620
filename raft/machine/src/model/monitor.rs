//! What a user sets of a monitor.

use super::conditions::LagThreshold;
use crate::kinds::MonitorKind;

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

/// Routing algorithm (C20, C23, C25); which ones a kind knows, its [`KindTraits`](crate::KindTraits) say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Routing {
    SingleReadWrite = 0,
    LocalReadSingleWrite = 1,
    SingleReadAsyncDoubleWrite = 2,
    LocalReadAsyncDoubleWrite = 3,
    LocalReadWrite = 4,
}

impl Routing {
    /// The spelling of SDK keys.
    pub const fn name(self) -> &'static str {
        match self {
            Routing::SingleReadWrite => "single-read-write",
            Routing::LocalReadSingleWrite => "local-read-single-write",
            Routing::SingleReadAsyncDoubleWrite => "single-read-async-double-write",
            Routing::LocalReadAsyncDoubleWrite => "local-read-async-double-write",
            Routing::LocalReadWrite => "local-read-write",
        }
    }
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
    /// From where on a replica's lag is shown as a sub-health; absent: the defaults.
    #[prost(message, optional, tag = "105")]
    pub lag_threshold: Option<LagThreshold>,
    #[prost(oneof = "MonitorKind", tags = "10, 11, 12, 13, 14, 15, 16")]
    pub kind: Option<MonitorKind>,
}
