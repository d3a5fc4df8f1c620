//! Events (F1): what happened to data sources, workers and leadership, as code and parameters. Texts come from `catalog`.

use crate::apply::Context;
use crate::model::Id;
use crate::reply::Param;
use crate::ring::RingRecord;
use crate::state::State;

/// Events kept in the state.
pub const MAX_EVENTS_RECORDS: usize = 50_000;

/// Level of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Level {
    Info = 0,
    Minor = 1,
    Major = 2,
    Critical = 3,
}

impl Level {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Minor => "minor",
            Level::Major => "major",
            Level::Critical => "critical",
        }
    }
}

/// Codes of events. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EventCode {
    Unspecified = 0,
    ClusterBootstrapped = 1,
    DatabaseAbnormal = 2,
    DatabaseRecovered = 3,
    MonitorInitFailed = 4,
    MonitorStarted = 5,
    LoginRefused = 6,
    Failover = 7,
    FailoverWithheld = 8,
    Switchover = 9,
    Switchback = 10,
    WorkerLapsed = 11,
    WorkerSeen = 12,
    LeaderChanged = 13,
    StateDiverged = 14,
    Acknowledged = 15,
    /// No majority of the nodes has the same state: writes of clients are refused.
    StateHashMajorityLost = 40,
    KeyspaceFull = 41,
    DiskShort = 42,
    DiskRecovered = 43,
    SwitchingPaused = 70,
    SwitchingResumed = 71,
    MaintenanceBegun = 72,
    MaintenanceEnded = 73,
    PartitionStateChanged = 74,
    SiteSwitchSet = 75,
    NodeDeparting = 76,
    NodeReturned = 77,
    /// A data source answers, and something ails it.
    SubHealthBegan = 105,
    SubHealthEnded = 106,
    InstanceFailed = 110,
}

impl EventCode {
    /// Every code that is produced.
    pub const ALL: [EventCode; 30] = [
        EventCode::ClusterBootstrapped,
        EventCode::DatabaseAbnormal,
        EventCode::DatabaseRecovered,
        EventCode::MonitorInitFailed,
        EventCode::MonitorStarted,
        EventCode::LoginRefused,
        EventCode::Failover,
        EventCode::FailoverWithheld,
        EventCode::Switchover,
        EventCode::Switchback,
        EventCode::WorkerLapsed,
        EventCode::WorkerSeen,
        EventCode::LeaderChanged,
        EventCode::StateDiverged,
        EventCode::Acknowledged,
        EventCode::StateHashMajorityLost,
        EventCode::KeyspaceFull,
        EventCode::DiskShort,
        EventCode::DiskRecovered,
        EventCode::SwitchingPaused,
        EventCode::SwitchingResumed,
        EventCode::MaintenanceBegun,
        EventCode::MaintenanceEnded,
        EventCode::PartitionStateChanged,
        EventCode::SiteSwitchSet,
        EventCode::NodeDeparting,
        EventCode::NodeReturned,
        EventCode::SubHealthBegan,
        EventCode::SubHealthEnded,
        EventCode::InstanceFailed,
    ];

    /// Stable code of the API.
    pub const fn code(self) -> &'static str {
        match self {
            EventCode::Unspecified => "unspecified",
            EventCode::ClusterBootstrapped => "cluster-bootstrapped",
            EventCode::DatabaseAbnormal => "database-abnormal",
            EventCode::DatabaseRecovered => "database-recovered",
            EventCode::MonitorInitFailed => "monitor-init-failed",
            EventCode::MonitorStarted => "monitor-started",
            EventCode::LoginRefused => "login-refused",
            EventCode::Failover => "failover",
            EventCode::FailoverWithheld => "failover-withheld",
            EventCode::Switchover => "switchover",
            EventCode::Switchback => "switchback",
            EventCode::WorkerLapsed => "worker-lapsed",
            EventCode::WorkerSeen => "worker-seen",
            EventCode::LeaderChanged => "leader-changed",
            EventCode::StateDiverged => "state-diverged",
            EventCode::Acknowledged => "acknowledged",
            EventCode::StateHashMajorityLost => "state-hash-majority-lost",
            EventCode::KeyspaceFull => "keyspace-full",
            EventCode::DiskShort => "disk-short",
            EventCode::DiskRecovered => "disk-recovered",
            EventCode::SwitchingPaused => "switching-paused",
            EventCode::SwitchingResumed => "switching-resumed",
            EventCode::MaintenanceBegun => "maintenance-begun",
            EventCode::MaintenanceEnded => "maintenance-ended",
            EventCode::PartitionStateChanged => "partition-state-changed",
            EventCode::SiteSwitchSet => "site-switch-set",
            EventCode::NodeDeparting => "node-departing",
            EventCode::NodeReturned => "node-returned",
            EventCode::SubHealthBegan => "sub-health-began",
            EventCode::SubHealthEnded => "sub-health-ended",
            EventCode::InstanceFailed => "instance-failed",
        }
    }

    /// Level (F1).
    pub const fn level(self) -> Level {
        match self {
            EventCode::DatabaseAbnormal
            | EventCode::StateDiverged
            | EventCode::StateHashMajorityLost
            | EventCode::KeyspaceFull
            | EventCode::DiskShort => Level::Critical,
            EventCode::DatabaseRecovered
            | EventCode::Failover
            | EventCode::FailoverWithheld
            | EventCode::Switchover
            | EventCode::Switchback
            | EventCode::WorkerLapsed
            | EventCode::DiskRecovered
            | EventCode::SwitchingPaused
            | EventCode::SwitchingResumed
            | EventCode::PartitionStateChanged
            | EventCode::InstanceFailed
            | EventCode::SiteSwitchSet
            | EventCode::SubHealthBegan => Level::Major,
            EventCode::MonitorInitFailed
            | EventCode::LoginRefused
            | EventCode::MaintenanceBegun
            | EventCode::MaintenanceEnded => Level::Minor,
            _ => Level::Info,
        }
    }
}

/// One event.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EventRecord {
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// Log index of the entry that caused it.
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// Cluster time, milliseconds.
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
    /// Wall time, milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub wall_ms: i64,
    #[prost(enumeration = "EventCode", tag = "5")]
    pub code: i32,
    #[prost(message, optional, tag = "6")]
    pub instance: Option<Id>,
    #[prost(message, optional, tag = "7")]
    pub application: Option<Id>,
    #[prost(message, optional, tag = "8")]
    pub monitor: Option<Id>,
    #[prost(message, repeated, tag = "9")]
    pub params: Vec<Param>,
    #[prost(enumeration = "Level", tag = "10")]
    pub level: i32,
}

impl RingRecord for EventRecord {
    fn sequence(&self) -> u64 {
        self.sequence
    }
    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}

/// Records an event of the cluster, or of `monitor` if one is given.
pub(crate) fn record(
    state: &mut State,
    context: &mut Context<'_>,
    code: EventCode,
    monitor: Option<Id>,
    params: Vec<Param>,
) {
    let of = monitor.and_then(|id| state.monitor(&id));
    let (instance, application) = (of.map(|m| m.instance), of.map(|m| m.application));
    push(state, context, code, (instance, application, monitor), params);
}

/// Records an event of an instance, or of the cluster if none is given.
pub(crate) fn record_of_instance(
    state: &mut State,
    context: &mut Context<'_>,
    code: EventCode,
    instance: Option<Id>,
    params: Vec<Param>,
) {
    push(state, context, code, (instance, None, None), params);
}

fn push(
    state: &mut State,
    context: &mut Context<'_>,
    code: EventCode,
    (instance, application, monitor): (Option<Id>, Option<Id>, Option<Id>),
    params: Vec<Param>,
) {
    state.events.push(EventRecord {
        sequence: 0,
        index: context.index,
        time_ms: context.now_ms,
        wall_ms: context.wall_ms,
        code: code as i32,
        instance,
        application,
        monitor,
        params,
        level: code.level() as i32,
    });
    context.wake.events = true;
}
