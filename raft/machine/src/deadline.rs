//! When time alone changes something.

use crate::health::{LEADER_SETTLE_MS, REPEAT_BLOCK_MS};
use crate::live::*;
use crate::model::*;
use crate::state::State;
use crate::{sites, withhold};

/// Cluster time, milliseconds, at which the leader should propose a `Tick` although nothing else happened: the next
/// monitor timeout, end of a leader's settling or of a repeat block, begin or end of a maintenance window, loss of a silent
/// site, or republication.
///
/// A moment that has passed already is given while its `Tick` is still owed; a republication only while it lies ahead,
/// because an overdue one needs no `Tick` but the republication itself.
pub fn next_deadline(state: &State) -> Option<u64> {
    state
        .all_monitors()
        .filter_map(|monitor| monitor_deadline(state, monitor))
        .chain(withhold::next_change(state))
        .chain(sites::next_change(state))
        .min()
}

fn monitor_deadline(state: &State, monitor: &MonitorRecord) -> Option<u64> {
    let timeout = u64::from(state.effective_timing(monitor).monitor_timeout_ms);
    let timeouts = DataCenter::ALL.into_iter().filter_map(|dc| {
        let side = monitor.side(dc);
        let again = dc == DataCenter::Dc1 && monitor.withheld() == HoldReason::TimeoutRunning;
        let running = side.state() == SideState::Healthy || again;
        side.failing_since_ms
            .filter(|_| running)
            .map(|since| since.saturating_add(timeout))
    });
    let held = match monitor.withheld() {
        HoldReason::LeaderSettling => Some(state.leadership.started_ms.saturating_add(LEADER_SETTLE_MS)),
        HoldReason::RepeatBlock => monitor
            .last_automatic_ms
            .map(|last| last.saturating_add(REPEAT_BLOCK_MS)),
        _ => None,
    };
    let republish = monitor
        .republish
        .iter()
        .map(|work| work.due_ms)
        .filter(|due| *due > state.last_time_ms);
    timeouts.chain(held).chain(republish).min()
}
