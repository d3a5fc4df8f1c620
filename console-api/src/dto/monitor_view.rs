//! A monitor as the API shows it: configuration and live state per data center and node (C1, C7).

use quorate_machine::{
    DataCenter, HoldReason, MonitorKind, MonitorRecord, NodeVote, RelationalSpec, Side, State, SwitchRecord,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::monitor::{SiteBody, TimingBody};
use super::pool::PoolBody;
use super::words::{DataCenterName, FencePolicyName};
use super::{MetaView, rfc3339};

/// A monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MonitorView {
    #[serde(flatten)]
    pub(crate) meta: MetaView,
    pub(crate) instance: String,
    pub(crate) application: String,
    pub(crate) name: String,
    /// Feature point, for example `mysql`.
    pub(crate) kind: String,
    pub(crate) notification: bool,
    pub(crate) probing: bool,
    pub(crate) automatic_switch: bool,
    pub(crate) timing: TimingBody,
    /// Timing as it is in force, global settings filled in.
    pub(crate) effective_timing: EffectiveTimingView,
    pub(crate) fence_policy: FencePolicyName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mysql: Option<MysqlView>,
    /// Absent until saved; until then the monitor has no SDK keys and cannot be switched.
    pub(crate) connection_pool: Option<PoolBody>,
    /// The data center that SDKs must use now.
    pub(crate) active: DataCenterName,
    /// Rises with every activation.
    pub(crate) epoch: u64,
    pub(crate) dc1: SideView,
    pub(crate) dc2: SideView,
    /// Why an automatic switch that is due is withheld; absent while none is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) withheld: Option<String>,
    /// What withholds automatic switches at present, whether one is due or not: `paused` or `maintenance`; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) switching_held: Option<String>,
    /// The last automatic switch has not been acknowledged: another one within an hour is withheld.
    pub(crate) needs_acknowledgement: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_switch: Option<SwitchRecordView>,
}

/// Timing in force, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EffectiveTimingView {
    pub(crate) retry_interval_ms: u32,
    pub(crate) monitor_timeout_ms: u32,
    pub(crate) access_timeout_ms: u32,
    /// Workers that must reach a side for it to count as healthy.
    pub(crate) health_precision: u32,
}

/// The MySQL part of a monitor, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MysqlView {
    pub(crate) user: String,
    /// A password is stored; it is never shown.
    pub(crate) password_set: bool,
    pub(crate) monitoring_database: String,
    pub(crate) connecting_database: String,
    pub(crate) dc1: SiteBody,
    pub(crate) dc2: SiteBody,
}

/// Live state of one data center of a monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SideView {
    /// `healthy`, `abnormal`, `init-failed`, `unconfigured` or `unreachable-control`.
    pub(crate) state: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The tally says failed and the monitor timeout is running.
    pub(crate) failing: bool,
    /// What each node says, in order of node id.
    pub(crate) votes: Vec<VoteView>,
}

/// What one node says of one data center.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct VoteView {
    pub(crate) node: u64,
    /// `up`, `up-steady`, `down` or `unknown`.
    pub(crate) vote: String,
    /// Class of the finding, for example `refused`.
    pub(crate) finding: String,
    /// The engine's own words.
    pub(crate) text: String,
    /// When the vote was counted.
    pub(crate) at: String,
    /// Cluster time of the same moment, milliseconds.
    pub(crate) time_ms: u64,
    /// Cluster time when the first attempt of the transition ended, as the node says, milliseconds.
    pub(crate) began_ms: u64,
    /// The node's heartbeats have run out: it is no voter.
    pub(crate) lapsed: bool,
}

/// A switch as it was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SwitchRecordView {
    pub(crate) epoch: u64,
    pub(crate) from: DataCenterName,
    pub(crate) to: DataCenterName,
    /// `manual`, `manual-forced`, `source-abnormal` or `site-lost`.
    pub(crate) cause: String,
    pub(crate) phase: String,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) at: String,
    /// Cluster time, milliseconds.
    pub(crate) time_ms: u64,
    /// Log index of the decision.
    pub(crate) index: u64,
    /// Revision of the keyspace that carries it.
    pub(crate) revision: i64,
    /// Automatic only: since when the old side counted as failed, cluster time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since_ms: Option<u64>,
    /// Automatic only: the earliest failed attempt behind the votes, cluster time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_failure_ms: Option<u64>,
    /// Automatic only: the leader that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<u64>,
}

impl MonitorView {
    pub(crate) fn new(state: &State, monitor: &MonitorRecord) -> Self {
        let timing = state.effective_timing(monitor);
        Self {
            meta: MetaView::from(&monitor.meta),
            instance: monitor.instance.to_string(),
            application: monitor.application.to_string(),
            name: monitor.spec.name.clone(),
            kind: monitor.kind_name().to_owned(),
            notification: monitor.spec.notification,
            probing: monitor.spec.probing,
            automatic_switch: monitor.spec.automatic_switch,
            timing: TimingBody::from(&monitor.spec.timing),
            effective_timing: EffectiveTimingView {
                retry_interval_ms: timing.retry_interval_ms,
                monitor_timeout_ms: timing.monitor_timeout_ms,
                access_timeout_ms: timing.access_timeout_ms,
                health_precision: timing.health_precision,
            },
            fence_policy: monitor.spec.fence_policy().into(),
            mysql: match &monitor.spec.kind {
                Some(MonitorKind::Mysql(spec)) => Some(MysqlView::from(spec)),
                _ => None,
            },
            connection_pool: monitor.pool.as_ref().map(PoolBody::from),
            active: monitor.active_dc().into(),
            epoch: monitor.epoch,
            dc1: side_view(state, monitor, DataCenter::Dc1),
            dc2: side_view(state, monitor, DataCenter::Dc2),
            withheld: (monitor.withheld() != HoldReason::None).then(|| monitor.withheld().code().to_owned()),
            switching_held: if state.pause_of(monitor).is_some() {
                Some(HoldReason::Paused.code().to_owned())
            } else {
                let window = state.open_window_of(monitor);
                window.map(|_| HoldReason::Maintenance.code().to_owned())
            },
            needs_acknowledgement: monitor.needs_acknowledgement,
            last_switch: monitor.last_switch.as_ref().map(SwitchRecordView::from),
        }
    }
}

impl From<&RelationalSpec> for MysqlView {
    fn from(spec: &RelationalSpec) -> Self {
        Self {
            user: spec.user.clone(),
            password_set: spec.password.is_some(),
            monitoring_database: spec.monitoring_database.clone(),
            connecting_database: spec.connecting_database.clone(),
            dc1: SiteBody::from(&spec.dc1),
            dc2: SiteBody::from(&spec.dc2),
        }
    }
}

fn side_view(state: &State, monitor: &MonitorRecord, dc: DataCenter) -> SideView {
    let side: &Side = monitor.side(dc);
    SideView {
        state: state.shown_state(monitor, dc).code().to_owned(),
        since: (side.since_wall_ms > 0).then(|| rfc3339(side.since_wall_ms)),
        readable: side.read_write.readable,
        writable: side.read_write.writable,
        failing: side.failing_since_ms.is_some(),
        votes: side.votes.iter().map(|vote| vote_view(state, vote)).collect(),
    }
}

fn vote_view(state: &State, vote: &NodeVote) -> VoteView {
    VoteView {
        node: vote.node,
        vote: vote.vote().code().to_owned(),
        finding: vote.class().code().to_owned(),
        text: vote.text.clone(),
        at: rfc3339(vote.when_wall_ms),
        time_ms: vote.when_ms,
        began_ms: vote.began_ms,
        lapsed: state.worker(vote.node).is_none_or(|worker| worker.lapsed),
    }
}

impl From<&SwitchRecord> for SwitchRecordView {
    fn from(record: &SwitchRecord) -> Self {
        Self {
            epoch: record.epoch,
            from: record.from().into(),
            to: record.to().into(),
            cause: record.cause().code().to_owned(),
            phase: record.phase().code().to_owned(),
            actor: record.actor.clone(),
            reason: record.reason.clone(),
            at: rfc3339(record.wall_ms),
            time_ms: record.time_ms,
            index: record.index,
            revision: record.revision,
            failing_since_ms: record.failing_since_ms,
            first_failure_ms: record.first_failure_ms,
            leader: (record.leader != 0).then_some(record.leader),
        }
    }
}
