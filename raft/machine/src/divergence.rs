//! Comparison of the state hashes that nodes report (every 1024 entries): which node differs from the majority.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::live::HashReport;
use crate::state::State;

/// Log indices whose hash reports are kept.
pub(crate) const MAX_HASH_INDICES: usize = 4;

impl State {
    /// Nodes whose hash differs from one that a majority of the members agrees on, at any of the indices kept.
    pub fn divergent_nodes(&self) -> Vec<u64> {
        let mut divergent: Vec<u64> = self
            .hash_groups()
            .into_values()
            .filter_map(|reports| {
                let agreed = self.agreed(&reports)?;
                let others = reports.iter().filter(|report| report.hash != agreed);
                Some(others.map(|report| report.node).collect::<Vec<_>>())
            })
            .flatten()
            .collect();
        divergent.sort_unstable();
        divergent.dedup();
        divergent
    }

    /// True if every member has reported some index and no majority of them agrees: nobody can be chosen.
    pub fn hash_majority_lost(&self) -> bool {
        self.hash_groups().into_values().any(|reports| {
            !self.nodes.is_empty() && reports.len() >= self.nodes.len() && self.agreed(&reports).is_none()
        })
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

    fn agreed(&self, reports: &[&HashReport]) -> Option<Bytes> {
        let majority = self.nodes.len() / 2 + 1;
        let agree = |hash: &Bytes| reports.iter().filter(|report| report.hash == *hash).count();
        reports
            .iter()
            .map(|report| &report.hash)
            .find(|hash| agree(hash) >= majority)
            .cloned()
    }
}
