//! Monitors (C2, C3, C7).

use std::sync::Arc;

use crate::apply::Context;
use crate::audit;
use crate::command::*;
use crate::health;
use crate::keyspaces::system_write;
use crate::kinds::{ProbedSide, check_kept_secrets};
use crate::live::*;
use crate::model::*;
use crate::registry::describe::describe_monitor;
use crate::registry::gate;
use crate::registry::{check_generation, check_quota, new_meta, not_found, object_reply};
use crate::reply::*;
use crate::sdk_keys::{changes, sdk_keys};
use crate::state::State;
use crate::validate::{self, Problems};

pub(crate) fn create_monitor(
    state: &mut State,
    context: &mut Context<'_>,
    command: CreateMonitor,
) -> Result<ReplyKind, Refusal> {
    let CreateMonitor {
        id,
        application,
        spec,
        pool,
        connection_test,
    } = command;
    let Some(owner) = state.application(&application) else {
        return Err(not_found("application", application));
    };
    let instance = owner.instance;
    validate::monitor(&spec)?;
    if let Some(pool) = &pool {
        check_pool(&spec, pool)?;
    }
    check_feature(state, &instance, spec.kind_name())?;
    if state.monitors.contains_key(&id) {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("id", id));
    }
    if state.monitor_by_name(&instance, &spec.name).is_some() {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("name", &spec.name));
    }
    let present = state.monitors(&instance).count();
    check_quota("monitors_per_instance", state.quotas.monitors_per_instance, present)?;
    let gate = gate::check(connection_test.as_ref())?;

    let side = Side {
        since_ms: context.now_ms,
        since_wall_ms: context.wall_ms,
        read_write: ReadWrite {
            readable: true,
            writable: true,
        },
        ..Side::default()
    };
    let monitor = MonitorRecord {
        meta: new_meta(context, id),
        instance,
        application,
        spec,
        pool,
        probe_generation: 1,
        dc1: side.clone(),
        dc2: side,
        ..MonitorRecord::default()
    };
    let changed = audit::differences(&[], &describe_monitor(&monitor));
    audit::record(state, context, "create-monitor", Some(id), gate, changed);
    gate::record_override(state, context, id, connection_test.as_ref());
    let writes = changes(&[], &sdk_keys(&monitor));
    let reply = object_reply(&monitor.meta);
    state.monitors.insert(id, Arc::new(monitor));
    if !writes.is_empty() {
        system_write(state, context, instance, &writes);
    }
    context.wake.monitors = true;
    reply
}

pub(crate) fn update_monitor(
    state: &mut State,
    context: &mut Context<'_>,
    command: UpdateMonitor,
) -> Result<ReplyKind, Refusal> {
    let Some(present) = state.monitor(&command.id) else {
        return Err(not_found("monitor", command.id));
    };
    check_generation(&present.meta, command.generation)?;
    let sent = command.spec.kind.clone();
    let spec = complete(present, command.spec)?;
    // Commands from before the gate are applied as they were: what they kept was sent long ago.
    if let (Some(_), Some(sent), Some(known)) = (&command.connection_test, &sent, &present.spec.kind) {
        check_kept_secrets(known, sent)?;
    }
    // What dials nothing anew needs no test, whatever was said of one.
    let connection_test = command
        .connection_test
        .filter(|_| gate::dials_anew(&present.spec, &spec));
    let gate = gate::check(connection_test.as_ref())?;
    let mut monitor = present.clone();
    let other_target = DataCenter::ALL.map(|dc| asked(&monitor.spec, dc) != asked(&spec, dc));
    monitor.spec = spec;
    monitor.meta.generation += 1;
    monitor.probe_generation = monitor.meta.generation;
    for (dc, other_target) in DataCenter::ALL.into_iter().zip(other_target) {
        let side = monitor.side_mut(dc);
        side.votes.clear();
        side.failing_since_ms = None;
        if other_target {
            side.was_healthy = false;
            side.conditions.clear();
            side.set_state(SideState::Unconfigured);
            side.since_ms = context.now_ms;
            side.since_wall_ms = context.wall_ms;
        }
    }
    let changed = audit::differences(&describe_monitor(present), &describe_monitor(&monitor));
    let writes = changes(&sdk_keys(present), &sdk_keys(&monitor));
    let (instance, reply) = (monitor.instance, object_reply(&monitor.meta));
    audit::record(state, context, "update-monitor", Some(command.id), gate, changed);
    gate::record_override(state, context, command.id, connection_test.as_ref());
    state.monitors.insert(command.id, Arc::new(monitor));
    if !writes.is_empty() {
        system_write(state, context, instance, &writes);
    }
    context.wake.monitors = true;
    health::evaluate(state, context, &[command.id]);
    reply
}

/// Whom the attempts ask, and as whom. A canary beside them is no other target: what was found stays found.
fn asked(spec: &MonitorSpec, dc: DataCenter) -> Option<ProbedSide> {
    spec.probed(dc).map(ProbedSide::without_canary)
}

/// The edited specification with what an edit may leave out, checked; name and kind are fixed.
fn complete(present: &MonitorRecord, mut spec: MonitorSpec) -> Result<MonitorSpec, Refusal> {
    if spec.name.is_empty() {
        spec.name = present.spec.name.clone();
    }
    if let (Some(edited), Some(known)) = (&mut spec.kind, &present.spec.kind)
        && edited.traits() == known.traits()
    {
        edited.keep_secrets(known);
    }
    let mut fixed = Problems::default();
    if spec.name != present.spec.name {
        fixed.add("/name", "fixed", "a monitor's name cannot be changed");
    }
    if spec.kind.is_some() && spec.kind_name() != present.kind_name() {
        fixed.add("/kind", "fixed", "a monitor's kind cannot be changed");
    }
    fixed.into_result()?;
    validate::monitor(&spec)?;
    Ok(spec)
}

/// A pool belongs only to kinds that have one.
pub(super) fn check_pool(spec: &MonitorSpec, pool: &ConnectionPool) -> Result<(), Refusal> {
    match spec.traits() {
        Some(kind) if kind.has_pool => validate::pool(pool, kind),
        _ => Err(Refusal::new(RefusalCode::NotOfThisKind)
            .with("monitor", &spec.name)
            .with("kind", spec.kind_name())
            .with("what", "connection-pool")),
    }
}

/// A kind can be created only where its feature point is enabled in the module and ticked in the namespace (A2).
fn check_feature(state: &State, instance: &Id, kind: &str) -> Result<(), Refusal> {
    let refusal = || Refusal::new(RefusalCode::FeatureDisabled).with("feature_point", kind);
    let namespace = state
        .instance(instance)
        .and_then(|instance| state.namespace(&instance.namespace));
    let namespace = namespace.ok_or_else(refusal)?;
    let ticked = |points: &[String]| points.iter().any(|point| point == kind);
    let module = state.modules().find(|module| module.edition == namespace.edition);
    if ticked(&namespace.feature_points) && module.is_some_and(|module| ticked(&module.feature_points)) {
        return Ok(());
    }
    Err(refusal())
}
