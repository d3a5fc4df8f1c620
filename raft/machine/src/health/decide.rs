//! The decision about an automatic switch (C5). Pure, and the only place where one is made.

use crate::health::tally::{Verdict, tally};
use crate::health::workers::workers_heard;
use crate::live::*;
use crate::model::*;
use crate::state::State;

/// A second automatic switch of a monitor within this time waits for an operator's acknowledgement. Milliseconds.
pub const REPEAT_BLOCK_MS: u64 = 3_600_000;

/// What is to happen to a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, for this reason.
    Hold(HoldReason),
    /// An automatic switch.
    Switch { to: DataCenter, cause: SwitchCause },
}

/// Decides about one monitor at a moment of cluster time.
///
/// Automatic only from dc1 to dc2, once until a manual switchback, and only if dc1 is abnormal after having been healthy,
/// dc2 is steadily healthy for as many workers as the precision asks, and the leader has heard its workers.
pub fn decide(state: &State, monitor: &MonitorRecord, now_ms: u64) -> Decision {
    let source = monitor.side(DataCenter::Dc1);
    let target = monitor.side(DataCenter::Dc2);
    let precision = state.effective_timing(monitor).health_precision;
    let held = if !monitor.spec.probing {
        HoldReason::ProbingOff
    } else if monitor.active() != DataCenter::Dc1 {
        HoldReason::NotArmed
    } else if !source.was_healthy {
        HoldReason::NeverHealthy
    // A side keeps its state while too few vote, but only votes of this moment may move anything.
    } else if source.state() != SideState::Abnormal || tally(state, source, precision).verdict() != Verdict::Failed {
        HoldReason::SourceNotAbnormal
    } else if !monitor.spec.automatic_switch {
        HoldReason::AutomaticSwitchOff
    } else if monitor.pool.is_none() {
        HoldReason::NoConnectionPool
    } else if !workers_heard(state, now_ms) {
        HoldReason::LeaderSettling
    } else if !tally(state, target, precision).steady_target() {
        HoldReason::TargetNotSteady
    } else if monitor.repeat_blocked(now_ms) {
        HoldReason::RepeatBlock
    } else {
        return Decision::Switch {
            to: DataCenter::Dc2,
            cause: SwitchCause::SourceAbnormal,
        };
    };
    Decision::Hold(held)
}

impl MonitorRecord {
    /// True while a further automatic switch waits for an acknowledgement.
    pub fn repeat_blocked(&self, now_ms: u64) -> bool {
        let within = |last: u64| now_ms < last.saturating_add(REPEAT_BLOCK_MS);
        self.needs_acknowledgement && self.last_automatic_ms.is_some_and(within)
    }
}
