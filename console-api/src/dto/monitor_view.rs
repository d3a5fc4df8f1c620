//! A monitor as the API shows it: configuration and live state per data center and node (C1, C7).

use quorate_machine::catalog::edge;
use quorate_machine::{DataCenter, HoldReason, MonitorRecord, NodeVote, Side, State, SwitchRecord};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::checks::{CheckView, checks};
use super::conditions::{ConditionView, SideConditionView, shown};
use super::kind::KindSections;
use super::monitor::{LagThresholdBody, TimingBody};
use super::pool::PoolBody;
use super::words::{DataCenterName, FencePolicyName};
use super::{MetaView, rfc3339};
use crate::language::text;

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
    /// As set; absent: the defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lag_threshold: Option<LagThresholdBody>,
    /// The section of the kind.
    #[serde(flatten)]
    pub(crate) sections: KindSections,
    /// Absent until saved; until then the monitor has no SDK keys and cannot be switched.
    pub(crate) connection_pool: Option<PoolBody>,
    /// The monitor's SDK keys are published: with its connection pool where the kind has one, else from the beginning.
    pub(crate) sdk_keys_published: bool,
    /// The data center that SDKs must use now; absent for kinds that never switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active: Option<DataCenterName>,
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

/// Live state of one data center of a monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SideView {
    /// `healthy`, `abnormal`, `init-failed`, `unconfigured` or `unreachable-control`.
    pub(crate) state: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// Absent for kinds without a read/write state (C9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) readable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writable: Option<bool>,
    /// The tally says failed and the monitor timeout is running.
    pub(crate) failing: bool,
    /// What ails the data source though it answers; empty when all is well.
    pub(crate) sub_health: Vec<SideConditionView>,
    /// A login was refused, and the source may stay locked until then, also for a password that was corrected meanwhile (C25).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_locked_until: Option<String>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
    /// What to look at while the side is not healthy, with the probers' own findings (C1); empty while it is.
    pub(crate) checks: Vec<CheckView>,
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
    /// What this node finds to ail the data source though it answers.
    pub(crate) sub_health: Vec<ConditionView>,
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
    /// `now_wall_ms` is the time of the answer: what has run out is not shown.
    pub(crate) fn new(state: &State, monitor: &MonitorRecord, now_wall_ms: i64) -> Self {
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
            lag_threshold: monitor.spec.lag_threshold.as_ref().map(LagThresholdBody::from),
            sections: monitor.spec.kind.as_ref().map(KindSections::of).unwrap_or_default(),
            connection_pool: monitor.pool.as_ref().map(PoolBody::from),
            sdk_keys_published: monitor.sdk_keys_published(),
            active: monitor.spec.has_active_side().then(|| monitor.active_dc().into()),
            epoch: monitor.epoch,
            dc1: side_view(state, monitor, DataCenter::Dc1, now_wall_ms),
            dc2: side_view(state, monitor, DataCenter::Dc2, now_wall_ms),
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

fn side_view(state: &State, monitor: &MonitorRecord, dc: DataCenter, now_wall_ms: i64) -> SideView {
    let side: &Side = monitor.side(dc);
    let flags = monitor.spec.has_read_write().then_some(side.read_write);
    let shown = state.shown_state(monitor, dc);
    let locked_until_wall_ms = monitor.source_locked_until_wall_ms(dc);
    let locked_until = (locked_until_wall_ms > now_wall_ms).then(|| rfc3339(locked_until_wall_ms));
    let until = locked_until
        .as_deref()
        .and_then(|until| until.get(11..16))
        .unwrap_or_default();
    SideView {
        state: shown.code().to_owned(),
        notice: locked_until
            .as_ref()
            .map(|_| text(edge::SOURCE_LOCKED, &[("time", &until)])),
        source_locked_until: locked_until,
        checks: if monitor.spec.probing {
            checks(shown, &side.votes)
        } else {
            Vec::new()
        },
        since: (side.since_wall_ms > 0).then(|| rfc3339(side.since_wall_ms)),
        readable: flags.map(|flags| flags.readable),
        writable: flags.map(|flags| flags.writable),
        failing: side.failing_since_ms.is_some(),
        sub_health: side.conditions.iter().map(SideConditionView::from).collect(),
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
        sub_health: vote.conditions.iter().map(shown).collect(),
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
