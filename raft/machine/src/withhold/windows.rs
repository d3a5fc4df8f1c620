//! Maintenance windows: planned times in which automatic switches are withheld.

use crate::apply::{Context, done};
use crate::audit;
use crate::command::{CreateWindow, DeleteObject};
use crate::events::{self, EventCode};
use crate::health;
use crate::model::*;
use crate::registry::{check_generation, check_quota, new_meta, not_found, object_reply};
use crate::reply::*;
use crate::state::State;
use crate::validate::Problems;
use crate::withhold::MAX_REASON_CHARS;

/// Windows that have not ended, of the whole cluster.
pub const MAX_WINDOWS: u32 = 1_000;
/// Longest window, milliseconds: 30 days. What is to last longer is a pause.
pub const MAX_WINDOW_MS: i64 = 30 * 24 * 3_600_000;
/// How far ahead a window may be planned, milliseconds: a year.
pub const MAX_WINDOW_LEAD_MS: i64 = 366 * 24 * 3_600_000;

pub(crate) fn create_window(
    state: &mut State,
    context: &mut Context<'_>,
    command: CreateWindow,
) -> Result<ReplyKind, Refusal> {
    let scope = known_scope(state, &command.scope)?;
    check(&command, context.wall_ms)?;
    check_quota("windows", MAX_WINDOWS, state.windows.len())?;
    if state.windows.contains_key(&command.id) {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("name", command.id));
    }
    // A window that begins in the past begins now; it is as long as what is left of it.
    let after = |wall_ms: i64| {
        let ahead = wall_ms.saturating_sub(context.wall_ms);
        context.now_ms.saturating_add(u64::try_from(ahead).unwrap_or(0))
    };
    let window = MaintenanceWindow {
        meta: new_meta(context, command.id),
        scope,
        reason: command.reason,
        start_wall_ms: command.start_wall_ms,
        end_wall_ms: command.end_wall_ms,
        start_ms: after(command.start_wall_ms),
        end_ms: after(command.end_wall_ms),
        open: false,
    };
    let changes = audit::differences(&[], &describe(&window));
    let object = Some(command.id);
    audit::record(state, context, "create-window", object, params(&window), changes);
    let reply = object_reply(&window.meta);
    state.windows.insert(command.id, window);
    context.wake.monitors = true;
    health::evaluate_all(state, context);
    reply
}

/// Takes a window back, or ends it early: what it withheld happens if it is still due.
pub(crate) fn delete_window(
    state: &mut State,
    context: &mut Context<'_>,
    command: DeleteObject,
) -> Result<ReplyKind, Refusal> {
    let Some(window) = state.window(&command.id).cloned() else {
        return Err(not_found("window", command.id));
    };
    check_generation(&window.meta, command.generation)?;
    let changes = audit::differences(&describe(&window), &[]);
    let object = Some(command.id);
    audit::record(state, context, "delete-window", object, params(&window), changes);
    close(state, context, &window);
    health::evaluate_all(state, context);
    done()
}

fn known_scope(state: &State, scope: &Scope) -> Result<Scope, Refusal> {
    match ScopeKind::try_from(scope.kind) {
        Ok(ScopeKind::Cluster) => Ok(Scope::CLUSTER),
        Ok(kind) if state.instance_of(scope).is_none() => Err(not_found(kind.code(), scope.object)),
        Ok(_) => Ok(*scope),
        Err(_) => Err(Refusal::invalid_field(
            "/scope",
            "unsupported",
            "cluster, instance, application or monitor",
        )),
    }
}

fn check(command: &CreateWindow, wall_ms: i64) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.text("/reason", &command.reason, 1, MAX_REASON_CHARS);
    let days = |ms: i64| ms / (24 * 3_600_000);
    if command.start_wall_ms > wall_ms.saturating_add(MAX_WINDOW_LEAD_MS) {
        let detail = format!("at most {} days ahead", days(MAX_WINDOW_LEAD_MS));
        problems.add("/start", "out-of-range", detail);
    }
    let from = command.start_wall_ms.max(wall_ms);
    if command.end_wall_ms <= from {
        problems.add("/end", "out-of-range", "after the start, and after now");
    } else if command.end_wall_ms.saturating_sub(from) > MAX_WINDOW_MS {
        let detail = format!("at most {} days after the start", days(MAX_WINDOW_MS));
        problems.add("/end", "out-of-range", detail);
    }
    problems.into_result()
}

/// Opens and closes what is due; true if anything changed.
pub(crate) fn advance(state: &mut State, context: &mut Context<'_>) -> bool {
    let (now, wall) = (context.now_ms, context.wall_ms);
    let begun = |window: &MaintenanceWindow| wall >= window.start_wall_ms || now >= window.start_ms;
    let ended = |window: &MaintenanceWindow| wall >= window.end_wall_ms && now >= window.end_ms;
    let due: Vec<MaintenanceWindow> = state
        .windows
        .values()
        .filter(|window| if window.open { ended(window) } else { begun(window) })
        .cloned()
        .collect();
    for mut window in due.iter().cloned() {
        if !window.open {
            window.open = true;
            record(state, context, EventCode::MaintenanceBegun, &window);
            state.windows.insert(window.meta.id, window.clone());
        }
        if ended(&window) {
            close(state, context, &window);
        }
    }
    if due.is_empty() {
        return false;
    }
    context.wake.monitors = true;
    context.wake.deadline = true;
    true
}

/// Cluster time at which a window opens or closes next, as the clocks stand now.
pub(crate) fn next_change(state: &State) -> Option<u64> {
    let by_wall = |wall_ms: i64| {
        let ahead = wall_ms.saturating_sub(state.last_wall_ms);
        state.last_time_ms.saturating_add(u64::try_from(ahead).unwrap_or(0))
    };
    let change = |window: &MaintenanceWindow| {
        if window.open {
            window.end_ms.max(by_wall(window.end_wall_ms))
        } else {
            window.start_ms.min(by_wall(window.start_wall_ms))
        }
    };
    state.windows.values().map(change).min()
}

/// Windows of an instance, application or monitor go with it.
pub(crate) fn forget_object(state: &mut State, context: &mut Context<'_>, object: &Id) {
    let gone =
        |window: &&MaintenanceWindow| window.scope.kind() != ScopeKind::Cluster && window.scope.object == *object;
    let gone: Vec<MaintenanceWindow> = state.windows.values().filter(gone).cloned().collect();
    for window in gone {
        close(state, context, &window);
    }
}

fn close(state: &mut State, context: &mut Context<'_>, window: &MaintenanceWindow) {
    state.windows.remove(&window.meta.id);
    if window.open {
        record(state, context, EventCode::MaintenanceEnded, window);
    }
    context.wake.monitors = true;
    context.wake.deadline = true;
}

fn record(state: &mut State, context: &mut Context<'_>, code: EventCode, window: &MaintenanceWindow) {
    let params = params(window);
    match window.scope.kind() {
        ScopeKind::Monitor => events::record(state, context, code, Some(window.scope.object), params),
        _ => {
            let instance = state.instance_of(&window.scope);
            events::record_of_instance(state, context, code, instance, params);
        }
    }
}

fn params(window: &MaintenanceWindow) -> Vec<Param> {
    let mut params = vec![
        Param::new("window", window.meta.id),
        Param::new("scope", window.scope.kind().code()),
        Param::new("reason", &window.reason),
    ];
    if window.scope != Scope::CLUSTER {
        params.push(Param::new("object", window.scope.object));
    }
    params
}

fn describe(window: &MaintenanceWindow) -> Vec<(String, String)> {
    [
        ("scope", window.scope.kind().code().to_owned()),
        ("object", window.scope.object.to_string()),
        ("reason", window.reason.clone()),
        ("start_wall_ms", window.start_wall_ms.to_string()),
        ("end_wall_ms", window.end_wall_ms.to_string()),
    ]
    .map(|(field, value)| (field.to_owned(), value))
    .to_vec()
}
