//! What handlers take for granted of a state, checked before one that was read is used: objects that refer to each other,
//! counters that can still be counted on, records in the order that they are searched in. A state that came about by
//! `apply` always passes.

use crate::history::MAX_HISTORY_TRANSITIONS;
use crate::live::*;
use crate::model::*;
use crate::sessions::MAX_SESSIONS;
use crate::snapshot::SnapshotError;
use crate::state::State;

/// No counter and no cluster time gets there in the life of a cluster; above it, the next change could overflow.
pub(super) const MAX_COUNTER: u64 = u64::MAX / 2;
/// Repetitions of `active` of one monitor: three after a switch, three after a leader change.
const MAX_REPUBLISH: usize = 6;

/// Checks a state that was put together from records.
pub(super) fn check(state: &State) -> Result<(), SnapshotError> {
    let problems = [
        (
            !references(state),
            "an object whose instance, application or keyspace is missing",
        ),
        (!counters(state), "a counter beyond every possible value"),
        (
            !state.all_monitors().all(|monitor| plausible(state, monitor)),
            "a monitor as no command makes one",
        ),
        (
            state
                .kind_settings
                .values()
                .any(|settings| settings.retry_interval_ms == 0 || settings.access_timeout_ms == 0),
            "settings of a kind without time",
        ),
        (
            state.sessions.by_node.len() > MAX_SESSIONS,
            "more sessions than there may be",
        ),
    ];
    let problems = problems
        .into_iter()
        .chain([(!histories(state), "a history as no command makes one")]);
    match problems.into_iter().find(|(found, _)| *found) {
        Some((_, problem)) => Err(SnapshotError::Inconsistent(problem)),
        None => Ok(()),
    }
}

fn references(state: &State) -> bool {
    let known = |id: &Id| state.instances.contains_key(id) && state.keyspaces.contains_key(id);
    let placed = |monitor: &MonitorRecord| {
        let application = state.application(&monitor.application);
        application.is_some_and(|application| application.instance == monitor.instance)
    };
    state.keyspaces.keys().all(known)
        && state.instances.keys().all(known)
        && state.cluster.is_none_or(|cluster| known(&cluster.default_instance))
        && state
            .applications
            .values()
            .all(|application| known(&application.instance))
        && state.all_monitors().all(placed)
}

fn counters(state: &State) -> bool {
    let metas = (state.modules().map(|module| &module.meta))
        .chain(state.namespaces().map(|namespace| &namespace.meta))
        .chain(state.instances().map(|instance| &instance.meta))
        .chain(state.applications.values().map(|application| &application.meta))
        .chain(state.all_monitors().map(|monitor| &monitor.meta))
        .chain(state.users().map(|user| &user.meta))
        .chain(state.api_tokens().map(|token| &token.meta));
    let own = [
        state.applied_index,
        state.last_time_ms,
        state.next_work,
        state.leadership.term,
        state.leadership.started_ms,
        state.cluster.map_or(0, |cluster| cluster.removed_up_to),
    ];
    own.into_iter()
        .chain(metas.map(|meta| meta.generation))
        .chain(state.users().map(|user| user.auth_revision))
        .chain(state.all_monitors().map(|monitor| monitor.epoch))
        .all(|counter| counter <= MAX_COUNTER)
}

/// Of monitors that exist, no longer than they may be, counted on from any number that can still be counted on.
fn histories(state: &State) -> bool {
    state.histories.iter().all(|(monitor, history)| {
        let last = history.back().map_or(0, |last| last.sequence);
        state.monitors.contains_key(monitor) && history.len() <= MAX_HISTORY_TRANSITIONS && last <= MAX_COUNTER
    })
}

fn plausible(state: &State, monitor: &MonitorRecord) -> bool {
    let timing = &monitor.spec.timing;
    let one_vote_each = |dc: DataCenter| monitor.side(dc).votes.is_sorted_by(|a, b| a.node < b.node);
    let no_time = [
        timing.retry_interval_ms,
        timing.monitor_timeout_ms,
        timing.access_timeout_ms,
    ]
    .contains(&Some(0));
    !no_time
        && monitor.spec.fence_policy == FencePolicy::None as i32
        && monitor.probe_generation <= monitor.meta.generation
        && monitor.republish.len() <= MAX_REPUBLISH
        && monitor.republish.iter().all(|work| work.work < state.next_work)
        && DataCenter::ALL.into_iter().all(one_vote_each)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::snapshot::{StateDecoder, encode_snapshot};

    const ID: Id = Id { high: 1, low: 1 };

    fn meta() -> Meta {
        Meta {
            id: ID,
            generation: 1,
            ..Meta::default()
        }
    }

    /// An instance with an application, a monitor and a user.
    fn state() -> State {
        let mut state = State::new();
        let instance = Instance {
            meta: meta(),
            ..Instance::default()
        };
        let application = Application {
            meta: meta(),
            instance: ID,
            ..Application::default()
        };
        let monitor = MonitorRecord {
            meta: meta(),
            instance: ID,
            application: ID,
            ..MonitorRecord::default()
        };
        let user = User {
            meta: meta(),
            ..User::default()
        };
        state.instances.insert(ID, instance);
        state.keyspaces.insert(ID, quorate_kv::Keyspace::new());
        state.applications.insert(ID, application);
        state.monitors.insert(ID, Arc::new(monitor));
        state.users.insert(String::new(), user);
        state
    }

    fn read_back(state: &State) -> Result<State, SnapshotError> {
        let mut decoder = StateDecoder::new();
        encode_snapshot(state).try_for_each(|block| decoder.push(&block))?;
        decoder.finish()
    }

    #[test]
    fn a_sound_state_passes() {
        assert_eq!(read_back(&state()).expect("sound").state_hash(), state().state_hash());
    }

    #[test]
    fn extreme_counters_are_refused() {
        type Craft = fn(&mut State);
        let crafts: [Craft; 13] = [
            |state| {
                state.cluster = Some(Cluster {
                    id: ID,
                    default_instance: ID,
                    removed_up_to: u64::MAX,
                    ..Cluster::default()
                })
            },
            |state| state.next_work = u64::MAX,
            |state| state.applied_index = u64::MAX,
            |state| state.last_time_ms = u64::MAX,
            |state| state.leadership.term = u64::MAX,
            |state| state.leadership.started_ms = u64::MAX,
            |state| state.monitor_mut(&ID).epoch = u64::MAX,
            |state| state.monitor_mut(&ID).meta.generation = u64::MAX,
            |state| state.monitor_mut(&ID).probe_generation = 2,
            |state| state.users[""].auth_revision = u64::MAX,
            |state| state.users[""].meta.generation = u64::MAX,
            |state| state.applications[&ID].meta.generation = u64::MAX,
            |state| state.instances[&ID].meta.generation = u64::MAX,
        ];
        refused(&crafts);
    }

    #[test]
    fn records_that_handlers_cannot_work_with_are_refused() {
        type Craft = fn(&mut State);
        let crafts: [Craft; 8] = [
            |state| state.monitor_mut(&ID).spec.fence_policy = FencePolicy::Require as i32,
            |state| state.monitor_mut(&ID).spec.timing.retry_interval_ms = Some(0),
            |state| state.monitor_mut(&ID).dc1.votes = vec![NodeVote::default(); 2],
            |state| state.monitor_mut(&ID).republish = vec![RepublishWork::default(); MAX_REPUBLISH + 1],
            |state| {
                state.monitor_mut(&ID).republish = vec![RepublishWork {
                    work: 9,
                    ..RepublishWork::default()
                }]
            },
            |state| state.monitor_mut(&ID).application = Id::default(),
            |state| state.cluster = Some(Cluster::default()),
            |state| {
                state.kind_settings.insert((ID, String::new()), KindSettings::default());
            },
        ];
        refused(&crafts);
    }

    fn refused(crafts: &[fn(&mut State)]) {
        for (number, craft) in crafts.iter().enumerate() {
            let mut crafted = state();
            craft(&mut crafted);
            let read = read_back(&crafted);
            assert!(
                matches!(read, Err(SnapshotError::Inconsistent(_))),
                "craft {number} passed"
            );
        }
    }
}
