//! Repetition of `active` after a switch and after a leader change (SDK contract 3): an SDK that lost a watch, or that read
//! before it watched, hears the value again. An unchanged value has no effect in an SDK.

use crate::apply::{Context, done};
use crate::command::Republish;
use crate::keyspaces::system_write;
use crate::live::*;
use crate::model::Id;
use crate::reply::*;
use crate::sdk_keys::active_key;
use crate::state::State;

/// When `active` is put again after a switch or a leader change. Milliseconds.
pub(crate) const REPUBLISH_AFTER_MS: [u64; 3] = [2_000, 10_000, 60_000];

/// Keys with the values to put; `None` deletes.
type Writes = Vec<(String, Option<String>)>;

/// Plans the repetitions that follow a switch, which replace those of an earlier one.
pub(crate) fn after_switch(state: &mut State, now_ms: u64, monitor: &Id) {
    plan(state, now_ms, monitor, RepublishCause::Switch);
}

/// Plans the repetitions that follow a leader change, for every monitor with SDK keys.
pub(crate) fn republish_all_after_leader_change(state: &mut State, context: &mut Context<'_>) {
    let published = state.all_monitors().filter(|monitor| monitor.sdk_keys_published());
    let ids: Vec<Id> = published.map(MonitorRecord::id).collect();
    for id in &ids {
        plan(state, context.now_ms, id, RepublishCause::LeaderChange);
    }
    context.wake.work = true;
    context.wake.deadline = true;
}

fn plan(state: &mut State, now_ms: u64, monitor: &Id, cause: RepublishCause) {
    let works = REPUBLISH_AFTER_MS.map(|after| RepublishWork {
        work: state.new_work(),
        due_ms: now_ms.saturating_add(after),
        cause: cause as i32,
    });
    let pending = &mut state.monitor_mut(monitor).republish;
    pending.retain(|work| work.cause() != cause);
    pending.extend(works);
    pending.sort_by_key(|work| (work.due_ms, work.work));
}

/// Puts again what is active now, for every item whose work is pending and whose epoch is the present one; others are
/// ignored. One revision per instance.
pub(crate) fn republish(
    state: &mut State,
    context: &mut Context<'_>,
    command: Republish,
) -> Result<ReplyKind, Refusal> {
    let mut by_instance: Vec<(Id, Writes)> = Vec::new();
    for item in &command.items {
        let Some(monitor) = state.monitor(&item.monitor) else {
            continue;
        };
        let pending = monitor.republish.iter().any(|work| work.work == item.work);
        if monitor.epoch != item.epoch || !pending {
            continue;
        }
        let (instance, key) = (monitor.instance, active_key(monitor));
        state
            .monitor_mut(&item.monitor)
            .republish
            .retain(|work| work.work != item.work);
        let Some((key, value)) = key else { continue };
        let write = (key, Some(value));
        match by_instance.iter_mut().find(|(known, _)| *known == instance) {
            Some((_, writes)) if writes.contains(&write) => {}
            Some((_, writes)) => writes.push(write),
            None => by_instance.push((instance, vec![write])),
        }
    }
    for (instance, writes) in by_instance {
        system_write(state, context, instance, &writes);
    }
    context.wake.work = true;
    done()
}
