//! When the next attempt is due: pure, on the caller's monotonic clock.

use quorate_machine::{DataCenter, Id};

/// Workers whose attempts are spread evenly over one interval.
const WORKERS: u64 = 3;

/// Grid of attempts of one (monitor, data center, node).
///
/// The grid's phase follows from the ids alone, so a hundred monitors do not fire together after a start, and the three
/// nodes probe one source a third of the interval apart (a failure is seen sooner by one of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval_ms: u64,
    offset_ms: u64,
}

impl Schedule {
    /// The grid for `interval_ms` (the monitor's retry interval).
    ///
    /// # Panics
    /// `interval_ms` is 0: a validated monitor has at least 100.
    pub fn new(monitor: Id, data_center: DataCenter, node: u64, interval_ms: u64) -> Self {
        assert!(interval_ms > 0, "a retry interval of 0 ms");
        let source = fnv1a(&[&monitor.as_u128().to_be_bytes()[..], data_center.name().as_bytes()]);
        let share = node % WORKERS * interval_ms / WORKERS;
        Self {
            interval_ms,
            offset_ms: (source % interval_ms + share) % interval_ms,
        }
    }

    /// Time of the first attempt after `now_ms`. Grid points missed meanwhile are skipped, never made up for.
    pub fn next_after(&self, now_ms: u64) -> u64 {
        let phase = (now_ms + self.interval_ms - self.offset_ms) % self.interval_ms;
        now_ms + self.interval_ms - phase
    }
}

/// FNV-1a, 64 bit: spreads ids, protects nothing.
fn fnv1a(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_MS: u64 = 3000;

    #[test]
    fn attempts_lie_one_interval_apart_and_after_now() {
        let schedule = Schedule::new(Id::from_u128(7), DataCenter::Dc1, 2, INTERVAL_MS);
        let first = schedule.next_after(10_000);
        assert!((10_001..=13_000).contains(&first));
        assert_eq!(schedule.next_after(first), first + INTERVAL_MS);
        assert_eq!(schedule.next_after(first - 1), first);
        // A long pause is not made up for.
        assert_eq!(
            schedule.next_after(first + 10 * INTERVAL_MS + 5),
            first + 11 * INTERVAL_MS
        );
    }

    #[test]
    fn nodes_probe_a_third_of_the_interval_apart() {
        let mut due: Vec<u64> = (1..=3)
            .map(|node| Schedule::new(Id::from_u128(7), DataCenter::Dc1, node, INTERVAL_MS).next_after(0))
            .collect();
        due.sort_unstable();
        assert_eq!((due[1] - due[0], due[2] - due[1]), (1000, 1000));
    }

    #[test]
    fn a_hundred_monitors_spread_over_the_interval() {
        let mut tenths = [0u32; 10];
        for monitor in 0..100u128 {
            for data_center in DataCenter::ALL {
                let id = Id::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + monitor);
                let due = Schedule::new(id, data_center, 1, INTERVAL_MS).next_after(0);
                tenths[((due - 1) * 10 / INTERVAL_MS) as usize] += 1;
            }
        }
        assert!(tenths.iter().all(|count| (8..=35).contains(count)), "{tenths:?}");
    }
}
