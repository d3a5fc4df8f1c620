//! Moves leadership to the preferred site: dc1, else dc2, else the arbiter, so that decisions are made where the data is.
//!
//! Only a leader acts, and only for a node of a better site that has been well without a break for a minute: heard, not
//! lapsed, not divergent, not short of disk, a voter whose disk has flushed the log to its end. Leadership moves at most once in ten seconds,
//! whoever moves it. Sites come from the registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_machine::{NodeRecord, State};
use quorate_raft::Handle;

use super::Heartbeats;

/// Sites, the preferred first; a node without one comes last.
const SITES: [&str; 3] = ["dc1", "dc2", "arbiter"];
/// Entries that a node's flushed log may be behind the leader's and still count as fresh.
const FRESH_ENTRIES: u64 = 256;
/// Time that a hand-over may take.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(2);

/// When leadership moves.
#[derive(Debug, Clone, Copy)]
pub struct LeaderPriority {
    /// How long the preferred node must have been well without a break.
    pub well_for: Duration,
    /// Least time since leadership moved last, wherever to.
    pub pause: Duration,
    /// From one look to the next.
    pub look_interval: Duration,
}

impl Default for LeaderPriority {
    fn default() -> Self {
        Self {
            well_for: Duration::from_secs(60),
            pause: Duration::from_secs(10),
            look_interval: Duration::from_secs(1),
        }
    }
}

/// Looks for ever.
pub async fn prefer_leaders(handle: Handle, heartbeats: Arc<Heartbeats>, priority: LeaderPriority) {
    let mut interval = tokio::time::interval(priority.look_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut well = WellSince::default();
    loop {
        interval.tick().await;
        if !handle.is_leader() {
            well = WellSince::default();
            continue;
        }
        let flushed = handle.flushed_indexes();
        let status = handle.status().borrow().clone();
        let is_fresh = |node: u64| {
            let end = status.last_log_index;
            let reached = flushed.get(&node).copied().unwrap_or(0);
            status.voters.contains(&node)
                && heartbeats.applied_index(node).is_some()
                && reached.saturating_add(FRESH_ENTRIES) >= end
        };
        let (better, led_for) = handle.read(|state| {
            let led_ms = handle.cluster_time_ms().saturating_sub(state.leadership().started_ms);
            (better_nodes(state, handle.node_id()), Duration::from_millis(led_ms))
        });
        let heirs = well.look(&better, is_fresh, Instant::now());
        let heir = heirs
            .into_iter()
            .find(|(_, since)| since.elapsed() >= priority.well_for);
        let Some((heir, _)) = heir.filter(|_| led_for >= priority.pause) else {
            continue;
        };
        tracing::info!(node = heir, "leadership goes to the preferred site");
        if let Err(error) = handle.transfer_leadership(Some(heir), HAND_OVER_DEADLINE).await {
            tracing::warn!(node = heir, "leadership was not handed over: {error}");
            // Whatever kept it from taking over: it has to be well for the whole time again.
            well = WellSince::default();
        }
    }
}

/// Nodes of a better site than this one's, the best first, that the state has nothing against.
fn better_nodes(state: &State, own: u64) -> Vec<u64> {
    let divergent = state.divergent_nodes();
    let short: Vec<u64> = state.nodes_short_of_disk().collect();
    let lapsed = |node: u64| state.worker(node).is_none_or(|worker| worker.lapsed);
    let own_rank = state.node(own).map_or(SITES.len(), rank);
    let mut better: Vec<(usize, u64)> = state
        .nodes()
        .map(|node| (rank(node), node.id))
        .filter(|(rank, node)| *rank < own_rank && !divergent.contains(node) && !short.contains(node) && !lapsed(*node))
        .collect();
    better.sort_unstable();
    better.into_iter().map(|(_, node)| node).collect()
}

fn rank(node: &NodeRecord) -> usize {
    SITES.iter().position(|site| *site == node.site).unwrap_or(SITES.len())
}

/// Since when each candidate has been well without a break, as far as this leader has looked.
#[derive(Default)]
struct WellSince(BTreeMap<u64, Instant>);

impl WellSince {
    /// Notes who is well now, and gives those with the time since when, in the order given.
    fn look(&mut self, candidates: &[u64], is_fresh: impl Fn(u64) -> bool, now: Instant) -> Vec<(u64, Instant)> {
        let fresh: Vec<u64> = candidates.iter().copied().filter(|node| is_fresh(*node)).collect();
        self.0.retain(|node, _| fresh.contains(node));
        let since = fresh.into_iter().map(|node| (node, *self.0.entry(node).or_insert(now)));
        since.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_begins_the_time_anew() {
        let mut well = WellSince::default();
        let begun = Instant::now();
        let later = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(well.look(&[1, 2], |_| true, begun), [(1, begun), (2, begun)]);
        assert_eq!(well.look(&[1, 2], |node| node == 2, later(30)), [(2, begun)]);
        assert_eq!(well.look(&[1, 2], |_| true, later(59)), [(1, later(59)), (2, begun)]);
        // Who is no candidate any more has no time either.
        assert_eq!(well.look(&[1], |_| true, later(61)), [(1, later(59))]);
    }

    #[test]
    fn sites_are_ranked() {
        let node = |site: &str| NodeRecord {
            site: site.to_owned(),
            ..NodeRecord::default()
        };
        let ranks = ["dc1", "dc2", "arbiter", ""].map(|site| rank(&node(site)));
        assert_eq!(ranks, [0, 1, 2, 3]);
    }
}
