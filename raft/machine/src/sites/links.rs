//! What nodes report of their links: changes only.

use crate::apply::{Context, done};
use crate::command::{LinkReport, ReportLinks};
use crate::health;
use crate::live::*;
use crate::reply::*;
use crate::sites::look;
use crate::state::State;

/// Links of one report: peers of the largest cluster, and every target there may be.
const MAX_LINKS: usize = 96;

/// Takes a node's links over. Links to what is no member and no target are left out.
pub(crate) fn report_links(
    state: &mut State,
    context: &mut Context<'_>,
    command: ReportLinks,
) -> Result<ReplyKind, Refusal> {
    if !state.nodes.contains_key(&command.node) {
        return Err(Refusal::new(RefusalCode::NotFound).with("node", command.node));
    }
    if command.links.len() > MAX_LINKS {
        let detail = format!("at most {MAX_LINKS} links");
        return Err(Refusal::invalid_field("/links", "too-many", &detail));
    }
    let present = state.links.get(&command.node).cloned().unwrap_or_default();
    let known = (present.incarnation, present.sequence);
    if (command.incarnation, command.sequence) <= known {
        return Err(Refusal::new(RefusalCode::StaleReport).with("sequence", present.sequence));
    }
    let targets = &state.site_settings.targets;
    let measured = |link: &&LinkReport| {
        let peer = link.peer != command.node && state.nodes.contains_key(&link.peer);
        let target = link.peer == 0 && targets.iter().any(|target| target.address == link.target);
        (peer || target) && LinkState::try_from(link.state).is_ok()
    };
    let mut links: Vec<Link> = Vec::new();
    for report in command.links.iter().filter(measured) {
        let before = present.links.iter().find(|link| same(link, report));
        let since = before
            .filter(|link| link.state == report.state)
            .map(|link| (link.since_ms, link.since_wall_ms));
        let (since_ms, since_wall_ms) = since.unwrap_or((context.now_ms, context.wall_ms));
        if links.iter().any(|link| same(link, report)) {
            continue;
        }
        links.push(Link {
            peer: report.peer,
            target: report.target.clone(),
            state: report.state,
            slow: report.slow,
            rtt_us: report.rtt_us,
            loss_permille: report.loss_permille,
            since_ms,
            since_wall_ms,
        });
    }
    let reported = NodeLinks {
        node: command.node,
        incarnation: command.incarnation,
        sequence: command.sequence,
        links,
    };
    state.links.insert(command.node, reported);
    context.wake.membership = true;
    context.wake.deadline = true;
    if look::advance(state, context) {
        health::evaluate_all(state, context);
    }
    done()
}

fn same(link: &Link, report: &LinkReport) -> bool {
    link.peer == report.peer && (link.peer != 0 || link.target == report.target)
}
