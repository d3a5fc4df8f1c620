//! From votes to states, and from states to switches: run for the monitors that an entry may have concerned.

use crate::apply::Context;
use crate::events::{self, EventCode};
use crate::health::conditions;
use crate::health::decide::{Decision, decide};
use crate::health::tally::{Verdict, tally};
use crate::live::*;
use crate::model::*;
use crate::reply::Param;
use crate::state::State;
use crate::{history, sites, switch, withhold};

/// Looks at every monitor again.
pub(crate) fn evaluate_all(state: &mut State, context: &mut Context<'_>) {
    let ids: Vec<Id> = state.monitors.keys().copied().collect();
    evaluate(state, context, &ids);
}

/// Looks at these monitors again: side states, then decisions. All switches of one instance are one revision.
pub(crate) fn evaluate(state: &mut State, context: &mut Context<'_>, monitors: &[Id]) {
    context.wake.deadline = true;
    // What withholds or moves monitors as a whole comes first, and concerns all of them.
    let windows = withhold::advance(state, context);
    let sites = sites::advance(state, context);
    let all: Vec<Id> = state.monitors.keys().copied().collect();
    let monitors = if windows || sites { &all } else { monitors };
    let mut due: Vec<(Id, Vec<(Id, SwitchCause)>)> = Vec::new();
    for id in monitors {
        if state.monitor(id).is_none() {
            continue;
        }
        for dc in DataCenter::ALL {
            update_side(state, context, id, dc);
        }
        let Some(monitor) = state.monitor(id) else { continue };
        match decide(state, monitor, context.now_ms) {
            Decision::Hold(reason) => withhold(state, context, id, reason),
            Decision::Switch { cause, .. } => {
                let instance = monitor.instance;
                match due.iter_mut().find(|(known, _)| *known == instance) {
                    Some((_, batch)) => batch.push((*id, cause)),
                    None => due.push((instance, vec![(*id, cause)])),
                }
            }
        }
    }
    for (instance, batch) in due {
        switch::automatic(state, context, instance, &batch);
    }
}

fn update_side(state: &mut State, context: &mut Context<'_>, id: &Id, dc: DataCenter) {
    let Some(monitor) = state.monitor(id) else { return };
    let timing = state.effective_timing(monitor);
    let side = monitor.side(dc);
    let verdict = tally(state, side, timing.health_precision).verdict();
    let mut next = side.clone();
    if monitor.spec.probing {
        advance(&mut next, verdict, u64::from(timing.monitor_timeout_ms), context.now_ms);
    } else {
        next.failing_since_ms = None;
        next.was_healthy = false;
        next.set_state(SideState::Unconfigured);
    }
    next.conditions = conditions::standing(state, side, monitor.spec.probing, context);
    if next == *side {
        return;
    }
    let (before, after) = (side.state(), next.state());
    let kind = monitor.kind_name();
    let active = monitor.spec.has_active_side() && monitor.active() == dc;
    let news = conditions::news(&side.conditions, &next.conditions, active);
    if before != after {
        next.since_ms = context.now_ms;
        next.since_wall_ms = context.wall_ms;
        history::side_changed(state, context, id, dc, after);
    }
    let params = finding_params(&next, dc, kind);
    *state.monitor_mut(id).side_mut(dc) = next;
    conditions::tell(state, context, id, dc, news);
    let code = match (before, after) {
        (SideState::Abnormal, SideState::Healthy) => EventCode::DatabaseRecovered,
        (SideState::Unconfigured | SideState::InitFailed, SideState::Healthy) => EventCode::MonitorStarted,
        (_, SideState::Abnormal) if before != after => EventCode::DatabaseAbnormal,
        (_, SideState::InitFailed) if before != after => EventCode::MonitorInitFailed,
        _ => return,
    };
    events::record(state, context, code, Some(*id), params);
}

/// The next state of a probed side (C1).
fn advance(side: &mut Side, verdict: Verdict, timeout_ms: u64, now_ms: u64) {
    match verdict {
        Verdict::Healthy => {
            side.failing_since_ms = None;
            side.was_healthy = true;
            side.set_state(SideState::Healthy);
        }
        Verdict::Failed => {
            side.failing_since_ms.get_or_insert(now_ms);
            match side.state() {
                SideState::Healthy if side.failed_for(timeout_ms, now_ms) => side.set_state(SideState::Abnormal),
                SideState::Healthy | SideState::Abnormal => {}
                // It has never come up.
                _ => side.set_state(SideState::InitFailed),
            }
        }
        Verdict::Held => {
            side.failing_since_ms = None;
            if matches!(side.state(), SideState::Healthy | SideState::Abnormal) {
                return;
            }
            let failed = |vote: &NodeVote| !matches!(vote.class(), FindingClass::None | FindingClass::Ok);
            let misconfigured = |vote: &NodeVote| vote.class() == FindingClass::Misconfigured;
            let findings: Vec<&NodeVote> = side.votes.iter().filter(|vote| failed(vote)).collect();
            if findings.iter().any(|vote| !misconfigured(vote)) {
                side.set_state(SideState::InitFailed);
            } else if !findings.is_empty() {
                side.set_state(SideState::Unconfigured);
            }
        }
    }
}

/// What the workers found on a side: the data center and the first finding that is not well.
fn finding_params(side: &Side, dc: DataCenter, kind: &str) -> Vec<Param> {
    let bad = |vote: &&NodeVote| !matches!(vote.class(), FindingClass::None | FindingClass::Ok);
    let mut params = vec![
        Param::new("kind", kind),
        Param::new("data_center", dc.name()),
        Param::new("state", side.state().code()),
    ];
    if let Some(vote) = side.votes.iter().find(bad) {
        params.push(Param::new("finding", vote.class().code()));
        params.push(Param::new("text", &vote.text));
        params.push(Param::new("node", vote.node));
    }
    params
}

/// Notes why a switch that is due does not happen; an event tells of it once per reason.
fn withhold(state: &mut State, context: &mut Context<'_>, id: &Id, reason: HoldReason) {
    let due = matches!(
        reason,
        HoldReason::AutomaticSwitchOff
            | HoldReason::NoConnectionPool
            | HoldReason::LeaderSettling
            | HoldReason::TargetNotSteady
            | HoldReason::RepeatBlock
            | HoldReason::TimeoutRunning
            | HoldReason::Paused
            | HoldReason::Maintenance
            | HoldReason::StatesDiffer
    );
    let reason = if due { reason } else { HoldReason::None };
    if state.monitor(id).is_some_and(|monitor| monitor.withheld() == reason) {
        return;
    }
    state.monitor_mut(id).set_withheld(reason);
    // Waiting for the workers of a new leader, or for the monitor timeout, ends by itself: no news.
    let news = !matches!(
        reason,
        HoldReason::None | HoldReason::LeaderSettling | HoldReason::TimeoutRunning
    );
    if news {
        let params = vec![Param::new("reason", reason.code())];
        events::record(state, context, EventCode::FailoverWithheld, Some(*id), params);
    }
}
