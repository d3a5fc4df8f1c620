//! When each lease runs out, for one term of leadership.

use std::collections::HashMap;
use std::time::Duration;

use quorate_machine::Id;
use tokio::time::Instant;

/// An instance, a lease id, and the number of the lease's grant: another lease under the same id is another one here.
pub(super) type LeaseKey = (Id, i64, u64);

struct Entry {
    expires: Instant,
    /// An expiry was proposed and has no definite outcome yet.
    expiring: bool,
}

/// What became of a renewal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    Alive,
    /// The outcome of a proposed expiry must be known first.
    Expiring,
}

/// The leases of the term that this node leads, or led last.
#[derive(Default)]
pub(super) struct Table {
    term: u64,
    leases: HashMap<LeaseKey, Entry>,
}

impl Table {
    /// Begins anew in another term: every lease then starts at its full time to live when it is seen.
    fn enter(&mut self, term: u64) {
        if self.term != term {
            self.term = term;
            self.leases.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.leases.clear();
    }

    pub(super) fn renew(&mut self, term: u64, key: LeaseKey, ttl_seconds: i64, now: Instant) -> Lookup {
        self.enter(term);
        let expires = now + seconds(ttl_seconds);
        let entry = self.leases.entry(key).or_insert(Entry {
            expires,
            expiring: false,
        });
        if entry.expiring {
            return Lookup::Expiring;
        }
        entry.expires = expires;
        Lookup::Alive
    }

    /// Time left; `None` for a lease that was not seen yet.
    pub(super) fn remaining(&mut self, term: u64, key: LeaseKey, now: Instant) -> Option<Duration> {
        self.enter(term);
        let entry = self.leases.get(&key)?;
        Some(entry.expires.saturating_duration_since(now))
    }

    /// Gives every lease back the time in which nobody could renew it, up to its full time to live. One whose expiry was proposed
    /// stays as it is, because that proposal may still be applied.
    pub(super) fn postpone(&mut self, existing: &[(LeaseKey, i64)], lost: Duration, now: Instant) {
        for (key, ttl_seconds) in existing {
            if let Some(entry) = self.leases.get_mut(key).filter(|entry| !entry.expiring) {
                entry.expires = (entry.expires + lost).min(now + seconds(*ttl_seconds));
            }
        }
    }

    /// Takes over the leases that exist (with their times to live in seconds), forgets the others, and marks at most
    /// `max_due` of those that ran out, or whose expiry had no outcome, as expiring. Gives the marked ones.
    pub(super) fn sweep(
        &mut self,
        term: u64,
        existing: &[(LeaseKey, i64)],
        now: Instant,
        max_due: usize,
    ) -> Vec<LeaseKey> {
        self.enter(term);
        let mut before = std::mem::take(&mut self.leases);
        let mut due = Vec::new();
        for (key, ttl_seconds) in existing {
            let expires = now + seconds(*ttl_seconds);
            let mut entry = before.remove(key).unwrap_or(Entry {
                expires,
                expiring: false,
            });
            if entry.expires <= now && due.len() < max_due {
                entry.expiring = true;
                due.push(*key);
            }
            self.leases.insert(*key, entry);
        }
        due
    }

    pub(super) fn remove(&mut self, term: u64, key: LeaseKey) {
        if self.term == term {
            self.leases.remove(&key);
        }
    }
}

fn seconds(ttl_seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl_seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: LeaseKey = (Id::from_u128(1), 7, 1);

    #[test]
    fn a_lease_runs_out_unless_renewed_and_then_waits_for_the_outcome() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Table::default();
        assert_eq!(table.sweep(1, &[(KEY, 5)], at(0), 10), []);
        assert_eq!(table.renew(1, KEY, 5, at(4)), Lookup::Alive);
        assert_eq!(table.sweep(1, &[(KEY, 5)], at(8), 10), []);
        assert_eq!(table.remaining(1, KEY, at(8)), Some(Duration::from_secs(1)));
        assert_eq!(table.sweep(1, &[(KEY, 5)], at(9), 10), [KEY]);
        assert_eq!(table.renew(1, KEY, 5, at(9)), Lookup::Expiring);
        assert_eq!(
            table.sweep(1, &[(KEY, 5)], at(10), 10),
            [KEY],
            "proposed again until it is gone"
        );
        assert_eq!(table.sweep(1, &[], at(11), 10), []);
        assert_eq!(table.remaining(1, KEY, at(11)), None);
    }

    #[test]
    fn a_new_term_starts_every_lease_at_its_full_time() {
        let start = Instant::now();
        let mut table = Table::default();
        table.sweep(1, &[(KEY, 5)], start, 10);
        let later = start + Duration::from_secs(100);
        assert_eq!(table.sweep(2, &[(KEY, 5)], later, 10), []);
        assert_eq!(table.remaining(2, KEY, later), Some(Duration::from_secs(5)));
    }

    #[test]
    fn time_without_a_quorum_does_not_count_unless_the_expiry_is_under_way() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let [other, young] = [8, 9].map(|lease| (KEY.0, lease, 2));
        let existing = [(KEY, 5), (other, 60), (young, 30)];
        let mut table = Table::default();
        table.sweep(1, &existing[..2], at(0), 10);
        assert_eq!(table.sweep(1, &existing[..2], at(5), 10), [KEY]);
        table.renew(1, young, 30, at(99));
        table.postpone(&existing, Duration::from_secs(90), at(100));
        let mut left = |key| table.remaining(1, key, at(100)).map(|left| left.as_secs());
        assert_eq!(left(other), Some(50), "what it had when the quorum was lost");
        assert_eq!(left(young), Some(30), "at most its whole time");
        assert_eq!(table.sweep(1, &existing, at(100), 10), [KEY]);
    }

    #[test]
    fn a_lease_granted_again_has_its_own_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let again = (KEY.0, KEY.1, 2);
        let mut table = Table::default();
        table.sweep(1, &[(KEY, 5)], at(0), 10);
        assert_eq!(table.sweep(1, &[(KEY, 5)], at(5), 10), [KEY]);
        // Revoked and granted again before the outcome is known.
        assert_eq!(table.renew(1, again, 9, at(5)), Lookup::Alive);
        table.remove(1, KEY);
        assert_eq!(table.sweep(1, &[(again, 9)], at(13), 10), []);
        assert_eq!(table.sweep(1, &[(again, 9)], at(14), 10), [again]);
    }

    #[test]
    fn expiries_are_paced() {
        let start = Instant::now();
        let leases: Vec<(LeaseKey, i64)> = (0..30).map(|lease| ((KEY.0, lease, 1), 2)).collect();
        let mut table = Table::default();
        table.sweep(1, &leases, start, 10);
        assert_eq!(table.sweep(1, &leases, start + Duration::from_secs(3), 10).len(), 10);
    }
}
