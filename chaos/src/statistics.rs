//! Percentiles and how they are printed.

use std::time::Duration;

/// The `percent`-th percentile by the nearest-rank method; zero for an empty sample.
pub fn percentile(sample: &mut [Duration], percent: u32) -> Duration {
    if sample.is_empty() {
        return Duration::ZERO;
    }
    sample.sort_unstable();
    let rank = (sample.len() * percent as usize).div_ceil(100).max(1);
    sample[rank - 1]
}

/// Milliseconds with one digit.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

/// `p50 … p99 … max …` of a sample, in milliseconds.
pub fn summary(sample: &mut [Duration]) -> String {
    let p50 = milliseconds(percentile(sample, 50));
    let p99 = milliseconds(percentile(sample, 99));
    let max = milliseconds(sample.last().copied().unwrap_or_default());
    format!("p50 {p50} ms, p99 {p99} ms, max {max} ms, n = {}", sample.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut sample: Vec<Duration> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut sample, 50), Duration::from_millis(10));
        assert_eq!(percentile(&mut sample, 99), Duration::from_millis(20));
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }
}
