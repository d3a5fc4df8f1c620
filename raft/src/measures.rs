//! What consensus measures of itself, as plain numbers; whoever exports them knows the format.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of a histogram's buckets for single operations, microseconds.
const OPERATION_BOUNDS_US: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
];
/// The same for work on whole snapshots.
const SNAPSHOT_BOUNDS_US: &[u64] = &[
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// Durations counted by size.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationHistogram {
    /// (upper bound, count of durations up to it and above the bound before), by rising bounds.
    pub buckets: Vec<(Duration, u64)>,
    /// Durations above the last bound.
    pub above: u64,
    /// All durations together.
    pub sum: Duration,
}

impl DurationHistogram {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.above
    }
}

/// Counts durations without locks.
#[derive(Debug)]
pub(crate) struct Durations {
    bounds_us: &'static [u64],
    /// One per bound, and one for what lies above.
    counts: Vec<AtomicU64>,
    sum_us: AtomicU64,
}

impl Durations {
    /// For operations that take milliseconds.
    pub fn of_operations() -> Self {
        Self::new(OPERATION_BOUNDS_US)
    }

    /// For work on snapshots.
    pub fn of_snapshots() -> Self {
        Self::new(SNAPSHOT_BOUNDS_US)
    }

    fn new(bounds_us: &'static [u64]) -> Self {
        Self {
            bounds_us,
            counts: (0..=bounds_us.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        }
    }

    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds_us.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn read(&self) -> DurationHistogram {
        let count = |bucket: usize| self.counts[bucket].load(Ordering::Relaxed);
        let bounds = self.bounds_us.iter().enumerate();
        DurationHistogram {
            buckets: bounds
                .map(|(bucket, bound)| (Duration::from_micros(*bound), count(bucket)))
                .collect(),
            above: count(self.bounds_us.len()),
            sum: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)),
        }
    }
}

/// What is counted where it happens; the rest of [`ConsensusMetrics`] is read when asked for.
#[derive(Debug)]
pub(crate) struct Measures {
    /// Applying a batch of entries to the state.
    pub apply: Durations,
    pub snapshot_build: Durations,
    pub snapshots_failed: AtomicU64,
    pub snapshot_install: Durations,
    /// Proposals that ended with a reply of the machine.
    pub proposals_answered: AtomicU64,
    /// Proposals that ended with an error of consensus.
    pub proposals_failed: AtomicU64,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            apply: Durations::of_operations(),
            snapshot_build: Durations::of_snapshots(),
            snapshots_failed: AtomicU64::new(0),
            snapshot_install: Durations::of_snapshots(),
            proposals_answered: AtomicU64::new(0),
            proposals_failed: AtomicU64::new(0),
        }
    }
}

/// How consensus does on this node. Counters rise from the start of the process.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsensusMetrics {
    /// Times that this node saw another leader, or the same one in another term.
    pub leader_changes: u64,
    /// Index of the last entry in this node's state.
    pub applied_index: u64,
    /// The log holds nothing up to this index; 0 if it is whole.
    pub log_purged_index: u64,
    /// Proposals made here that have no answer yet.
    pub proposals_pending: u64,
    /// Proposals made here that the machine answered, refusals included.
    pub proposals_answered: u64,
    /// Proposals made here that ended without an answer: no leader, too many, timed out.
    pub proposals_failed: u64,
    /// Requests that wait for the log's writer.
    pub log_queue: u64,
    /// Bytes of entries applied since the last snapshot was begun.
    pub log_since_snapshot_bytes: u64,
    /// Synced writes of the log.
    pub fsync: DurationHistogram,
    /// Applying a batch of entries to the state.
    pub apply: DurationHistogram,
    /// Writing a snapshot.
    pub snapshot_build: DurationHistogram,
    /// Snapshots that could not be written: the log is not shortened meanwhile.
    pub snapshots_failed: u64,
    /// Reading and installing a snapshot that was received.
    pub snapshot_install: DurationHistogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_bounds_them() {
        let durations = Durations::of_operations();
        for us in [1, 100, 101, 1_000, 9_999_999] {
            durations.record(Duration::from_micros(us));
        }
        let read = durations.read();
        let count = |us| {
            let bound = Duration::from_micros(us);
            read.buckets.iter().find(|(of, _)| *of == bound).expect("a bound").1
        };
        assert_eq!((count(100), count(250), count(1_000), read.above), (2, 1, 1, 1));
        assert_eq!((read.count(), read.sum), (5, Duration::from_micros(10_001_201)));
    }
}
