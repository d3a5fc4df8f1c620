//! What keeps automatic switches from happening because somebody wants it so: the pause and maintenance windows.
//!
//! Both only withhold. Neither stops probing, votes, states, events, or switches by hand.

mod pause;
mod windows;

pub(crate) use pause::{forget_pause, set_pause};
pub use windows::{MAX_WINDOW_LEAD_MS, MAX_WINDOW_MS, MAX_WINDOWS};
pub(crate) use windows::{advance, create_window, delete_window, forget_object, next_change};

use crate::live::MonitorRecord;
use crate::model::*;
use crate::state::State;

/// Characters of the reason of a pause or a window.
const MAX_REASON_CHARS: usize = 1_000;

impl Scope {
    /// True if the scope takes the monitor in.
    pub fn covers(&self, monitor: &MonitorRecord) -> bool {
        match self.kind() {
            ScopeKind::Cluster => true,
            ScopeKind::Instance => monitor.instance == self.object,
            ScopeKind::Application => monitor.application == self.object,
            ScopeKind::Monitor => monitor.id() == self.object,
        }
    }
}

impl State {
    /// Pauses in force, the cluster's first.
    pub fn pauses(&self) -> impl Iterator<Item = &Pause> {
        self.pauses.values()
    }

    /// The pause of exactly this scope.
    pub fn pause(&self, scope: &Scope) -> Option<&Pause> {
        self.pauses.get(scope)
    }

    /// The pause that holds a monitor's automatic switches, the widest first.
    pub fn pause_of(&self, monitor: &MonitorRecord) -> Option<&Pause> {
        self.pauses.values().find(|pause| pause.scope.covers(monitor))
    }

    /// Maintenance windows that have not ended, in order of id (hence of creation).
    pub fn windows(&self) -> impl Iterator<Item = &MaintenanceWindow> {
        self.windows.values()
    }

    /// One maintenance window.
    pub fn window(&self, id: &Id) -> Option<&MaintenanceWindow> {
        self.windows.get(id)
    }

    /// The open window that holds a monitor's automatic switches.
    pub fn open_window_of(&self, monitor: &MonitorRecord) -> Option<&MaintenanceWindow> {
        self.windows
            .values()
            .find(|window| window.open && window.scope.covers(monitor))
    }

    /// The instance that a scope lies in; `None` for the cluster and for what does not exist.
    pub fn instance_of(&self, scope: &Scope) -> Option<Id> {
        match scope.kind() {
            ScopeKind::Cluster => None,
            ScopeKind::Instance => self.instance(&scope.object).map(|found| found.meta.id),
            ScopeKind::Application => self.application(&scope.object).map(|found| found.instance),
            ScopeKind::Monitor => self.monitor(&scope.object).map(|found| found.instance),
        }
    }
}
