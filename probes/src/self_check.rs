//! Whether a worker is the sick one: pure, on what the node has found about its targets and its peers.

use quorate_machine::Vote;

/// What a node sees around it at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSummary {
    /// Targets (monitor and data center) this node probes.
    pub targets: u32,
    /// Those whose last attempt failed (see `Judge::is_failing`).
    pub failing_targets: u32,
    /// Other nodes of the cluster.
    pub peers: u32,
    /// Those that do not answer.
    pub unreachable_peers: u32,
}

impl WorkerSummary {
    /// Every target and every peer fails at once: the fault is here, and this worker's failures are no evidence.
    pub fn is_sick(&self) -> bool {
        self.targets > 0
            && self.failing_targets >= self.targets
            && self.peers > 0
            && self.unreachable_peers >= self.peers
    }

    /// The vote this worker may cast: its judge's, or `unknown` while it is the sick one.
    pub fn effective_vote(&self, vote: Vote) -> Vote {
        if self.is_sick() { Vote::Unknown } else { vote }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(targets: u32, failing_targets: u32, peers: u32, unreachable_peers: u32) -> WorkerSummary {
        WorkerSummary {
            targets,
            failing_targets,
            peers,
            unreachable_peers,
        }
    }

    #[test]
    fn only_total_failure_makes_a_worker_sick() {
        for (case, sick) in [
            (summary(4, 4, 2, 2), true),
            (summary(4, 3, 2, 2), false),
            (summary(4, 4, 2, 1), false),
            (summary(1, 1, 2, 2), true),
            (summary(0, 0, 2, 2), false),
            (summary(4, 4, 0, 0), false),
        ] {
            assert_eq!(case.is_sick(), sick, "{case:?}");
            let expected = if sick { Vote::Unknown } else { Vote::Down };
            assert_eq!(case.effective_vote(Vote::Down), expected, "{case:?}");
        }
    }
}
