//! Comparison of the state hashes that nodes report (every 1024 entries): which node differs from the majority.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::apply::Context;
use crate::command::{Command, Principal, PrincipalKind};
use crate::events::{self, EventCode};
use crate::live::HashReport;
use crate::reply::{Param, Refusal, RefusalCode};
use crate::state::State;

/// Log indices whose hash reports are kept.
pub(crate) const MAX_HASH_INDICES: usize = 4;

impl State {
    /// Nodes whose hash differs from one that a majority of the members that ever served agrees on, at any of the indices kept.
    pub fn divergent_nodes(&self) -> Vec<u64> {
        self.differences().into_keys().collect()
    }

    /// Divergent nodes, each with the newest index at which it differs.
    fn differences(&self) -> BTreeMap<u64, u64> {
        let mut differences = BTreeMap::new();
        for (index, reports) in self.hash_groups() {
            let Some(agreed) = self.agreed(&reports) else {
                continue;
            };
            let others = reports.iter().filter(|report| report.hash != agreed);
            differences.extend(others.map(|report| (report.node, index)));
        }
        differences
    }

    /// True if every member that is heard has reported some index and no majority of those that ever served agrees on it: nobody can
    /// be chosen. Writes of clients are refused as long as this lasts. It ends when nodes come back from an intact snapshot
    /// and log and report the index again.
    ///
    /// A member that has lapsed is not waited for: two nodes that differ are no majority, whatever the third would say.
    pub fn hash_majority_lost(&self) -> bool {
        // Asked for every command: where all reports of an index are equal, as they should be, nothing is collected.
        let mut differs = false;
        let mut last: Option<&HashReport> = None;
        for report in self.hash_reports.values() {
            differs |= last.is_some_and(|last| last.index == report.index && last.hash != report.hash);
            last = Some(report);
        }
        differs
            && self
                .hash_groups()
                .into_values()
                .any(|reports| self.is_undecided(&reports))
    }

    fn is_undecided(&self, reports: &[&HashReport]) -> bool {
        let reported = |node: u64| reports.iter().any(|report| report.node == node);
        let lapsed = |node: u64| self.worker(node).is_some_and(|worker| worker.lapsed);
        let complete = self.comparable().all(|node| reported(node) || lapsed(node));
        let differ = reports.iter().any(|report| report.hash != reports[0].hash);
        complete && differ && self.agreed(reports).is_none()
    }

    /// What a node reported of one log index, as long as that is kept.
    pub fn hash_report_at(&self, node: u64, index: u64) -> Option<&HashReport> {
        self.hash_reports.get(&(index, node))
    }

    /// The lowest log index whose reports are kept; `None` before the first report.
    pub fn oldest_hash_index(&self) -> Option<u64> {
        self.hash_reports.keys().next().map(|(index, _)| *index)
    }

    /// The last hash that a node reported.
    pub fn hash_report(&self, node: u64) -> Option<&HashReport> {
        self.hash_reports.values().rev().find(|report| report.node == node)
    }

    fn hash_groups(&self) -> BTreeMap<u64, Vec<&HashReport>> {
        let mut groups: BTreeMap<u64, Vec<&HashReport>> = BTreeMap::new();
        for report in self.hash_reports.values() {
            groups.entry(report.index).or_default().push(report);
        }
        groups
    }

    /// Members that a comparison waits for and counts: those whose worker some leader has heard, or that have reported a hash.
    ///
    /// Another member has been registered and has never served: it holds no state that could agree or differ. Waited for, it
    /// would keep every comparison open for ever; counted, it would make two that agree of three no majority of four. What is
    /// left is never less than a majority of those who hold the state: who serves is heard within a heartbeat, stays known when
    /// it lapses and until it is removed, and counts at the latest with its own first report. One member alone differs from
    /// nobody, and of two both must agree.
    fn comparable(&self) -> impl Iterator<Item = u64> {
        let reported = |node: u64| self.hash_reports.values().any(|report| report.node == node);
        let nodes = self.nodes.keys().copied();
        nodes.filter(move |node| self.workers.contains_key(node) || reported(*node))
    }

    fn agreed(&self, reports: &[&HashReport]) -> Option<Bytes> {
        let majority = self.comparable().count() / 2 + 1;
        let agree = |hash: &Bytes| reports.iter().filter(|report| report.hash == *hash).count();
        reports
            .iter()
            .map(|report| &report.hash)
            .find(|hash| agree(hash) >= majority)
            .cloned()
    }
}

/// Refuses what clients and operators write while nobody knows which node's state is the right one. The cluster's own
/// commands go on: among them are the reports that end this. So does a pause of automatic switching, which moves nothing.
pub(crate) fn check_writes(state: &State, author: &Principal, command: &Command) -> Result<(), Refusal> {
    let own = matches!(author.kind, Some(PrincipalKind::Node(_)));
    let pause = matches!(command, Command::SetPause(pause) if pause.paused);
    if !own && !pause && state.hash_majority_lost() {
        return Err(Refusal::new(RefusalCode::StateHashesDiffer));
    }
    Ok(())
}

/// What a removed node reported counts no more.
pub(crate) fn forget_node(state: &mut State, node: u64) {
    let reports = std::mem::take(&mut state.hash_reports);
    state.hash_reports = reports.into_iter().filter(|((_, by), _)| *by != node).collect();
}

/// Records who has become divergent by this entry.
pub(crate) fn note_divergent(state: &mut State, context: &mut Context<'_>, before: &[u64]) {
    for (node, index) in state.differences() {
        if !before.contains(&node) {
            let params = vec![Param::new("node", node), Param::new("index", index)];
            events::record(state, context, EventCode::StateDiverged, None, params);
        }
    }
}

/// Records the alarm if the majority has been lost by this entry.
pub(crate) fn note_majority(state: &mut State, context: &mut Context<'_>, lost_before: bool) {
    if lost_before || !state.hash_majority_lost() {
        return;
    }
    let groups = state.hash_groups();
    let undecided = groups.iter().find(|(_, reports)| state.is_undecided(reports));
    let params = undecided
        .map(|(index, _)| Param::new("index", index))
        .into_iter()
        .collect();
    events::record(state, context, EventCode::StateHashMajorityLost, None, params);
}
