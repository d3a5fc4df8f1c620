//! History of probes per monitor: each change of a worker's vote, and each change of a side's state. Bounded, transitions
//! only; what a monitor would have done under other settings can be worked out from it.

use crate::apply::Context;
use crate::live::*;
use crate::model::*;
use crate::state::State;
use crate::text::cut;

/// Transitions kept per monitor; the oldest go first.
pub const MAX_HISTORY_TRANSITIONS: usize = 200;
/// Bytes of a finding's text that are kept in the history.
pub const MAX_HISTORY_TEXT_BYTES: usize = 128;

impl State {
    /// Transitions of a monitor, the oldest first.
    pub fn history(&self, monitor: &Id) -> impl DoubleEndedIterator<Item = &ProbeTransition> {
        self.histories
            .get(monitor)
            .into_iter()
            .flat_map(|history| history.iter())
    }
}

/// Notes a vote that differs from the worker's last one, in vote or class.
pub(crate) fn vote_changed(state: &mut State, context: &Context<'_>, monitor: &Id, dc: DataCenter, vote: &NodeVote) {
    let transition = ProbeTransition {
        data_center: dc as i32,
        node: vote.node,
        vote: vote.vote,
        class: vote.class,
        text: cut(&vote.text, MAX_HISTORY_TEXT_BYTES),
        began_ms: vote.began_ms,
        ..ProbeTransition::default()
    };
    push(state, context, monitor, transition);
}

/// Notes a new state of a side.
pub(crate) fn side_changed(state: &mut State, context: &Context<'_>, monitor: &Id, dc: DataCenter, to: SideState) {
    let transition = ProbeTransition {
        data_center: dc as i32,
        state: to as i32,
        began_ms: context.now_ms,
        ..ProbeTransition::default()
    };
    push(state, context, monitor, transition);
}

fn push(state: &mut State, context: &Context<'_>, monitor: &Id, transition: ProbeTransition) {
    let history = state.histories.entry(*monitor).or_default();
    let last = history.back().map_or(0, |last| last.sequence);
    history.push_back(ProbeTransition {
        sequence: last + 1,
        index: context.index,
        time_ms: context.now_ms,
        wall_ms: context.wall_ms,
        ..transition
    });
    while history.len() > MAX_HISTORY_TRANSITIONS {
        history.pop_front();
    }
}

/// The history of a monitor that is deleted goes with it.
pub(crate) fn forget(state: &mut State, monitor: &Id) {
    state.histories.remove(monitor);
}
