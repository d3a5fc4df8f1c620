//! Switches, acknowledgement and read/write state (B2, C5, C9).

use quorate_machine::catalog::edge;
use quorate_machine::{DataCenter, Id, LeftOutMonitor, Preview, PreviewMonitor, Refusal, Switch, SwitchedReply};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::measure::{Headroom, SidePreviewView};
use super::record::ChangeView;
use super::words::DataCenterName;
use crate::language::text;
use crate::limits::MAX_SWITCH_MONITORS;
use crate::problem::Problem;

/// How a switch is made; part of every switch body.
#[derive(Debug, Clone)]
pub(crate) struct SwitchOptions {
    pub(crate) to: DataCenterName,
    pub(crate) dry_run: bool,
    force: bool,
    reason: String,
    acknowledge: bool,
    restore_readable: bool,
    partial: bool,
}

/// Declares a switch body: the common fields, and what one body has beside them. Flattening would lose the refusal of
/// unknown fields.
macro_rules! switch_body {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: $type,)*
            /// The data center to become active.
            to: DataCenterName,
            /// Only tell what would change.
            #[serde(default)]
            dry_run: bool,
            /// Accept a target that is not healthy; needs a reason.
            #[serde(default)]
            force: bool,
            /// Why; kept in the audit record.
            #[serde(default)]
            reason: String,
            /// Acknowledge the last automatic switch as well, so that the next one is not withheld.
            #[serde(default)]
            acknowledge: bool,
            /// Make the target readable again in the same revision (after a failover it is not).
            #[serde(default)]
            restore_readable: bool,
            /// Leave out the monitors that stand against it and name them, instead of refusing the whole.
            #[serde(default)]
            partial: bool,
        }

        impl $name {
            /// The common part.
            pub(crate) fn options(&self) -> SwitchOptions {
                SwitchOptions {
                    to: self.to,
                    dry_run: self.dry_run,
                    force: self.force,
                    reason: self.reason.clone(),
                    acknowledge: self.acknowledge,
                    restore_readable: self.restore_readable,
                    partial: self.partial,
                }
            }
        }
    };
}

switch_body! {
    /// A switch of one monitor.
    MonitorSwitchBody {}
}
switch_body! {
    /// A switch of all monitors of an application.
    ApplicationSwitchBody {}
}
switch_body! {
    /// A switch of several monitors: all of them in one revision, or none.
    MonitorsSwitchBody {
        /// Ids of the monitors.
        monitors: Vec<String>,
    }
}

impl MonitorsSwitchBody {
    /// The ids; 422 for an empty, too long or malformed list.
    pub(crate) fn ids(&self) -> Result<Vec<Id>, Problem> {
        if self.monitors.is_empty() || self.monitors.len() > MAX_SWITCH_MONITORS {
            let detail = text(edge::BATCH_SIZE, &[("maximum", &MAX_SWITCH_MONITORS)]);
            return Err(Problem::field("/monitors", "out-of-range", detail));
        }
        let parse = |(position, id): (usize, &String)| {
            let detail = text(edge::BAD_ID, &[]);
            Id::parse(id).ok_or_else(|| Problem::field(&format!("/monitors/{position}"), "bad-id", detail))
        };
        self.monitors.iter().enumerate().map(parse).collect()
    }
}

impl SwitchOptions {
    /// The machine's command for these monitors.
    pub(crate) fn command(self, monitors: Vec<Id>) -> Switch {
        Switch {
            monitors,
            to: DataCenter::from(self.to) as i32,
            force: self.force,
            reason: self.reason,
            acknowledge: self.acknowledge,
            restore_readable: self.restore_readable,
            application: None,
            partial: self.partial,
        }
    }

    /// The machine's command for an application: the machine finds its monitors.
    pub(crate) fn command_for(self, application: Id) -> Switch {
        Switch {
            application: Some(application),
            ..self.command(Vec::new())
        }
    }
}

/// What a switch did, or with `dry_run` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SwitchView {
    pub(crate) dry_run: bool,
    /// Nothing stands against it, or it was carried out.
    pub(crate) allowed: bool,
    /// Revision of the keyspace that carries the whole batch; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<i64>,
    pub(crate) to: DataCenterName,
    /// Why the batch as a whole would be refused; only in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<Problem>,
    pub(crate) monitors: Vec<SwitchedMonitorView>,
    /// What a partial switch left out, and why; in a dry run see the previews.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_out: Vec<LeftOutView>,
    /// SDK processes that are connected for the applications concerned, which would follow; only in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connected_processes: Option<usize>,
}

/// A monitor that a partial switch left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LeftOutView {
    pub(crate) monitor: String,
    pub(crate) name: String,
    pub(crate) refusal: Problem,
}

/// One monitor of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SwitchedMonitorView {
    pub(crate) monitor: String,
    /// Epoch of the activation.
    pub(crate) epoch: u64,
    /// What would change; only in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preview: Option<MonitorPreviewView>,
}

/// What a switch would come to for one monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MonitorPreviewView {
    pub(crate) name: String,
    pub(crate) application: String,
    pub(crate) from: DataCenterName,
    /// State of the two sides now.
    pub(crate) dc1: String,
    pub(crate) dc2: String,
    /// Fields that would change.
    pub(crate) changes: Vec<ChangeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<Problem>,
    /// The side that is active now, as probers see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<SidePreviewView>,
    /// The side that would become active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<SidePreviewView>,
    /// Whether the target has room for as many connections as the source has now.
    pub(crate) headroom: Headroom,
    /// What to know before the switch; nothing of it forbids one.
    pub(crate) warnings: Vec<String>,
}

impl SwitchView {
    /// A switch that was carried out.
    pub(crate) fn carried_out(to: DataCenterName, reply: &SwitchedReply) -> Self {
        let monitors = reply.monitors.iter().map(|switched| SwitchedMonitorView {
            monitor: switched.monitor.to_string(),
            epoch: switched.epoch,
            preview: None,
        });
        Self {
            dry_run: false,
            allowed: true,
            revision: Some(reply.revision),
            to,
            refusal: None,
            monitors: monitors.collect(),
            left_out: reply.left_out.iter().map(left_out).collect(),
            connected_processes: None,
        }
    }

    /// A dry run.
    pub(crate) fn preview(to: DataCenterName, preview: &Preview) -> Self {
        Self {
            dry_run: true,
            allowed: preview.refusal.is_none(),
            revision: None,
            to,
            refusal: preview.refusal.as_ref().map(|refusal: &Refusal| Problem::from(refusal)),
            monitors: preview.monitors.iter().map(previewed).collect(),
            left_out: Vec::new(),
            connected_processes: None,
        }
    }
}

fn left_out(left: &LeftOutMonitor) -> LeftOutView {
    LeftOutView {
        monitor: left.monitor.to_string(),
        name: left.name.clone(),
        refusal: Problem::from(&left.refusal),
    }
}

fn previewed(monitor: &PreviewMonitor) -> SwitchedMonitorView {
    SwitchedMonitorView {
        monitor: monitor.monitor.to_string(),
        epoch: monitor.epoch,
        preview: Some(MonitorPreviewView {
            name: monitor.name.clone(),
            application: monitor.application.to_string(),
            from: monitor.from.into(),
            dc1: monitor.dc1.code().to_owned(),
            dc2: monitor.dc2.code().to_owned(),
            changes: monitor.changes.iter().map(ChangeView::from).collect(),
            refusal: monitor.refusal.as_ref().map(Problem::from),
            source: None,
            target: None,
            headroom: Headroom::Unknown,
            warnings: Vec::new(),
        }),
    }
}

/// Read/write state of one data center, as published to SDKs.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadWriteBody {
    pub(crate) data_center: DataCenterName,
    pub(crate) readable: bool,
    /// Honoured only by the Java database SDK from 1.2.6-RELEASE on.
    pub(crate) writable: bool,
}

/// An acknowledgement of the last automatic switch.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcknowledgeBody {
    /// What was found; kept in the audit record.
    #[serde(default)]
    pub(crate) comment: String,
}
