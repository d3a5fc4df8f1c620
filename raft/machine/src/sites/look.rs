//! What the reports together say of a site, and when it is lost (architecture: Failover safety).
//!
//! A site is lost when every one of its nodes that ever served has lapsed for the site timeout and nobody announced it, when no node of
//! another site gets any answer of their hosts (a refused connection is a live host), and when none of them reaches any of
//! the site's witnesses. Two nodes at least must say so; one alone may be the one that is cut off.
//!
//! A loss is over when something speaks against it, not when somebody merely stops to confirm it: an observer that restarts
//! says nothing for a moment, and what it says then is no other loss.

use crate::apply::Context;
use crate::events::{self, EventCode};
use crate::live::*;
use crate::model::*;
use crate::reply::Param;
use crate::state::State;

/// Fewer nodes outside of a site never declare it lost.
const MIN_OBSERVERS: usize = 2;

/// Finding of a lost site while all that is heard confirms it. Only then does it move monitors.
const NOTHING_ANSWERS: &str = "nothing-answers";
/// Finding of a lost site while some observer's word is missing, or a site timeout made longer runs, and nothing speaks against
/// the loss.
const UNCONFIRMED: &str = "unconfirmed";

/// What was found of a site.
struct Found {
    state: PartitionState,
    finding: &'static str,
}

/// Looks at every site again; true if the state of one changed, or whether a loss is confirmed. The event of a change of state
/// is recorded.
pub(crate) fn advance(state: &mut State, context: &mut Context<'_>) -> bool {
    let mut changed = false;
    for site in SITES {
        if state.nodes_of_site(site).next().is_none() {
            changed |= state.sites.remove(site).is_some();
            continue;
        }
        let found = look(state, site, context.now_ms);
        let before = state.sites.get(site).cloned().unwrap_or_else(|| SiteRecord {
            site: site.to_owned(),
            since_ms: context.now_ms,
            since_wall_ms: context.wall_ms,
            ..SiteRecord::default()
        });
        let mut next = before.clone();
        next.state = found.state as i32;
        next.finding = found.finding.to_owned();
        if before.state != next.state {
            next.since_ms = context.now_ms;
            next.since_wall_ms = context.wall_ms;
            let lost = found.state == PartitionState::Lost;
            next.lost_index = if lost { context.index } else { 0 };
            tell(state, context, &before, &next);
            changed = true;
        }
        changed |= is_confirmed(&before) != is_confirmed(&next);
        if state.sites.get(site) != Some(&next) {
            state.sites.insert(site.to_owned(), next);
        }
    }
    context.wake.membership |= changed;
    changed
}

fn tell(state: &mut State, context: &mut Context<'_>, before: &SiteRecord, next: &SiteRecord) {
    let params = vec![
        Param::new("site", &next.site),
        Param::new("from", before.state().code()),
        Param::new("to", next.state().code()),
        Param::new("finding", &next.finding),
    ];
    events::record(state, context, EventCode::PartitionStateChanged, None, params);
}

/// True for a lost site of which every observer says at present that nothing answers.
pub(super) fn is_confirmed(site: &SiteRecord) -> bool {
    site.lost_index > 0 && site.finding == NOTHING_ANSWERS
}

/// Cluster time at which a site becomes lost, or its loss confirmed, if nothing else happens.
pub(crate) fn next_change(state: &State) -> Option<u64> {
    let waiting = state.sites.values().filter(|site| !is_confirmed(site));
    waiting
        .filter_map(|site| loss_due(state, &site.site, site.lost_index == 0))
        .min()
}

fn look(state: &State, site: &str, now_ms: u64) -> Found {
    let found = |state, finding| Found { state, finding };
    // A new leader that has not heard everybody yet declares nothing, and takes nothing back.
    let known_lost = state.site(site).is_some_and(|site| site.lost_index > 0);
    if is_silent(state, site) {
        let away = served(state, site).all(|worker| state.departures.contains_key(&worker.node));
        return if away {
            found(PartitionState::Departed, "announced")
        } else if loss_due(state, site, !known_lost).is_some_and(|due| now_ms >= due) {
            found(PartitionState::Lost, NOTHING_ANSWERS)
        } else if known_lost && !refuted(state, site) {
            found(PartitionState::Lost, UNCONFIRMED)
        } else {
            found(PartitionState::Down, "no-heartbeat")
        };
    }
    // Nor do those speak against it who were removed since.
    if known_lost && served(state, site).next().is_none() && !refuted(state, site) {
        return found(PartitionState::Lost, UNCONFIRMED);
    }
    match impairment(state, site) {
        Some(finding) => found(PartitionState::Impaired, finding),
        None => found(PartitionState::Normal, "well"),
    }
}

/// Workers of a site. A member without one was registered and has never served, perhaps never began: nobody has missed it, so
/// that its silence says nothing of the site.
fn served<'a>(state: &'a State, site: &'a str) -> impl Iterator<Item = &'a Worker> {
    state.nodes_of_site(site).filter_map(|node| state.worker(node.id))
}

fn is_silent(state: &State, site: &str) -> bool {
    served(state, site).next().is_some() && served(state, site).all(|worker| worker.lapsed)
}

/// The workers outside of a site that are heard.
fn observers(state: &State, site: &str) -> Vec<Worker> {
    let others = state.nodes().filter(|node| node.site != site);
    let workers = others.filter_map(|node| state.worker(node.id));
    workers.filter(|worker| !worker.lapsed).copied().collect()
}

/// What the present run of an observer said of its links; what a former one said is void.
fn said<'a>(state: &'a State, observer: &Worker) -> Option<&'a NodeLinks> {
    let links = state.links.get(&observer.node)?;
    (links.incarnation == observer.incarnation).then_some(links)
}

/// True if something speaks against the loss of a site of which no node is heard: an announcement, or the answer of one of its
/// hosts or witnesses to whomever.
fn refuted(state: &State, site: &str) -> bool {
    let announced = |node: &NodeRecord| state.departures.contains_key(&node.id);
    let answered = |links: &NodeLinks| {
        let host = |node: &NodeRecord| links.to_peer(node.id).alive();
        let witness = |address: &str| links.to_target(address).alive();
        state.nodes_of_site(site).any(host) || state.site_settings.witnesses(site).any(witness)
    };
    let observers = observers(state, site);
    state.nodes_of_site(site).any(announced)
        || observers
            .iter()
            .filter_map(|observer| said(state, observer))
            .any(answered)
}

/// When the site is lost by what is known now; `None` while anything speaks against it, or somebody says nothing. With `heard`,
/// the present leader must have heard every observer, and led for as long as a site must be silent: what one said before a leader
/// change may be old.
fn loss_due(state: &State, site: &str, heard: bool) -> Option<u64> {
    let observers = observers(state, site);
    let unheard = |worker: &Worker| worker.seen_term != state.leadership.term;
    if observers.len() < MIN_OBSERVERS || (heard && observers.iter().any(unheard)) {
        return None;
    }
    let all_say = |silent: &dyn Fn(&NodeLinks) -> bool| {
        observers
            .iter()
            .all(|observer| said(state, observer).is_some_and(silent))
    };
    let silent = |worker: &Worker| all_say(&|links| links.to_peer(worker.node) == LinkState::Silent);
    // The answer of a host counts even where its node has never served.
    if refuted(state, site) || !is_silent(state, site) || !served(state, site).all(silent) {
        return None;
    }
    let lapsed_ms = served(state, site).map(|worker| worker.changed_ms).max()?;
    let mut witnesses = state.site_settings.witnesses(site);
    let unreached = witnesses.all(|address| all_say(&|links| links.to_target(address) == LinkState::Silent));
    // While nobody led, nobody told of a link that came back either.
    let since_ms = if heard {
        lapsed_ms.max(state.leadership.started_ms)
    } else {
        lapsed_ms
    };
    unreached.then(|| since_ms.saturating_add(u64::from(state.site_settings.site_timeout_ms)))
}

fn lapsed(state: &State, node: u64) -> bool {
    state.worker(node).is_some_and(|worker| worker.lapsed)
}

/// What is not well with a site of which some node is heard.
fn impairment(state: &State, site: &str) -> Option<&'static str> {
    let heard = |node: u64| state.workers.contains_key(&node) && !lapsed(state, node);
    let inside = |node: u64| state.node(node).is_some_and(|node| node.site == site);
    if state.nodes_of_site(site).any(|node| lapsed(state, node.id)) {
        return Some("node-lapsed");
    }
    let mut slow = None;
    for links in state.links.values().filter(|links| heard(links.node)) {
        for link in &links.links {
            // A link to a node that is not heard says something of that node's site.
            let concerns = if link.peer == 0 {
                inside(links.node) && target_counts(state, &link.target)
            } else {
                heard(link.peer) && (inside(links.node) || inside(link.peer))
            };
            match link.state() {
                _ if !concerns => {}
                LinkState::Silent if link.peer == 0 => return Some("public-network-silent"),
                LinkState::Silent => return Some("link-silent"),
                LinkState::Refused if link.peer != 0 => return Some("link-refused"),
                LinkState::Up if link.slow && link.peer != 0 => slow = Some("link-slow"),
                _ => {}
            }
        }
    }
    slow
}

/// The link to the public network belongs to the site of the node that measures it; a witness says something of its own.
fn target_counts(state: &State, address: &str) -> bool {
    let targets = &state.site_settings.targets;
    targets
        .iter()
        .any(|target| target.address == address && target.site == PUBLIC_TARGET)
}
