//! Dry run of a manual switch: what would change, or why it would be refused. It asks what the switch itself asks.

use crate::access::check_author;
use crate::audit::Change;
use crate::command::*;
use crate::live::*;
use crate::model::*;
use crate::reply::Refusal;
use crate::state::State;
use crate::switch::{check_batch, check_monitor, monitors_of};

/// What a switch would come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Why the whole batch would be refused: the first reason of its own or of one of its monitors.
    pub refusal: Option<Refusal>,
    /// One entry per monitor that exists, in the order asked for.
    pub monitors: Vec<PreviewMonitor>,
}

/// What a switch would come to for one monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewMonitor {
    pub monitor: Id,
    pub name: String,
    pub application: Id,
    pub from: DataCenter,
    pub to: DataCenter,
    pub dc1: SideState,
    pub dc2: SideState,
    /// Epoch that the switch would have.
    pub epoch: u64,
    pub refusal: Option<Refusal>,
    /// Fields that would change, before and after.
    pub changes: Vec<Change>,
}

/// Tries a switch without carrying it out.
pub fn preview_switch(state: &State, command: &Switch, principal: &Principal) -> Preview {
    let allowed = check_author(state, principal, &Command::Switch(command.clone()));
    if let Err(refusal) = allowed {
        return Preview {
            refusal: Some(refusal),
            monitors: Vec::new(),
        };
    }
    let to = command.to();
    let named = monitors_of(state, command).unwrap_or_default();
    let found = named.iter().filter_map(|id| state.monitor(id));
    let monitors: Vec<PreviewMonitor> = found.map(|monitor| preview(state, monitor, to, command)).collect();
    let batch = check_batch(state, command).err();
    let mut refusals = monitors.iter().filter_map(|monitor| monitor.refusal.clone());
    let something = monitors.iter().any(|monitor| monitor.refusal.is_none());
    let first = refusals.next().filter(|_| !(command.partial && something));
    Preview {
        refusal: batch.or(first),
        monitors,
    }
}

fn preview(state: &State, monitor: &MonitorRecord, to: DataCenter, command: &Switch) -> PreviewMonitor {
    let change = |field: &str, before: &str, after: &str| Change {
        field: field.to_owned(),
        before: before.to_owned(),
        after: after.to_owned(),
    };
    let refusal = check_monitor(state, monitor, to, command.force).err();
    let mut changes = Vec::new();
    if refusal.is_none() {
        changes.push(change("active", monitor.active().name(), to.name()));
        changes.push(change(
            "epoch",
            &monitor.epoch.to_string(),
            &(monitor.epoch + 1).to_string(),
        ));
        if command.restore_readable && !monitor.side(to).read_write.readable {
            changes.push(change(&format!("{}.readable", to.name()), "false", "true"));
        }
        if command.acknowledge && monitor.needs_acknowledgement {
            changes.push(change("needs_acknowledgement", "true", "false"));
        }
    }
    PreviewMonitor {
        monitor: monitor.id(),
        name: monitor.spec.name.clone(),
        application: monitor.application,
        from: monitor.active(),
        to,
        dc1: state.shown_state(monitor, DataCenter::Dc1),
        dc2: state.shown_state(monitor, DataCenter::Dc2),
        epoch: monitor.epoch + 1,
        refusal,
        changes,
    }
}
