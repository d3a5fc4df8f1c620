//! Announced departures: a node that drains, is upgraded or maintained falls silent without being lost.

use crate::apply::{Context, done};
use crate::audit::{self, Change};
use crate::command::{AnnounceDeparture, PrincipalKind};
use crate::events::{self, EventCode};
use crate::health;
use crate::live::Departure;
use crate::reply::*;
use crate::sites::look;
use crate::state::State;
use crate::validate;

/// Characters of the reason.
const MAX_REASON_CHARS: usize = 1_000;

/// A node speaks for its present run alone; an operator's word holds until it is taken back.
pub(crate) fn announce_departure(
    state: &mut State,
    context: &mut Context<'_>,
    command: AnnounceDeparture,
) -> Result<ReplyKind, Refusal> {
    if !state.nodes.contains_key(&command.node) {
        return Err(Refusal::new(RefusalCode::NotFound).with("node", command.node));
    }
    validate::remark("/reason", &command.reason, MAX_REASON_CHARS)?;
    let of_itself = matches!(context.author.kind, Some(PrincipalKind::Node(_)));
    let known = state.departures.get(&command.node);
    let before = known.is_some();
    // An operator's word stays when the node says the same of its run, or comes back from it.
    if of_itself && known.is_some_and(|known| known.incarnation == 0) {
        return done();
    }
    if command.departing {
        let (since_ms, since_wall_ms) = match known {
            Some(known) => (known.since_ms, known.since_wall_ms),
            None => (context.now_ms, context.wall_ms),
        };
        let departure = Departure {
            node: command.node,
            incarnation: if of_itself { command.incarnation } else { 0 },
            reason: command.reason.clone(),
            actor: audit::actor(context.author),
            since_ms,
            since_wall_ms,
        };
        state.departures.insert(command.node, departure);
    } else {
        state.departures.remove(&command.node);
    }
    if !of_itself {
        let change = Change {
            field: "maintenance".to_owned(),
            before: before.to_string(),
            after: command.departing.to_string(),
        };
        let params = vec![Param::new("node", command.node), Param::new("reason", &command.reason)];
        audit::record(state, context, "announce-departure", None, params, vec![change]);
    }
    if before != command.departing {
        tell(state, context, command.node, command.departing, &command.reason);
    }
    context.wake.membership = true;
    context.wake.deadline = true;
    if look::advance(state, context) {
        health::evaluate_all(state, context);
    }
    done()
}

/// A run of a node is heard that is not the one which departed: it is back.
pub(crate) fn came_back(state: &mut State, context: &mut Context<'_>, node: u64, incarnation: u64) {
    let over = |departure: &Departure| departure.incarnation != 0 && departure.incarnation < incarnation;
    if state.departures.get(&node).is_some_and(over) {
        state.departures.remove(&node);
        tell(state, context, node, false, "");
    }
}

fn tell(state: &mut State, context: &mut Context<'_>, node: u64, departing: bool, reason: &str) {
    let code = if departing {
        EventCode::NodeDeparting
    } else {
        EventCode::NodeReturned
    };
    let params = vec![Param::new("node", node), Param::new("reason", reason)];
    events::record(state, context, code, None, params);
}
