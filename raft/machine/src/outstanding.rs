//! What is still to be done outside of the state. A new leader reads it and goes on; doing it twice does no harm.

use crate::model::Id;
use crate::state::State;

/// One unfinished effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Propose `Republish` for the monitor once cluster time reaches `due_ms`, with this epoch and work id.
    Republish {
        monitor: Id,
        epoch: u64,
        work: u64,
        due_ms: u64,
    },
    /// The node's state differs from the majority's: it must fence itself.
    FenceDivergentNode { node: u64 },
}

/// Every unfinished effect: republications in order of monitor and due time, then divergent nodes.
pub fn outstanding(state: &State) -> Vec<Effect> {
    let republish = state.all_monitors().flat_map(|monitor| {
        monitor.republish.iter().map(|work| Effect::Republish {
            monitor: monitor.id(),
            epoch: monitor.epoch,
            work: work.work,
            due_ms: work.due_ms,
        })
    });
    let divergent = state
        .divergent_nodes()
        .into_iter()
        .map(|node| Effect::FenceDivergentNode { node });
    republish.chain(divergent).collect()
}
