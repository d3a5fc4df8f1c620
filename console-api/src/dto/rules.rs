//! Pauses, maintenance windows, the history of probes.

use quorate_machine::{Id, MaintenanceWindow, Pause, ProbeTransition, Scope, ScopeKind, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words::DataCenterName;
use super::{MetaView, rfc3339};

/// Pauses all automatic switching, or lifts the pause.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseBody {
    pub(crate) paused: bool,
    /// Why; required for a pause.
    #[serde(default)]
    pub(crate) reason: String,
}

/// Whether automatic switches happen at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SwitchingView {
    /// A pause is in force.
    pub(crate) paused: bool,
    /// Pauses in force, the cluster's first.
    pub(crate) pauses: Vec<PauseView>,
    /// Open maintenance windows.
    pub(crate) open_windows: usize,
}

/// A pause of all automatic switching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PauseView {
    /// `cluster` or `instance`.
    pub(crate) scope: String,
    /// The instance; absent for the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    pub(crate) reason: String,
    pub(crate) actor: String,
    pub(crate) since: String,
}

impl From<&Pause> for PauseView {
    fn from(pause: &Pause) -> Self {
        let instance = pause.scope.kind() == ScopeKind::Instance;
        Self {
            scope: pause.scope.kind().code().to_owned(),
            instance: instance.then(|| pause.scope.object.to_string()),
            reason: pause.reason.clone(),
            actor: pause.actor.clone(),
            since: rfc3339(pause.since_wall_ms),
        }
    }
}

impl SwitchingView {
    /// Of the whole cluster, or of what concerns an instance.
    pub(crate) fn new(state: &State, instance: Option<Id>) -> Self {
        let concerns =
            |scope: &Scope| instance.is_none() || *scope == Scope::CLUSTER || state.instance_of(scope) == instance;
        let pauses = state.pauses().filter(|pause| concerns(&pause.scope));
        let pauses: Vec<PauseView> = pauses.map(PauseView::from).collect();
        let open = state.windows().filter(|window| window.open && concerns(&window.scope));
        Self {
            paused: !pauses.is_empty(),
            pauses,
            open_windows: open.count(),
        }
    }
}

/// A maintenance window to be planned. At most one of `instance`, `application` and `monitor` says what it covers; without
/// one it covers the whole cluster.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowBody {
    /// Id of an instance, or `default`.
    #[serde(default)]
    pub(crate) instance: Option<String>,
    /// Id of an application.
    #[serde(default)]
    pub(crate) application: Option<String>,
    /// Id of a monitor.
    #[serde(default)]
    pub(crate) monitor: Option<String>,
    pub(crate) reason: String,
    /// RFC 3339 time; now when left out.
    #[serde(default)]
    pub(crate) start: Option<String>,
    /// RFC 3339 time; at most 30 days after the start.
    pub(crate) end: String,
}

/// A maintenance window that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct WindowView {
    #[serde(flatten)]
    pub(crate) meta: MetaView,
    /// `cluster`, `instance`, `application` or `monitor`.
    pub(crate) scope: String,
    /// What it covers; absent for the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
    pub(crate) reason: String,
    pub(crate) start: String,
    pub(crate) end: String,
    /// It has begun: automatic switches are withheld.
    pub(crate) open: bool,
}

impl From<&MaintenanceWindow> for WindowView {
    fn from(window: &MaintenanceWindow) -> Self {
        let object = window.scope != Scope::CLUSTER;
        Self {
            meta: MetaView::from(&window.meta),
            scope: window.scope.kind().code().to_owned(),
            object: object.then(|| window.scope.object.to_string()),
            reason: window.reason.clone(),
            start: rfc3339(window.start_wall_ms),
            end: rfc3339(window.end_wall_ms),
            open: window.open,
        }
    }
}

/// One step in a monitor's history: a node's vote changed, or the state of a data center did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TransitionView {
    /// Rises by one within the monitor.
    pub(crate) sequence: u64,
    pub(crate) at: String,
    /// Cluster time, milliseconds.
    pub(crate) time_ms: u64,
    /// Log index of the entry.
    pub(crate) index: u64,
    pub(crate) data_center: DataCenterName,
    /// Whose vote; absent where the state of the data center changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<u64>,
    /// `up`, `up-steady`, `down` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vote: Option<String>,
    /// Class of the finding, for example `refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finding: Option<String>,
    /// The state that the data center came to, for example `abnormal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// The engine's own words, cut to 128 bytes.
    pub(crate) text: String,
    /// Cluster time when the first attempt of the transition ended, as the node says, milliseconds.
    pub(crate) began_ms: u64,
}

impl From<&ProbeTransition> for TransitionView {
    fn from(step: &ProbeTransition) -> Self {
        let vote = step.node != 0;
        Self {
            sequence: step.sequence,
            at: rfc3339(step.wall_ms),
            time_ms: step.time_ms,
            index: step.index,
            data_center: step.data_center().into(),
            node: vote.then_some(step.node),
            vote: vote.then(|| step.vote().code().to_owned()),
            finding: vote.then(|| step.class().code().to_owned()),
            state: (!vote).then(|| step.state().code().to_owned()),
            text: step.text.clone(),
            began_ms: step.began_ms,
        }
    }
}
