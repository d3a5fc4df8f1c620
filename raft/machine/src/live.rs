//! Live state: what the cluster knows and decided, as opposed to what users configured (`model`).
//!
//! Every type here is a prost message because snapshots hold it as it is. Times named `_ms` are cluster time in
//! milliseconds unless they say wall time.

use crate::kinds::Thresholds;
pub use crate::live_sites::*;
use crate::model::*;

/// A monitor: configuration and live state together.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MonitorRecord {
    #[prost(message, required, tag = "1")]
    pub meta: Meta,
    #[prost(message, required, tag = "2")]
    pub instance: Id,
    #[prost(message, required, tag = "3")]
    pub application: Id,
    #[prost(message, required, tag = "4")]
    pub spec: MonitorSpec,
    /// Absent until saved; without it no SDK key of the monitor exists (C10).
    #[prost(message, optional, tag = "5")]
    pub pool: Option<ConnectionPool>,
    /// Generation of the last change that concerns probing. Probers put this one into their votes; a saved pool raises
    /// `meta.generation` alone, so that it discards no vote.
    #[prost(uint64, tag = "6")]
    pub probe_generation: u64,
    /// The data center that SDKs must use now.
    #[prost(enumeration = "DataCenter", tag = "7")]
    pub active: i32,
    /// Rises by one with every activation; 0 before the first.
    #[prost(uint64, tag = "8")]
    pub epoch: u64,
    #[prost(message, required, tag = "9")]
    pub dc1: Side,
    #[prost(message, required, tag = "10")]
    pub dc2: Side,
    /// The last switch, if there was one.
    #[prost(message, optional, tag = "11")]
    pub last_switch: Option<SwitchRecord>,
    /// Cluster time of the last automatic switch.
    #[prost(uint64, optional, tag = "12")]
    pub last_automatic_ms: Option<u64>,
    /// The last automatic switch has not been acknowledged by an operator (repeat block).
    #[prost(bool, tag = "13")]
    pub needs_acknowledgement: bool,
    /// Why an automatic switch that is due is withheld; `None` while none is due.
    #[prost(enumeration = "HoldReason", tag = "14")]
    pub withheld: i32,
    /// Repetitions of `active` still to be published, oldest first; at most six.
    #[prost(message, repeated, tag = "15")]
    pub republish: Vec<RepublishWork>,
}

impl MonitorRecord {
    /// Id of the monitor.
    pub fn id(&self) -> Id {
        self.meta.id
    }

    /// Wall time until which a source may stay locked at a side, the latest of all: engines that lock a source after a wrong
    /// password lock it for the right one too (C25). 0: none is known to be. A login that was let in is that node's next vote.
    pub fn source_locked_until_wall_ms(&self, dc: DataCenter) -> i64 {
        let lock_ms = self.spec.traits().map_or(0, |kind| kind.login_lock_ms);
        if lock_ms == 0 {
            return 0;
        }
        let refused = self
            .side(dc)
            .votes
            .iter()
            .filter(|vote| vote.class() == FindingClass::Auth);
        let ends = refused.map(|vote| vote.when_wall_ms.saturating_add(lock_ms.into()));
        ends.max().unwrap_or(0)
    }

    /// The active data center.
    pub fn active_dc(&self) -> DataCenter {
        self.active()
    }

    /// Live state of one side.
    pub fn side(&self, dc: DataCenter) -> &Side {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }

    pub(crate) fn side_mut(&mut self, dc: DataCenter) -> &mut Side {
        match dc {
            DataCenter::Dc1 => &mut self.dc1,
            DataCenter::Dc2 => &mut self.dc2,
        }
    }

    /// Feature point of the monitor's kind, for example `mysql`.
    pub fn kind_name(&self) -> &'static str {
        self.spec.kind_name()
    }

    /// True once the monitor's SDK keys exist: with its connection pool where the kind has one, else from the beginning;
    /// never for a kind without an active side.
    pub fn sdk_keys_published(&self) -> bool {
        self.spec.has_active_side() && (self.pool.is_some() || !self.spec.has_pool())
    }
}

/// One side of a monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Side {
    #[prost(enumeration = "SideState", tag = "1")]
    pub state: i32,
    /// Since when `state` holds.
    #[prost(uint64, tag = "2")]
    pub since_ms: u64,
    /// Wall time of the same moment, for display.
    #[prost(int64, tag = "3")]
    pub since_wall_ms: i64,
    /// Votes in order of node id, one per node at most.
    #[prost(message, repeated, tag = "4")]
    pub votes: Vec<NodeVote>,
    /// Since when the tally says failed; the monitor timeout runs from here.
    #[prost(uint64, optional, tag = "5")]
    pub failing_since_ms: Option<u64>,
    /// The side was healthy since its probed configuration last changed, and since it was last made active while it was
    /// not: only then it can become abnormal, and only then its failure moves anything (C5).
    #[prost(bool, tag = "6")]
    pub was_healthy: bool,
    /// Read/write state as published to SDKs (C9).
    #[prost(message, required, tag = "7")]
    pub read_write: ReadWrite,
    /// What ails the data source though it answers, in order of the condition.
    #[prost(message, repeated, tag = "105")]
    pub conditions: Vec<SideCondition>,
}

/// The vote of one worker on one side of a monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeVote {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(enumeration = "Vote", tag = "3")]
    pub vote: i32,
    #[prost(enumeration = "FindingClass", tag = "4")]
    pub class: i32,
    /// The engine's own words.
    #[prost(string, tag = "5")]
    pub text: String,
    #[prost(bool, tag = "6")]
    pub never_logged_in: bool,
    /// When the vote was applied.
    #[prost(uint64, tag = "7")]
    pub when_ms: u64,
    /// When the first attempt of the transition ended, as the node says (`when_ms` minus the reported age); timelines only.
    #[prost(uint64, tag = "8")]
    pub began_ms: u64,
    /// Wall time of `when_ms`.
    #[prost(int64, tag = "9")]
    pub when_wall_ms: i64,
    /// What ails the data source though it answers.
    #[prost(message, repeated, tag = "105")]
    pub conditions: Vec<ConditionReport>,
}

/// Phases of a switch (core contract 2). With the fence policy `none` a switch passes from planned to activated within
/// one `apply`, so that no other phase is ever stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SwitchPhase {
    /// The epoch is reserved; no key has changed.
    Planned = 0,
    /// The old side is being fenced, with a deadline.
    Fencing = 1,
    /// Keys, flags and epoch are in force.
    Activated = 2,
    /// Given up; the epoch stays used.
    Cancelled = 3,
}

impl SwitchPhase {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            SwitchPhase::Planned => "planned",
            SwitchPhase::Fencing => "fencing",
            SwitchPhase::Activated => "activated",
            SwitchPhase::Cancelled => "cancelled",
        }
    }
}

/// Why a switch happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SwitchCause {
    /// An operator asked for it and the target was healthy.
    Manual = 0,
    /// An operator forced it onto a target that was not healthy.
    Forced = 1,
    /// The cluster decided: the active source was abnormal (C5).
    SourceAbnormal = 2,
    /// The cluster decided: the primary site was lost (D4).
    SiteLost = 3,
}

impl SwitchCause {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            SwitchCause::Manual => "manual",
            SwitchCause::Forced => "manual-forced",
            SwitchCause::SourceAbnormal => "source-abnormal",
            SwitchCause::SiteLost => "site-lost",
        }
    }

    /// True for a failover.
    pub const fn automatic(self) -> bool {
        matches!(self, SwitchCause::SourceAbnormal | SwitchCause::SiteLost)
    }
}

/// A switch as it was carried out.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SwitchRecord {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(enumeration = "DataCenter", tag = "2")]
    pub from: i32,
    #[prost(enumeration = "DataCenter", tag = "3")]
    pub to: i32,
    #[prost(enumeration = "SwitchCause", tag = "4")]
    pub cause: i32,
    #[prost(enumeration = "SwitchPhase", tag = "5")]
    pub phase: i32,
    /// Log index of the entry that carried it out.
    #[prost(uint64, tag = "6")]
    pub index: u64,
    #[prost(uint64, tag = "7")]
    pub time_ms: u64,
    #[prost(int64, tag = "8")]
    pub wall_ms: i64,
    /// Who: `user:NAME` or `cluster`.
    #[prost(string, tag = "9")]
    pub actor: String,
    /// The operator's reason, if one was given.
    #[prost(string, tag = "10")]
    pub reason: String,
    /// Revision of the keyspace that carries it.
    #[prost(int64, tag = "11")]
    pub revision: i64,
    /// Automatic only: since when the tally of the old side said failed.
    #[prost(uint64, optional, tag = "12")]
    pub failing_since_ms: Option<u64>,
    /// Automatic only: the earliest failed attempt behind the votes, as the nodes say.
    #[prost(uint64, optional, tag = "13")]
    pub first_failure_ms: Option<u64>,
    /// Automatic only: leader of the term that carried it out.
    #[prost(uint64, tag = "14")]
    pub leader: u64,
}

/// What a repetition of `active` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RepublishCause {
    Switch = 0,
    LeaderChange = 1,
}

/// One repetition of `active` that is still to be published (SDK contract 3).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RepublishWork {
    #[prost(uint64, tag = "1")]
    pub work: u64,
    #[prost(uint64, tag = "2")]
    pub due_ms: u64,
    #[prost(enumeration = "RepublishCause", tag = "3")]
    pub cause: i32,
}

/// Why an automatic switch does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum HoldReason {
    /// Nothing is withheld.
    None = 0,
    /// The active source is not abnormal: nothing to do.
    SourceNotAbnormal = 1,
    /// dc2 is active: an automatic switch goes from dc1 to dc2 only; a manual switchback re-arms it.
    NotArmed = 2,
    ProbingOff = 3,
    AutomaticSwitchOff = 4,
    NoConnectionPool = 5,
    /// The source was never healthy with this configuration, or not since it was forced active.
    NeverHealthy = 6,
    /// The leader has not yet heard every worker of its term.
    LeaderSettling = 7,
    /// dc2 is not steadily healthy for enough workers.
    TargetNotSteady = 8,
    /// A second automatic switch within an hour waits for an acknowledgement.
    RepeatBlock = 9,
    /// The source is abnormal from before a break in the votes or an edit, and fails again: the monitor timeout runs anew.
    TimeoutRunning = 10,
    /// The kind has no active side: nothing is ever switched (C26).
    NoActiveSide = 20,
    /// All automatic switching of the cluster or the instance is paused.
    Paused = 70,
    /// A maintenance window is open.
    Maintenance = 71,
    /// No majority of the nodes has the same state: each would decide by its own.
    StatesDiffer = 72,
}

impl HoldReason {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            HoldReason::None => "none",
            HoldReason::SourceNotAbnormal => "source-not-abnormal",
            HoldReason::NotArmed => "not-armed",
            HoldReason::ProbingOff => "probing-off",
            HoldReason::AutomaticSwitchOff => "automatic-switch-off",
            HoldReason::NoConnectionPool => "no-connection-pool",
            HoldReason::NeverHealthy => "never-healthy",
            HoldReason::LeaderSettling => "leader-settling",
            HoldReason::TargetNotSteady => "target-not-steady",
            HoldReason::RepeatBlock => "repeat-block",
            HoldReason::TimeoutRunning => "timeout-running",
            HoldReason::NoActiveSide => "no-active-side",
            HoldReason::Paused => "paused",
            HoldReason::Maintenance => "maintenance",
            HoldReason::StatesDiffer => "states-differ",
        }
    }
}

/// The probing role of a node, as the log knows it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Worker {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Its heartbeats ran out: it is no voter until it is seen again.
    #[prost(bool, tag = "3")]
    pub lapsed: bool,
    /// The term whose leader has heard it last.
    #[prost(uint64, tag = "4")]
    pub seen_term: u64,
    /// Sequence of its last report.
    #[prost(uint64, tag = "5")]
    pub sequence: u64,
    /// When it was last seen, lapsed or reported.
    #[prost(uint64, tag = "6")]
    pub changed_ms: u64,
}

/// The disk of a node's data directory as the node reported it last.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct NodeDisk {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// Less is free than the node wants to keep.
    #[prost(bool, tag = "4")]
    pub short: bool,
    #[prost(uint64, tag = "5")]
    pub free_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub total_bytes: u64,
    /// When the report was applied.
    #[prost(uint64, tag = "7")]
    pub changed_ms: u64,
}

/// The present leadership.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Leadership {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub node: u64,
    /// When its `LeaderStarted` was applied.
    #[prost(uint64, tag = "3")]
    pub started_ms: u64,
}

/// Identity of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Cluster {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(message, required, tag = "2")]
    pub default_instance: Id,
    /// Wall time of the bootstrap.
    #[prost(int64, tag = "3")]
    pub created_at_ms: i64,
    /// Set in a cluster that stands in for etcd: what its members sign KV tokens with.
    #[prost(message, optional, tag = "4")]
    pub etcd_token_secret: Option<Id>,
    /// Highest id of a removed node that was numbered; 0 before the first.
    #[prost(uint64, tag = "5")]
    pub removed_up_to: u64,
}

/// Quotas in force (A1).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Quotas {
    #[prost(uint32, tag = "1")]
    pub namespaces: u32,
    #[prost(uint32, tag = "2")]
    pub instances: u32,
    #[prost(uint32, tag = "3")]
    pub applications_per_instance: u32,
    #[prost(uint32, tag = "4")]
    pub processes_per_application: u32,
    #[prost(uint32, tag = "5")]
    pub monitors_per_instance: u32,
}

impl Quotas {
    /// The defaults of A1.
    pub const DEFAULT: Quotas = Quotas {
        namespaces: 10,
        instances: 10,
        applications_per_instance: 200,
        processes_per_application: 400,
        monitors_per_instance: 100,
    };
}

/// Timing of a monitor as it is in force, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectiveTiming {
    pub retry_interval_ms: u32,
    pub monitor_timeout_ms: u32,
    pub access_timeout_ms: u32,
    /// Workers that must reach a side for it to count as healthy (C4).
    pub health_precision: u32,
    /// Kinds that count attempts (C26): how many in a row make a worker change its vote; the monitor timeout is 0 then.
    pub thresholds: Option<Thresholds>,
}

/// A state hash that a node reported.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HashReport {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(uint64, tag = "2")]
    pub node: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub hash: bytes::Bytes,
}
