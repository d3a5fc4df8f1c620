//! Recording holders of leases and of locks, with the judges of what they recorded.
//!
//! All times are those of this process: a server can only act after a request was sent and before its answer or its event
//! was seen, so what is called a violation here is one whatever the clocks of the nodes say.

mod holders;
mod locks;

use std::time::{Duration, Instant};

pub use holders::LeaseHolders;
pub use locks::LockUsers;

/// Time to live of the leases, in seconds: short enough that a fault of a few seconds matters.
pub const TTL_SECONDS: i64 = 4;

/// A lease with one key, as its holder knows it.
#[derive(Debug, Clone)]
pub struct HeldLease {
    /// The key that goes with the lease.
    pub key: String,
    /// When the last request to keep it alive was sent that the server confirmed, or the one that granted it.
    pub renewed: Instant,
    /// Time to live that the server confirmed.
    pub ttl: Duration,
    /// When its key was seen to be gone; `None` if it never was.
    pub gone: Option<Instant>,
}

/// A time during which somebody could be sure to hold a lock.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Who.
    pub owner: String,
    /// When the answer was seen that gave the lock.
    pub from: Instant,
    /// When it was given back, or when its lease might have ended: whatever comes first.
    pub until: Instant,
    /// Revision at which the key of the lock was made; later holders have higher ones. `None` if it could not be read.
    pub revision: Option<i64>,
}

/// No lease ended before its time was over.
pub fn early_ends(leases: &[HeldLease]) -> Vec<String> {
    let early = |lease: &HeldLease| {
        let gone = lease.gone?;
        let due = lease.renewed + lease.ttl;
        (gone < due).then(|| {
            format!(
                "{} was gone {:?} after it had been renewed for {:?}",
                lease.key,
                gone.saturating_duration_since(lease.renewed),
                lease.ttl
            )
        })
    };
    leases.iter().filter_map(early).collect()
}

/// No two hold a lock at the same time, and it is handed on in the order of its keys.
pub fn double_holds(holds: &[Hold]) -> Vec<String> {
    let mut sorted: Vec<&Hold> = holds.iter().filter(|hold| hold.from < hold.until).collect();
    sorted.sort_by_key(|hold| hold.from);
    let mut violations = Vec::new();
    for pair in sorted.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if second.from < first.until {
            violations.push(format!(
                "{} and {} held the lock together for {:?}",
                first.owner,
                second.owner,
                first.until.min(second.until) - second.from
            ));
        }
        if let (Some(before), Some(after)) = (first.revision, second.revision)
            && after <= before
        {
            violations.push(format!(
                "{} held the lock by revision {after} after {} by revision {before}",
                second.owner, first.owner
            ));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_ends_early_is_found() {
        let origin = Instant::now();
        let at = |ms: u64| origin + Duration::from_millis(ms);
        let lease = |gone: Option<u64>| HeldLease {
            key: "k".to_owned(),
            renewed: at(1_000),
            ttl: Duration::from_secs(4),
            gone: gone.map(at),
        };
        assert_eq!(
            early_ends(&[lease(Some(5_000)), lease(Some(9_000)), lease(None)]),
            Vec::<String>::new()
        );
        assert_eq!(early_ends(&[lease(Some(4_999))]).len(), 1);
    }

    #[test]
    fn two_holders_and_a_holder_out_of_turn_are_found() {
        let origin = Instant::now();
        let at = |ms: u64| origin + Duration::from_millis(ms);
        let hold = |from: u64, until: u64, revision: i64| Hold {
            owner: format!("{from}"),
            from: at(from),
            until: at(until),
            revision: Some(revision),
        };
        assert!(double_holds(&[hold(20, 30, 3), hold(0, 10, 2)]).is_empty());
        assert_eq!(double_holds(&[hold(0, 10, 2), hold(9, 30, 3)]).len(), 1);
        assert_eq!(double_holds(&[hold(0, 10, 3), hold(20, 30, 2)]).len(), 1);
        // A hold whose lease was over before its answer came is none.
        assert!(double_holds(&[hold(0, 10, 2), hold(9, 9, 3)]).is_empty());
    }
}
