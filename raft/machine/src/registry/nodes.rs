//! Members of the cluster as the state knows them.

use crate::apply::{Context, done};
use crate::audit;
use crate::command::{RemoveNode, UpsertNode};
use crate::divergence;
use crate::etcd_ids::FIRST_ETCD_MEMBER_ID;
use crate::health;
use crate::model::NodeRecord;
use crate::registry::{check_quota, instance, not_found};
use crate::reply::*;
use crate::state::State;
use crate::validate::Problems;

/// Members that a cluster may have, learners included.
pub(super) const MAX_NODES: u32 = 32;

pub(crate) fn upsert_node(
    state: &mut State,
    context: &mut Context<'_>,
    command: UpsertNode,
) -> Result<ReplyKind, Refusal> {
    let mut node = command.node;
    if command.keeps_place
        && let Some(present) = state.node(node.id)
    {
        node.learner = present.learner;
        node.peer.clone_from(&present.peer);
    }
    check_node(&node)?;
    check_place(state, &node, command.new)?;
    if !state.nodes.contains_key(&node.id) {
        check_quota("nodes", MAX_NODES, state.nodes.len())?;
    }
    let before = state.node(node.id).map(describe).unwrap_or_default();
    let changes = audit::differences(&before, &describe(&node));
    if changes.is_empty() {
        return done();
    }
    audit::record(
        state,
        context,
        "upsert-node",
        None,
        vec![Param::new("node", node.id)],
        changes,
    );
    state.nodes.insert(node.id, node);
    context.wake.membership = true;
    // A node that changed its site changes what is known of both.
    health::evaluate_all(state, context);
    done()
}

/// An id is one node's, and nobody's after that: of two that are given the same one at once the second is refused, and what is
/// still on its way to a removed node brings no record of it back. The very record that is there already is no other node.
fn check_place(state: &State, node: &NodeRecord, new: Option<bool>) -> Result<(), Refusal> {
    let present = state.node(node.id);
    let removed_up_to = state.cluster.map_or(0, |cluster| cluster.removed_up_to);
    match (new, present) {
        (Some(false), None) => Err(not_found("node", node.id)),
        (Some(true), Some(present)) if present != node => Err(taken(node)),
        (Some(true), None) if node.id <= removed_up_to => Err(taken(node)),
        _ => Ok(()),
    }
}

fn taken(node: &NodeRecord) -> Refusal {
    Refusal::new(RefusalCode::NodeIdTaken).with("node", node.id)
}

/// A node that is unknown is gone already. What it voted, and what it said of its disk, of ports and of its state, goes with it.
pub(crate) fn remove_node(
    state: &mut State,
    context: &mut Context<'_>,
    command: RemoveNode,
) -> Result<ReplyKind, Refusal> {
    let (divergent, lost) = (state.divergent_nodes(), state.hash_majority_lost());
    let Some(node) = state.nodes.remove(&command.node) else {
        return done();
    };
    let changes = audit::differences(&describe(&node), &[]);
    let params = vec![Param::new("node", node.id)];
    audit::record(state, context, "remove-node", None, params, changes);
    if let Some(cluster) = &mut state.cluster
        && node.id < FIRST_ETCD_MEMBER_ID
    {
        cluster.removed_up_to = cluster.removed_up_to.max(node.id);
    }
    health::drop_votes(state, command.node);
    state.workers.remove(&command.node);
    state.disks.remove(&command.node);
    state.links.remove(&command.node);
    state.departures.remove(&command.node);
    instance::forget_node(state, command.node);
    divergence::forget_node(state, command.node);
    // Among those who are left another majority may hold, or none.
    divergence::note_divergent(state, context, &divergent);
    divergence::note_majority(state, context, lost);
    context.wake.membership = true;
    context.wake.monitors = true;
    health::evaluate_all(state, context);
    done()
}

/// Characters of a node's name and zone.
const MAX_NODE_NAME_CHARS: usize = 64;
/// Characters of an address `host:port`, or of the URLs of a member of a cluster that stands in for etcd.
const MAX_NODE_ADDRESS_CHARS: usize = 1_024;

pub(super) fn check_node(node: &NodeRecord) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    if node.id == 0 {
        problems.add("/id", "out-of-range", "node ids begin at 1");
    }
    let sites = ["dc1", "dc2", "arbiter"];
    if !node.site.is_empty() && !sites.contains(&node.site.as_str()) {
        problems.add("/site", "unsupported", "dc1, dc2 or arbiter");
    }
    for (pointer, text, most) in [
        ("/name", &node.name, MAX_NODE_NAME_CHARS),
        ("/zone", &node.zone, MAX_NODE_NAME_CHARS),
        ("/peer", &node.peer, MAX_NODE_ADDRESS_CHARS),
        ("/kv", &node.kv, MAX_NODE_ADDRESS_CHARS),
        ("/console", &node.console, MAX_NODE_ADDRESS_CHARS),
    ] {
        problems.text(pointer, text, 0, most);
    }
    problems.into_result()
}

fn describe(node: &NodeRecord) -> Vec<(String, String)> {
    [
        ("name", node.name.as_str()),
        ("zone", node.zone.as_str()),
        ("peer", node.peer.as_str()),
        ("kv", node.kv.as_str()),
        ("console", node.console.as_str()),
        ("site", node.site.as_str()),
        ("learner", if node.learner { "true" } else { "" }),
    ]
    .map(|(field, value)| (field.to_owned(), value.to_owned()))
    .to_vec()
}
