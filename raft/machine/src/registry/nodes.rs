//! Members of the cluster as the state knows them.

use crate::apply::{Context, done};
use crate::audit;
use crate::command::UpsertNode;
use crate::model::NodeRecord;
use crate::registry::check_quota;
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
    let node = command.node;
    check_node(&node)?;
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
    done()
}

/// Characters of a node's name and zone.
const MAX_NODE_NAME_CHARS: usize = 64;
/// Characters of an address `host:port`: the longest DNS name, a colon, five digits.
const MAX_NODE_ADDRESS_CHARS: usize = 259;

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
        ("name", &node.name),
        ("zone", &node.zone),
        ("peer", &node.peer),
        ("kv", &node.kv),
        ("console", &node.console),
        ("site", &node.site),
    ]
    .map(|(field, value)| (field.to_owned(), value.clone()))
    .to_vec()
}
