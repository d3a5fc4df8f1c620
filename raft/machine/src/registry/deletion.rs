//! Deletion of monitors, one or many (C7): with the monitor go its SDK keys, and all of a batch in one revision.

use std::collections::BTreeSet;

use crate::access::{Action, authorize};
use crate::apply::{Context, done};
use crate::audit;
use crate::command::*;
use crate::keyspaces::system_write;
use crate::model::*;
use crate::registry::describe::describe_monitor;
use crate::registry::{check_generation, not_found};
use crate::reply::*;
use crate::sdk_keys::{changes, sdk_keys};
use crate::state::State;
use crate::{history, withhold};

/// Monitors of one deletion at most.
pub(crate) const MAX_DELETE_MONITORS: usize = 1_000;

pub(crate) fn delete_monitor(
    state: &mut State,
    context: &mut Context<'_>,
    command: DeleteObject,
) -> Result<ReplyKind, Refusal> {
    let Some(present) = state.monitor(&command.id) else {
        return Err(not_found("monitor", command.id));
    };
    check_generation(&present.meta, command.generation)?;
    let instance = present.instance;
    remove(state, context, instance, &[command.id]);
    done()
}

/// Deletes what may go and says of every other one why not. A refused one leaves its own record, as if it had been asked
/// for alone.
///
/// # Errors
///
/// `invalid-batch` for an empty, too long or repeating list, `unknown-instance`.
pub(crate) fn delete_monitors(
    state: &mut State,
    context: &mut Context<'_>,
    command: DeleteMonitors,
) -> Result<ReplyKind, Refusal> {
    if state.instance(&command.instance).is_none() {
        return Err(Refusal::new(RefusalCode::UnknownInstance).with("instance", command.instance));
    }
    let different: BTreeSet<Id> = command.monitors.iter().map(|monitor| monitor.id).collect();
    let whole = different.len() == command.monitors.len();
    if !whole || !(1..=MAX_DELETE_MONITORS).contains(&different.len()) {
        return Err(Refusal::new(RefusalCode::InvalidBatch).with("maximum", MAX_DELETE_MONITORS));
    }
    let mut items = Vec::with_capacity(command.monitors.len());
    let mut gone = Vec::with_capacity(command.monitors.len());
    for asked in &command.monitors {
        let refusal = check(state, context.author, &command.instance, asked).err();
        match &refusal {
            None => gone.push(asked.id),
            Some(refusal) => audit::record_refusal(state, context, "delete-monitor", Some(asked.id), refusal),
        }
        items.push(DeletedMonitor {
            monitor: asked.id,
            refusal,
        });
    }
    let revision = remove(state, context, command.instance, &gone);
    Ok(ReplyKind::Deleted(DeletedReply { revision, items }))
}

fn check(state: &State, author: &Principal, instance: &Id, asked: &DeleteObject) -> Result<(), Refusal> {
    let found = state.monitor(&asked.id).filter(|found| found.instance == *instance);
    let Some(present) = found else {
        return Err(not_found("monitor", asked.id));
    };
    // Who may not even see it is not told that it exists.
    authorize(state, author, Action::Read, present.as_object()).map_err(|_| not_found("monitor", asked.id))?;
    authorize(state, author, Action::Edit, present.as_object())?;
    check_generation(&present.meta, asked.generation)
}

/// Removes monitors that exist; gives the revision that their keys left with, 0 if they had none.
fn remove(state: &mut State, context: &mut Context<'_>, instance: Id, monitors: &[Id]) -> i64 {
    let mut writes = Vec::new();
    for id in monitors {
        let present = state.monitor(id).expect("checked before");
        let changed = audit::differences(&describe_monitor(present), &[]);
        writes.extend(changes(&sdk_keys(present), &[]));
        audit::record(state, context, "delete-monitor", Some(*id), Vec::new(), changed);
        state.monitors.remove(id);
        history::forget(state, id);
        withhold::forget_object(state, context, id);
    }
    if !monitors.is_empty() {
        context.wake.monitors = true;
        context.wake.work = true;
        context.wake.deadline = true;
    }
    if writes.is_empty() {
        return 0;
    }
    system_write(state, context, instance, &writes)
}
