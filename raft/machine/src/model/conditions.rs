//! Sub-health: what ails a data source that answers. States of their own beside the five of C1.

use crate::model::FindingClass;

/// A sub-health (C20 `[+]`). It is shown and told; none of them is a vote, but for a failing write canary whose monitor says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Condition {
    Unspecified = 0,
    /// Too many connections: the server takes no new ones, of this account or at all.
    PoolExhausted = 1,
    /// Writes of ordinary accounts are refused; usual for a side that stands by.
    ReadOnly = 2,
    /// The write canary fails or gets no answer: the disk is full or stalled, or something holds all writes up.
    WritesFail = 3,
    /// The replica is further behind than the monitor's threshold.
    ReplicaLag = 4,
    /// The server replicates from another one, and the link or its applier stands still.
    ReplicationBroken = 5,
    /// An answer took half of the access timeout or longer.
    Slow = 6,
    /// The write canary cannot do its work: account, right, table or row is missing. Says nothing about the data source.
    CanaryUnable = 7,
}

impl Condition {
    /// Every sub-health.
    pub const ALL: [Condition; 7] = [
        Condition::PoolExhausted,
        Condition::ReadOnly,
        Condition::WritesFail,
        Condition::ReplicaLag,
        Condition::ReplicationBroken,
        Condition::Slow,
        Condition::CanaryUnable,
    ];

    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Condition::Unspecified => "unspecified",
            Condition::PoolExhausted => "pool-exhausted",
            Condition::ReadOnly => "read-only",
            Condition::WritesFail => "writes-fail",
            Condition::ReplicaLag => "replica-lag",
            Condition::ReplicationBroken => "replication-broken",
            Condition::Slow => "slow",
            Condition::CanaryUnable => "canary-unable",
        }
    }

    /// What a finding of an attempt says by itself.
    pub const fn of_finding(class: FindingClass) -> Option<Self> {
        match class {
            FindingClass::TooManyConnections => Some(Condition::PoolExhausted),
            FindingClass::ReadOnly => Some(Condition::ReadOnly),
            FindingClass::Slow => Some(Condition::Slow),
            FindingClass::WritesFail => Some(Condition::WritesFail),
            _ => None,
        }
    }
}

/// How far a replica is behind, in what its engine tells. At the moment of a report: what is true now, the nodes know.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ReplicaLag {
    #[prost(uint64, optional, tag = "1")]
    pub seconds: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub bytes: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub transactions: Option<u64>,
}

/// From where on a replica's lag is a sub-health. Lag never votes.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LagThreshold {
    /// Seconds; absent: [`DEFAULT_LAG_SECONDS`].
    #[prost(uint32, optional, tag = "1")]
    pub seconds: Option<u32>,
    /// Bytes, for engines that count them; absent: [`DEFAULT_LAG_BYTES`].
    #[prost(uint64, optional, tag = "2")]
    pub bytes: Option<u64>,
}

/// Lag in seconds that is a sub-health where the monitor says nothing.
pub const DEFAULT_LAG_SECONDS: u32 = 30;
/// Lag in bytes that is a sub-health where the monitor says nothing.
pub const DEFAULT_LAG_BYTES: u64 = 64 * 1024 * 1024;
/// Largest threshold in seconds: a day.
pub const MAX_LAG_SECONDS: u32 = 86_400;
/// Largest threshold in bytes: 1 TiB.
pub const MAX_LAG_BYTES: u64 = 1 << 40;

impl LagThreshold {
    /// The threshold in seconds that is in force.
    pub fn seconds_in_force(&self) -> u64 {
        self.seconds.unwrap_or(DEFAULT_LAG_SECONDS).into()
    }

    /// The threshold in bytes that is in force.
    pub fn bytes_in_force(&self) -> u64 {
        self.bytes.unwrap_or(DEFAULT_LAG_BYTES)
    }

    /// Whether `lag` is a sub-health. One that `stands` already is so until it is down at half of the threshold: a lag that
    /// hovers is no news at every attempt.
    pub fn is_passed_by(&self, lag: &ReplicaLag, stands: bool) -> bool {
        let divisor = if stands { 2 } else { 1 };
        let beyond = |value: Option<u64>, threshold: u64| value.is_some_and(|value| value > threshold / divisor);
        beyond(lag.seconds, self.seconds_in_force()) || beyond(lag.bytes, self.bytes_in_force())
    }
}

/// A sub-health as a worker reports it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConditionReport {
    #[prost(enumeration = "Condition", tag = "1")]
    pub condition: i32,
    /// The engine's own words, at most 256 bytes.
    #[prost(string, tag = "2")]
    pub text: String,
    /// Where it is about lag.
    #[prost(message, optional, tag = "3")]
    pub lag: Option<ReplicaLag>,
}

/// A sub-health of a side.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SideCondition {
    #[prost(enumeration = "Condition", tag = "1")]
    pub condition: i32,
    /// Since when some worker says so without a break.
    #[prost(uint64, tag = "2")]
    pub since_ms: u64,
    /// Wall time of the same moment.
    #[prost(int64, tag = "3")]
    pub since_wall_ms: i64,
    /// The first worker of those that say so now.
    #[prost(uint64, tag = "4")]
    pub node: u64,
    /// That worker's words.
    #[prost(string, tag = "5")]
    pub text: String,
    #[prost(message, optional, tag = "6")]
    pub lag: Option<ReplicaLag>,
}
