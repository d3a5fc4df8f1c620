//! What the consensus library counts its batches with: a stand-in for the crate of this name, by `[patch.crates-io]`.
//!
//! The original makes tables for sixteen precisions with its first histogram, 27 MiB that stay for the life of a node; the library
//! uses one of them, and nothing reads its figures here (`docs/decisions/140-a-histogram-without-tables.md`). This one counts
//! by powers of two. It has the part of the interface that the library calls: what the appliance measures itself is in
//! `raft/src/measures.rs`.

use std::fmt;
use std::marker::PhantomData;

/// One bucket for zero and one for each position of a value's highest bit.
const BUCKETS: usize = 65;

/// Counts of values by their highest bit. `T` marks slots in the original, of which the library has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    slots: PhantomData<T>,
}

/// The value below which each share of the samples lies, as the lower bound of its bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// Of a thousandth of the samples.
    pub p0_1: u64,
    /// Of a hundredth.
    pub p1: u64,
    /// Of a twentieth.
    pub p5: u64,
    /// Of a tenth.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// Of nine tenths.
    pub p90: u64,
    /// Of all but a hundredth.
    pub p99: u64,
    /// Of all but a thousandth.
    pub p99_9: u64,
}

impl<T> Histogram<T> {
    /// Without values.
    pub fn new() -> Self {
        Histogram {
            counts: [0; BUCKETS],
            slots: PhantomData,
        }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value so many times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
    }

    /// The usual percentiles; all zero without values.
    pub fn percentile_stats(&self) -> PercentileStats {
        let samples = self.counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let at = |thousandths: u64| self.at_rank((u128::from(samples) * u128::from(thousandths)).div_ceil(1000));
        PercentileStats {
            samples,
            p0_1: at(1),
            p1: at(10),
            p5: at(50),
            p10: at(100),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
        }
    }

    /// Lower bound of the bucket that holds the sample of this rank, from 1.
    fn at_rank(&self, rank: u128) -> u64 {
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += u128::from(*count);
            if below >= rank {
                return bucket.checked_sub(1).map_or(0, |bit| 1 << bit);
            }
        }
        0
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Histogram::new()
    }
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats {
            samples, p50, p90, p99, ..
        } = self;
        write!(f, "{samples} samples, p50 {p50}, p90 {p90}, p99 {p99}")
    }
}

/// Several histograms under their names, one line each.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    rows: Vec<(String, Histogram)>,
}

impl AsciiChart {
    /// Without rows.
    pub fn new() -> Self {
        AsciiChart::default()
    }

    /// With one more row.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.rows.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.rows {
            writeln!(f, "{name}: {}", histogram.percentile_stats())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_lower_bounds_of_powers_of_two() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        histogram.record(0);
        for value in 1..100 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 100);
        assert_eq!([stats.p0_1, stats.p1, stats.p5, stats.p10], [0, 0, 4, 8]);
        assert_eq!([stats.p50, stats.p90, stats.p99, stats.p99_9], [32, 64, 64, 64]);
    }

    #[test]
    fn the_largest_value_and_count_fit() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(u64::MAX, u64::MAX);
        histogram.record_n(1, u64::MAX);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p99_9), (u64::MAX, 1, 1));
        let chart = AsciiChart::new().add("all", histogram);
        assert_eq!(
            chart.to_string(),
            format!("all: {} samples, p50 1, p90 1, p99 1\n", u64::MAX)
        );
    }
}
