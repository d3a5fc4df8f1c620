//! The decision about an automatic switch (C5). Pure, and the only place where one is made.

use crate::health::tally::{Verdict, tally, tally_heard};
use crate::health::workers::workers_heard;
use crate::live::*;
use crate::model::*;
use crate::sites::loss_moves;
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
///
/// Where the instance's datacenter-level automatic switch is on, a lost primary site stands for the failed source (D4). A pause
/// and an open maintenance window withhold either, as does a state that no majority of the nodes agrees on.
pub fn decide(state: &State, monitor: &MonitorRecord, now_ms: u64) -> Decision {
    let timing = state.effective_timing(monitor);
    let precision = timing.health_precision;
    // The loss of a site moves whatever it concerns, whether the source itself is known to have failed or not.
    let cause = match source_hold(state, monitor, &timing, now_ms) {
        _ if loss_moves(state, monitor) => SwitchCause::SiteLost,
        None => SwitchCause::SourceAbnormal,
        Some(reason) => return Decision::Hold(reason),
    };
    let unheard = || {
        let source = tally_heard(state, monitor.side(DataCenter::Dc1), precision);
        cause == SwitchCause::SourceAbnormal && source.verdict() != Verdict::Failed
    };
    let held = if state.hash_majority_lost() {
        HoldReason::StatesDiffer
    } else if !monitor.spec.automatic_switch {
        HoldReason::AutomaticSwitchOff
    } else if !monitor.sdk_keys_published() {
        HoldReason::NoConnectionPool
    } else if state.pause_of(monitor).is_some() {
        HoldReason::Paused
    } else if state.open_window_of(monitor).is_some() {
        HoldReason::Maintenance
    } else if !workers_heard(state, now_ms) {
        HoldReason::LeaderSettling
    } else if unheard() {
        HoldReason::SourceNotAbnormal
    } else if !tally_heard(state, monitor.side(DataCenter::Dc2), precision).steady_target() {
        HoldReason::TargetNotSteady
    } else if monitor.repeat_blocked(now_ms) {
        HoldReason::RepeatBlock
    } else {
        return Decision::Switch {
            to: DataCenter::Dc2,
            cause,
        };
    };
    Decision::Hold(held)
}

/// Why the source's own state is no reason for a switch; `None` if it is one.
fn source_hold(state: &State, monitor: &MonitorRecord, timing: &EffectiveTiming, now_ms: u64) -> Option<HoldReason> {
    let source = monitor.side(DataCenter::Dc1);
    let failed = || tally(state, source, timing.health_precision).verdict() == Verdict::Failed;
    if !monitor.spec.has_active_side() {
        Some(HoldReason::NoActiveSide)
    } else if !monitor.spec.probing {
        Some(HoldReason::ProbingOff)
    } else if monitor.active() != DataCenter::Dc1 {
        Some(HoldReason::NotArmed)
    } else if !source.was_healthy {
        Some(HoldReason::NeverHealthy)
    // A side keeps its state while too few vote, but only votes of this moment may move anything.
    } else if source.state() != SideState::Abnormal || !failed() {
        Some(HoldReason::SourceNotAbnormal)
    // Abnormal from before a break in the votes or an edit: a first failed attempt after it is no verdict.
    } else if !source.failed_for(u64::from(timing.monitor_timeout_ms), now_ms) {
        Some(HoldReason::TimeoutRunning)
    } else {
        None
    }
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
