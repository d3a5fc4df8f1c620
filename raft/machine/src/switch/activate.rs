//! Activation: active, read flags, epoch, records and every SDK key of the batch, in one revision.

use crate::apply::Context;
use crate::audit::{self, Change};
use crate::command::Switch;
use crate::events::{self, EventCode};
use crate::health;
use crate::keyspaces::system_write;
use crate::live::*;
use crate::model::*;
use crate::reply::*;
use crate::sdk_keys::{changes, sdk_keys};
use crate::state::State;
use crate::switch::plan::{Batch, Planned, check_batch, check_monitor};
use crate::switch::republish;

/// What an operator adds to a switch; empty for an automatic one.
struct Request<'a> {
    actor: String,
    reason: &'a str,
    acknowledge: bool,
    restore_readable: bool,
}

/// Carries out what `decide` decided for monitors of one instance.
pub(crate) fn automatic(state: &mut State, context: &mut Context<'_>, instance: Id, monitors: &[(Id, SwitchCause)]) {
    let planned: Vec<Planned> = monitors
        .iter()
        .map(|(id, cause)| Planned {
            monitor: *id,
            from: DataCenter::Dc1,
            to: DataCenter::Dc2,
            cause: *cause,
        })
        .collect();
    let request = Request {
        actor: audit::CLUSTER.to_owned(),
        reason: "",
        acknowledge: false,
        restore_readable: false,
    };
    activate(state, context, instance, &planned, &request);
}

/// Carries out an operator's switch: the whole batch, or none of it.
pub(crate) fn manual(state: &mut State, context: &mut Context<'_>, command: Switch) -> Result<ReplyKind, Refusal> {
    let Batch { instance, to, monitors } = check_batch(state, &command)?;
    let (mut planned, mut left_out) = (Vec::with_capacity(monitors.len()), Vec::new());
    for id in &monitors {
        let monitor = state.monitor(id).expect("check_batch found every monitor");
        match check_monitor(state, monitor, to, command.force) {
            Ok(plan) => planned.push(plan),
            Err(refusal) if command.partial => left_out.push(LeftOutMonitor {
                monitor: *id,
                name: monitor.spec.name.clone(),
                refusal,
            }),
            Err(refusal) => return Err(refusal),
        }
    }
    if planned.is_empty() {
        // Leaving everything out is no switch: the first reason stands for all.
        return Err(left_out.swap_remove(0).refusal);
    }
    let request = Request {
        actor: audit::actor(context.author),
        reason: &command.reason,
        acknowledge: command.acknowledge,
        restore_readable: command.restore_readable,
    };
    let revision = activate(state, context, instance, &planned, &request);
    let epoch = |id: &Id| state.monitor(id).map_or(0, |monitor| monitor.epoch);
    let switched: Vec<Id> = planned.iter().map(|plan| plan.monitor).collect();
    let epochs = switched.iter().map(|id| SwitchedMonitor {
        monitor: *id,
        epoch: epoch(id),
    });
    let reply = SwitchedReply {
        revision,
        monitors: epochs.collect(),
        left_out,
    };
    health::evaluate(state, context, &switched);
    Ok(ReplyKind::Switched(reply))
}

fn activate(
    state: &mut State,
    context: &mut Context<'_>,
    instance: Id,
    batch: &[Planned],
    request: &Request<'_>,
) -> i64 {
    let mut writes = Vec::new();
    let mut audited = Vec::with_capacity(batch.len());
    for planned in batch {
        let before = state
            .monitor(&planned.monitor)
            .expect("a planned monitor exists")
            .clone();
        set_active(state, context, planned, request);
        let after = state.monitor(&planned.monitor).expect("a planned monitor exists");
        writes.extend(changes(&sdk_keys(&before), &sdk_keys(after)));
        audited.push(switch_changes(&before, after));
    }
    let revision = system_write(state, context, instance, &writes);
    for (planned, changed) in batch.iter().zip(audited) {
        let monitor = state.monitor_mut(&planned.monitor);
        let record = monitor.last_switch.as_mut().expect("set_active left a record");
        record.revision = revision;
        let params = switch_params(record, request);
        republish::after_switch(state, context.now_ms, &planned.monitor);
        let code = match (planned.cause.automatic(), planned.to) {
            (true, _) => EventCode::Failover,
            (false, DataCenter::Dc2) => EventCode::Switchover,
            (false, DataCenter::Dc1) => EventCode::Switchback,
        };
        let id = Some(planned.monitor);
        audit::record_as(
            state,
            context,
            request.actor.clone(),
            code.code(),
            id,
            params.clone(),
            changed,
        );
        events::record(state, context, code, id, params);
    }
    context.wake.work = true;
    context.wake.deadline = true;
    context.wake.monitors = true;
    revision
}

/// What follows the reservation of the epoch, by fence policy (core contract 2).
fn after_planned(policy: FencePolicy) -> SwitchPhase {
    match policy {
        FencePolicy::None => SwitchPhase::Activated,
        FencePolicy::Try | FencePolicy::Require => SwitchPhase::Fencing,
    }
}

fn set_active(state: &mut State, context: &Context<'_>, planned: &Planned, request: &Request<'_>) {
    let leader = state.leadership.node;
    let monitor = state.monitor_mut(&planned.monitor);
    assert_eq!(
        monitor.active(),
        planned.from,
        "a switch leaves the side that is active"
    );
    let phase = after_planned(monitor.spec.fence_policy());
    assert_eq!(
        phase,
        SwitchPhase::Activated,
        "policies that fence are refused when a monitor is saved"
    );
    let automatic = planned.cause.automatic();
    let from = monitor.side(planned.from);
    let down = from.votes.iter().filter(|vote| vote.vote() == Vote::Down);
    let record = SwitchRecord {
        epoch: monitor.epoch + 1,
        from: planned.from as i32,
        to: planned.to as i32,
        cause: planned.cause as i32,
        phase: phase as i32,
        index: context.index,
        time_ms: context.now_ms,
        wall_ms: context.wall_ms,
        actor: request.actor.clone(),
        reason: request.reason.to_owned(),
        revision: 0,
        failing_since_ms: from.failing_since_ms.filter(|_| automatic),
        first_failure_ms: down.map(|vote| vote.began_ms).min().filter(|_| automatic),
        leader: if automatic { leader } else { 0 },
    };
    monitor.epoch = record.epoch;
    monitor.last_switch = Some(record);
    monitor.set_active(planned.to);
    monitor.set_withheld(HoldReason::None);
    if automatic {
        let keeps_readable = !monitor.spec.has_read_write();
        monitor.side_mut(planned.from).read_write.readable &= keeps_readable;
        monitor.last_automatic_ms = Some(context.now_ms);
        monitor.needs_acknowledgement = true;
    }
    monitor.needs_acknowledgement &= !request.acknowledge;
    let target = monitor.side_mut(planned.to);
    target.read_write.readable |= request.restore_readable;
    // Forced onto a side that is not healthy: the operator's will holds until that side was healthy once.
    target.was_healthy &= planned.cause != SwitchCause::Forced;
}

fn switch_params(record: &SwitchRecord, request: &Request<'_>) -> Vec<Param> {
    let mut params = vec![
        Param::new("from", record.from().name()),
        Param::new("to", record.to().name()),
        Param::new("epoch", record.epoch),
        Param::new("cause", record.cause().code()),
        Param::new("revision", record.revision),
    ];
    if !request.reason.is_empty() {
        params.push(Param::new("reason", request.reason));
    }
    params
}

fn switch_changes(before: &MonitorRecord, after: &MonitorRecord) -> Vec<Change> {
    let fields = |monitor: &MonitorRecord| {
        vec![
            ("active".to_owned(), monitor.active().name().to_owned()),
            ("epoch".to_owned(), monitor.epoch.to_string()),
            ("dc1.readable".to_owned(), monitor.dc1.read_write.readable.to_string()),
            ("dc2.readable".to_owned(), monitor.dc2.read_write.readable.to_string()),
            (
                "needs_acknowledgement".to_owned(),
                monitor.needs_acknowledgement.to_string(),
            ),
        ]
    };
    audit::differences(&fields(before), &fields(after))
}
