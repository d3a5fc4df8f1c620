//! Reports of workers: changed votes, ticks, state hashes.

use crate::apply::{Context, done};
use crate::command::*;
use crate::divergence::{MAX_HASH_INDICES, note_divergent, note_majority};
use crate::events::{self, EventCode};
use crate::health::conditions;
use crate::health::workers::current_worker;
use crate::health::{evaluate, evaluate_all};
use crate::history;
use crate::live::*;
use crate::model::*;
use crate::reply::*;
use crate::state::State;
use crate::text::cut;

/// Bytes of a finding's text that are kept.
const MAX_TEXT_BYTES: usize = 512;
/// Bytes of a state hash.
const HASH_BYTES: usize = 32;

/// Only time passed: whatever waited for it is looked at.
pub(crate) fn tick(state: &mut State, context: &mut Context<'_>) -> Result<ReplyKind, Refusal> {
    context.wake.work = true;
    evaluate_all(state, context);
    done()
}

pub(crate) fn report(
    state: &mut State,
    context: &mut Context<'_>,
    command: ReportHealth,
) -> Result<ReplyKind, Refusal> {
    let known = state.worker(command.node).map(|worker| worker.incarnation);
    let mut worker = current_worker(state, context, command.node, command.incarnation)?;
    if known == Some(command.incarnation) && command.sequence <= worker.sequence {
        return Err(Refusal::new(RefusalCode::StaleReport).with("sequence", worker.sequence));
    }
    worker.sequence = command.sequence;
    worker.changed_ms = context.now_ms;
    state.workers.insert(command.node, worker);
    context.wake.membership |= known != Some(command.incarnation);

    let mut concerned: Vec<Id> = Vec::new();
    if command.full || known != Some(command.incarnation) {
        concerned.extend(state.monitors.keys().copied());
    }
    if command.full {
        forget_unnamed(state, &command);
    }
    for vote in &command.votes {
        if accept(state, context, command.node, vote) && !concerned.contains(&vote.monitor) {
            concerned.push(vote.monitor);
        }
    }
    evaluate(state, context, &concerned);
    done()
}

/// A full report names every vote: what it does not name is unknown.
fn forget_unnamed(state: &mut State, command: &ReportHealth) {
    let named = |id: &Id, dc: DataCenter| {
        command
            .votes
            .iter()
            .any(|vote| vote.monitor == *id && vote.data_center == dc as i32)
    };
    let ids: Vec<Id> = state.monitors.keys().copied().collect();
    for id in ids {
        for dc in DataCenter::ALL {
            let voted = |side: &Side| side.votes.iter().any(|vote| vote.node == command.node);
            if !named(&id, dc) && state.monitor(&id).is_some_and(|monitor| voted(monitor.side(dc))) {
                state
                    .monitor_mut(&id)
                    .side_mut(dc)
                    .votes
                    .retain(|vote| vote.node != command.node);
            }
        }
    }
}

/// Takes one vote over, unless it speaks of another configuration than the present one.
fn accept(state: &mut State, context: &mut Context<'_>, node: u64, report: &VoteReport) -> bool {
    let Some(monitor) = state.monitor(&report.monitor) else {
        return false;
    };
    let current = (monitor.probe_generation..=monitor.meta.generation).contains(&report.generation);
    let known = DataCenter::try_from(report.data_center)
        .ok()
        .zip(Vote::try_from(report.vote).ok());
    let (true, true, Some((dc, vote))) = (current, monitor.spec.probing, known) else {
        return false;
    };
    // Beside an `up` that a kept session still earns, as well as beside `unknown`.
    let refused_login = report.class() == FindingClass::Auth;
    let news = refused_login && monitor.side(dc).was_healthy && !login_refused(monitor.side(dc));
    let before = monitor.side(dc).votes.iter().find(|vote| vote.node == node);
    let changed = before.is_none_or(|before| (before.vote, before.class) != (vote as i32, report.class));
    let vote = NodeVote {
        node,
        generation: report.generation,
        vote: vote as i32,
        class: report.class,
        text: cut(&report.text, MAX_TEXT_BYTES),
        never_logged_in: report.never_logged_in,
        when_ms: context.now_ms,
        began_ms: context.now_ms.saturating_sub(u64::from(report.age_ms)),
        when_wall_ms: context.wall_ms,
        conditions: conditions::accepted(&report.conditions),
    };
    if changed {
        history::vote_changed(state, context, &report.monitor, dc, &vote);
    }
    let votes = &mut state.monitor_mut(&report.monitor).side_mut(dc).votes;
    match votes.binary_search_by_key(&node, |vote| vote.node) {
        Ok(position) => votes[position] = vote,
        Err(position) => votes.insert(position, vote),
    }
    if news {
        let params = vec![
            Param::new("data_center", dc.name()),
            Param::new("node", node),
            Param::new("text", cut(&report.text, MAX_TEXT_BYTES)),
        ];
        events::record(state, context, EventCode::LoginRefused, Some(report.monitor), params);
    }
    true
}

fn login_refused(side: &Side) -> bool {
    side.votes.iter().any(|vote| vote.class() == FindingClass::Auth)
}

pub(crate) fn state_hash_reported(
    state: &mut State,
    context: &mut Context<'_>,
    command: ReportStateHash,
) -> Result<ReplyKind, Refusal> {
    if command.hash.len() != HASH_BYTES || command.index > context.index {
        return Err(Refusal::invalid_field(
            "/hash",
            "invalid-hash",
            "32 bytes, of an index that is applied",
        ));
    }
    // Only members count for a majority; what others say could make one of nothing.
    if !state.nodes.contains_key(&command.node) {
        return Err(Refusal::new(RefusalCode::NotFound).with("node", command.node));
    }
    let (before, lost_before) = (state.divergent_nodes(), state.hash_majority_lost());
    let report = HashReport {
        index: command.index,
        node: command.node,
        hash: command.hash,
    };
    state.hash_reports.insert((command.index, command.node), report);
    loop {
        let mut indices: Vec<u64> = state.hash_reports.keys().map(|(index, _)| *index).collect();
        indices.dedup();
        if indices.len() <= MAX_HASH_INDICES {
            break;
        }
        let oldest = indices[0];
        state.hash_reports = state
            .hash_reports
            .clone()
            .into_iter()
            .filter(|((index, _), _)| *index != oldest)
            .collect();
    }
    context.wake.work = true;
    note_divergent(state, context, &before);
    note_majority(state, context, lost_before);
    if lost_before != state.hash_majority_lost() {
        // What was held for it moves, or is held for it.
        evaluate_all(state, context);
    }
    done()
}
