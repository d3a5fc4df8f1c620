//! Workers and leadership: who is heard, who lapsed, and when a new leader may decide.

use crate::apply::{Context, done};
use crate::command::*;
use crate::divergence::note_majority;
use crate::events::{self, EventCode};
use crate::health::evaluate_all;
use crate::live::*;
use crate::model::DataCenter;
use crate::reply::*;
use crate::sites::came_back;
use crate::state::State;
use crate::switch;

/// How long a new leader waits at most to hear every worker before automatic decisions: one lapse, three heartbeats of
/// 500 ms. Milliseconds.
pub const LEADER_SETTLE_MS: u64 = 1_500;

/// True once the leader has heard every worker that has not lapsed, or has waited for one lapse.
pub(crate) fn workers_heard(state: &State, now_ms: u64) -> bool {
    let leadership = &state.leadership;
    now_ms >= leadership.started_ms.saturating_add(LEADER_SETTLE_MS)
        || state
            .workers()
            .all(|worker| worker.lapsed || worker.seen_term == leadership.term)
}

pub(crate) fn leader_started(
    state: &mut State,
    context: &mut Context<'_>,
    command: LeaderStarted,
) -> Result<ReplyKind, Refusal> {
    if command.term <= state.leadership.term {
        return Err(stale_term(state));
    }
    state.leadership = Leadership {
        term: command.term,
        node: command.node,
        started_ms: context.now_ms,
    };
    context.wake.membership = true;
    let params = vec![Param::new("node", command.node), Param::new("term", command.term)];
    events::record(state, context, EventCode::LeaderChanged, None, params);
    switch::republish_all_after_leader_change(state, context);
    evaluate_all(state, context);
    done()
}

pub(crate) fn worker_seen(
    state: &mut State,
    context: &mut Context<'_>,
    command: WorkerSeen,
) -> Result<ReplyKind, Refusal> {
    if command.term != state.leadership.term {
        return Err(stale_term(state));
    }
    let mut worker = current_worker(state, context, command.node, command.incarnation)?;
    let returned = worker.lapsed;
    came_back(state, context, command.node, command.incarnation);
    worker.lapsed = false;
    worker.seen_term = command.term;
    worker.changed_ms = context.now_ms;
    state.workers.insert(command.node, worker);
    context.wake.membership = true;
    if returned {
        tell_returned(state, context, command.node);
    }
    evaluate_all(state, context);
    done()
}

pub(crate) fn worker_lapsed(
    state: &mut State,
    context: &mut Context<'_>,
    command: WorkerLapsed,
) -> Result<ReplyKind, Refusal> {
    if command.term != state.leadership.term {
        return Err(stale_term(state));
    }
    let Some(mut worker) = state.workers.get(&command.node).copied() else {
        return Err(Refusal::new(RefusalCode::NotFound).with("worker", command.node));
    };
    if worker.incarnation != command.incarnation || worker.lapsed {
        return Err(Refusal::new(RefusalCode::StaleReport).with("incarnation", worker.incarnation));
    }
    let lost_before = state.hash_majority_lost();
    worker.lapsed = true;
    worker.changed_ms = context.now_ms;
    state.workers.insert(command.node, worker);
    // What it said is old by the time it returns; its digest will differ and bring a full report.
    drop_votes(state, command.node);
    state.links.remove(&command.node);
    context.wake.membership = true;
    events::record(
        state,
        context,
        EventCode::WorkerLapsed,
        None,
        vec![Param::new("node", command.node)],
    );
    note_majority(state, context, lost_before);
    evaluate_all(state, context);
    done()
}

/// The worker of this incarnation. A newer one than known replaces the older, whose votes go.
pub(crate) fn current_worker(
    state: &mut State,
    context: &mut Context<'_>,
    node: u64,
    incarnation: u64,
) -> Result<Worker, Refusal> {
    if state.cluster.is_some() && !state.nodes.contains_key(&node) {
        return Err(Refusal::new(RefusalCode::NotFound).with("node", node));
    }
    match state.workers.get(&node) {
        Some(known) if known.incarnation == incarnation => Ok(*known),
        Some(known) if known.incarnation > incarnation => {
            Err(Refusal::new(RefusalCode::StaleReport).with("incarnation", known.incarnation))
        }
        known => {
            let returned = known.is_some_and(|known| known.lapsed);
            drop_votes(state, node);
            let worker = Worker {
                node,
                incarnation,
                changed_ms: context.now_ms,
                ..Worker::default()
            };
            state.workers.insert(node, worker);
            if returned {
                tell_returned(state, context, node);
            }
            Ok(worker)
        }
    }
}

fn tell_returned(state: &mut State, context: &mut Context<'_>, node: u64) {
    let params = vec![Param::new("node", node)];
    events::record(state, context, EventCode::WorkerSeen, None, params);
}

/// Takes back what a node voted on every monitor.
pub(crate) fn drop_votes(state: &mut State, node: u64) {
    let voted = |side: &Side| side.votes.iter().any(|vote| vote.node == node);
    let concerned: Vec<_> = state
        .all_monitors()
        .filter(|monitor| voted(&monitor.dc1) || voted(&monitor.dc2))
        .map(MonitorRecord::id)
        .collect();
    for id in concerned {
        let monitor = state.monitor_mut(&id);
        for dc in DataCenter::ALL {
            monitor.side_mut(dc).votes.retain(|vote| vote.node != node);
        }
    }
}

fn stale_term(state: &State) -> Refusal {
    Refusal::new(RefusalCode::StaleTerm).with("term", state.leadership.term)
}
