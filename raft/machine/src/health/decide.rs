//! The decision about an automatic switch (C5). Pure, and the only place where one is made.

use crate::health::tally::{Tally, Verdict, tally, tally_heard};
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
/// Automatic only from dc1 to dc2, once until a manual switchback, and only if dc1 is abnormal after having been healthy
/// and has failed without a break for the monitor timeout, dc2 is steadily healthy for as many workers as the precision
/// asks, and the leader has heard its workers. Where a new leader has waited long enough for a silent one, the votes of
/// those that it has heard must be enough.
pub fn decide(state: &State, monitor: &MonitorRecord, now_ms: u64) -> Decision {
    let source = monitor.side(DataCenter::Dc1);
    let target = monitor.side(DataCenter::Dc2);
    let timing = state.effective_timing(monitor);
    let precision = timing.health_precision;
    let failed = |tally: Tally| tally.verdict() == Verdict::Failed;
    let held = if !monitor.spec.has_active_side() {
        HoldReason::NoActiveSide
    } else if !monitor.spec.probing {
        HoldReason::ProbingOff
    } else if monitor.active() != DataCenter::Dc1 {
        HoldReason::NotArmed
    } else if !source.was_healthy {
        HoldReason::NeverHealthy
    // A side keeps its state while too few vote, but only votes of this moment may move anything.
    } else if source.state() != SideState::Abnormal || !failed(tally(state, source, precision)) {
        HoldReason::SourceNotAbnormal
    // Abnormal from before a break in the votes or an edit: a first failed attempt after it is no verdict.
    } else if !source.failed_for(u64::from(timing.monitor_timeout_ms), now_ms) {
        HoldReason::TimeoutRunning
    } else if !monitor.spec.automatic_switch {
        HoldReason::AutomaticSwitchOff
    } else if !monitor.sdk_keys_published() {
        HoldReason::NoConnectionPool
    } else if !workers_heard(state, now_ms) {
        HoldReason::LeaderSettling
    } else if !failed(tally_heard(state, source, precision)) {
        HoldReason::SourceNotAbnormal
    } else if !tally_heard(state, target, precision).steady_target() {
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

impl Side {
    /// True once the tally has said failed for `timeout_ms` without a break.
    pub(crate) fn failed_for(&self, timeout_ms: u64, now_ms: u64) -> bool {
        self.failing_since_ms
            .is_some_and(|since| now_ms >= since.saturating_add(timeout_ms))
    }
}

impl MonitorRecord {
    /// True while a further automatic switch waits for an acknowledgement.
    pub fn repeat_blocked(&self, now_ms: u64) -> bool {
        let within = |last: u64| now_ms < last.saturating_add(REPEAT_BLOCK_MS);
        self.needs_acknowledgement && self.last_automatic_ms.is_some_and(within)
    }
}
