//! Whether a manual switch may happen, monitor by monitor. The preview asks the same questions.

use crate::command::Switch;
use crate::health::{Verdict, tally};
use crate::live::*;
use crate::model::*;
use crate::reply::*;
use crate::state::State;
use crate::validate;

/// Monitors of one batch.
pub(crate) const MAX_BATCH_MONITORS: usize = 1_000;
/// Characters of an operator's reason or comment.
pub(crate) const MAX_REASON_CHARS: usize = 1_000;

/// A switch of one monitor that may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub monitor: Id,
    pub from: DataCenter,
    pub to: DataCenter,
    pub cause: SwitchCause,
}

/// A batch that may be looked at monitor by monitor.
pub(crate) struct Batch {
    pub instance: Id,
    pub to: DataCenter,
    pub monitors: Vec<Id>,
}

/// The monitors that a switch names, or those of the application that it names: all that have an active side and are not
/// active there yet. Where all are, they are named themselves, and so the refusal names one.
pub(crate) fn monitors_of(state: &State, command: &Switch) -> Result<Vec<Id>, Refusal> {
    let Some(application) = &command.application else {
        return Ok(command.monitors.clone());
    };
    let Some(found) = state.application(application) else {
        return Err(Refusal::new(RefusalCode::NotFound).with("application", application));
    };
    if !command.monitors.is_empty() {
        return Err(Refusal::invalid_field(
            "/monitors",
            "unsupported",
            "either an application or monitors",
        ));
    }
    let switchable = || {
        state
            .monitors_of_application(application)
            .filter(|monitor| monitor.spec.has_active_side())
    };
    let elsewhere = |monitor: &&MonitorRecord| monitor.active != command.to;
    let mut monitors: Vec<Id> = switchable().filter(elsewhere).map(MonitorRecord::id).collect();
    if monitors.is_empty() {
        monitors = switchable().map(MonitorRecord::id).collect();
    }
    if monitors.is_empty() {
        return Err(Refusal::new(RefusalCode::NothingToSwitch).with("application", &found.spec.name));
    }
    Ok(monitors)
}

/// Checks what concerns the batch as a whole.
pub(crate) fn check_batch(state: &State, command: &Switch) -> Result<Batch, Refusal> {
    let Ok(to) = DataCenter::try_from(command.to) else {
        return Err(Refusal::invalid_field("/to", "unsupported", "dc1 or dc2"));
    };
    let monitors = monitors_of(state, command)?;
    let mut sorted = monitors.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let whole = sorted.len() == monitors.len() && sorted.len() <= MAX_BATCH_MONITORS;
    let mut instances: Vec<Id> = sorted
        .iter()
        .filter_map(|id| state.monitor(id))
        .map(|monitor| monitor.instance)
        .collect();
    instances.dedup();
    if let Some(missing) = sorted.iter().find(|id| state.monitor(id).is_none()) {
        return Err(Refusal::new(RefusalCode::NotFound).with("monitor", missing));
    }
    let (true, [instance]) = (whole, instances.as_slice()) else {
        return Err(Refusal::new(RefusalCode::InvalidBatch).with("maximum", MAX_BATCH_MONITORS));
    };
    validate::remark("/reason", &command.reason, MAX_REASON_CHARS)?;
    if command.force && command.reason.trim().is_empty() {
        return Err(Refusal::new(RefusalCode::ReasonRequired));
    }
    Ok(Batch {
        instance: *instance,
        to,
        monitors,
    })
}

/// The refusal of what monitors of this kind have not.
pub(crate) fn not_of_this_kind(monitor: &MonitorRecord, what: &str) -> Refusal {
    Refusal::new(RefusalCode::NotOfThisKind)
        .with("monitor", &monitor.spec.name)
        .with("kind", monitor.kind_name())
        .with("what", what)
}

/// Checks one monitor of a batch that [`check_batch`] let pass.
pub(crate) fn check_monitor(
    state: &State,
    monitor: &MonitorRecord,
    to: DataCenter,
    force: bool,
) -> Result<Planned, Refusal> {
    let refused = |code| {
        Refusal::new(code)
            .with("monitor", &monitor.spec.name)
            .with("data_center", to.name())
    };
    if !monitor.spec.has_active_side() {
        return Err(refused(RefusalCode::NoActiveSide));
    }
    if !monitor.sdk_keys_published() {
        return Err(refused(RefusalCode::NoConnectionPool));
    }
    if monitor.active() == to {
        return Err(refused(RefusalCode::AlreadyActive));
    }
    let target = monitor.side(to);
    let precision = state.effective_timing(monitor).health_precision;
    let verdict = tally(state, target, precision).verdict();
    let healthy = verdict == Verdict::Healthy;
    if !healthy && !force {
        // The shown state may still be `healthy`: the monitor timeout runs, or too few workers vote.
        let found = match (verdict, target.state()) {
            (Verdict::Failed, SideState::Healthy) => "failing",
            (Verdict::Held, SideState::Healthy) => "too few votes",
            (_, state) => state.code(),
        };
        return Err(refused(RefusalCode::TargetAbnormal).with("state", found));
    }
    let cause = if healthy {
        SwitchCause::Manual
    } else {
        SwitchCause::Forced
    };
    Ok(Planned {
        monitor: monitor.id(),
        from: to.other(),
        to,
        cause,
    })
}
