//! Sub-health of a side: what workers say ails a data source that answers. Shown and told; decides nothing.

use crate::apply::Context;
use crate::events::{self, EventCode};
use crate::live::{MonitorRecord, NodeVote, Side};
use crate::model::*;
use crate::reply::Param;
use crate::state::State;
use crate::text::cut;

/// Bytes of a condition's text that are kept.
const MAX_TEXT_BYTES: usize = 256;

/// What is taken over of a report: known conditions, each once, in order.
pub(super) fn accepted(reported: &[ConditionReport]) -> Vec<ConditionReport> {
    let one = |condition: Condition| {
        let found = reported.iter().find(|report| report.condition == condition as i32)?;
        Some(ConditionReport {
            text: cut(&found.text, MAX_TEXT_BYTES),
            ..found.clone()
        })
    };
    Condition::ALL.into_iter().filter_map(one).collect()
}

/// What stands now: whatever some worker says whose heartbeats come. One that goes on keeps its beginning.
pub(super) fn standing(state: &State, side: &Side, probing: bool, context: &Context<'_>) -> Vec<SideCondition> {
    let heard = |vote: &&NodeVote| state.worker(vote.node).is_some_and(|worker| !worker.lapsed);
    let one = |condition: Condition| {
        let (vote, report) = side.votes.iter().filter(heard).find_map(|vote| {
            let found = vote.conditions.iter().find(|found| found.condition == condition as i32);
            found.map(|found| (vote, found))
        })?;
        let known = side.conditions.iter().find(|known| known.condition == condition as i32);
        Some(SideCondition {
            condition: condition as i32,
            since_ms: known.map_or(context.now_ms, |known| known.since_ms),
            since_wall_ms: known.map_or(context.wall_ms, |known| known.since_wall_ms),
            node: vote.node,
            text: report.text.clone(),
            lag: report.lag,
        })
    };
    if !probing {
        return Vec::new();
    }
    // Nobody says anything, after an edit or because nobody is heard: what was known is not over.
    if !side.votes.iter().any(|vote| heard(&vote)) {
        return side.conditions.clone();
    }
    Condition::ALL.into_iter().filter_map(one).collect()
}

/// What began and what ended, as far as it is news: a side that stands by is read-only by trade, and slowness comes and goes.
pub(super) fn news(before: &[SideCondition], after: &[SideCondition], active: bool) -> Vec<(EventCode, SideCondition)> {
    let told = |condition: &&SideCondition| match condition.condition() {
        Condition::ReadOnly => active,
        Condition::Slow | Condition::Unspecified => false,
        _ => true,
    };
    let missing = |among: &[SideCondition], wanted: &SideCondition| {
        !among.iter().any(|found| found.condition == wanted.condition)
    };
    let began = after.iter().filter(|found| missing(before, found)).filter(told);
    let ended = before.iter().filter(|found| missing(after, found)).filter(told);
    let began = began.map(|found| (EventCode::SubHealthBegan, found.clone()));
    began
        .chain(ended.map(|found| (EventCode::SubHealthEnded, found.clone())))
        .collect()
}

pub(super) fn tell(
    state: &mut State,
    context: &mut Context<'_>,
    monitor: &Id,
    dc: DataCenter,
    news: Vec<(EventCode, SideCondition)>,
) {
    let kind = state.monitor(monitor).map_or("", MonitorRecord::kind_name);
    for (code, found) in news {
        let mut params = vec![
            Param::new("kind", kind),
            Param::new("data_center", dc.name()),
            Param::new("condition", found.condition().code()),
        ];
        if code == EventCode::SubHealthBegan {
            params.push(Param::new("text", &found.text));
            params.push(Param::new("node", found.node));
        }
        events::record(state, context, code, Some(*monitor), params);
    }
}
