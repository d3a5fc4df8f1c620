//! Failed logins, counted by user and source, so that passwords cannot be guessed quickly and strangers cannot keep this
//! node's few hashing threads busy. A stranger elsewhere locks nobody out: what one source did concerns that source alone, and
//! a password that was verified before is accepted all the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one user from one source within [`WINDOW`].
pub(crate) const MAX_FAILURES_PER_USER: u32 = 10;

/// Failures of all users together from one source within [`WINDOW`].
pub(crate) const MAX_FAILURES_PER_SOURCE: u32 = 100;

/// For how long failures are held against a source.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Remembered pairs; the oldest are forgotten first.
const MAX_REMEMBERED: usize = 16_384;

/// Longest user name that is told apart, in bytes.
const MAX_NAME_BYTES: usize = 128;

struct Failures {
    since: Instant,
    count: u32,
}

/// Failed logins of one port.
#[derive(Default)]
pub(crate) struct Attempts {
    /// By source and user; an empty user stands for all users of the source.
    failures: Mutex<HashMap<(String, String), Failures>>,
}

impl Attempts {
    /// How long this source has to wait before it may try this user again; `None` if it may try now.
    pub(crate) fn blocked(&self, source: &str, user: &str, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = [(name(user), MAX_FAILURES_PER_USER), ("", MAX_FAILURES_PER_SOURCE)];
        let waits = limits.into_iter().filter_map(|(user, limit)| {
            let found = failures.get(&(address(source).to_owned(), user.to_owned()))?;
            let remaining = WINDOW.checked_sub(now.duration_since(found.since))?;
            (found.count >= limit).then_some(remaining)
        });
        waits.max()
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, source: &str, user: &str, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_REMEMBERED {
            failures.retain(|_, found| now.duration_since(found.since) < WINDOW);
        }
        while failures.len() >= MAX_REMEMBERED {
            let oldest = failures.iter().min_by_key(|(_, found)| found.since);
            let Some(oldest) = oldest.map(|(pair, _)| pair.clone()) else {
                break;
            };
            failures.remove(&oldest);
        }
        for user in [name(user), ""] {
            let fresh = Failures { since: now, count: 0 };
            let found = failures
                .entry((address(source).to_owned(), user.to_owned()))
                .or_insert(fresh);
            if now.duration_since(found.since) >= WINDOW {
                *found = Failures { since: now, count: 0 };
            }
            found.count = found.count.saturating_add(1);
        }
    }

    /// Forgets the failures of a user who got in from this source.
    pub(crate) fn succeeded(&self, source: &str, user: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&(address(source).to_owned(), name(user).to_owned()));
    }
}

/// The address without the port, which differs with every connection.
fn address(source: &str) -> &str {
    source.rsplit_once(':').map_or(source, |(address, _)| address)
}

/// As much of a user's name as is told apart, and shown in the log.
pub(crate) fn name(user: &str) -> &str {
    let mut end = user.len().min(MAX_NAME_BYTES);
    while !user.is_char_boundary(end) {
        end -= 1;
    }
    &user[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_blocked_for_one_user_and_others_are_not() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for port in 0..MAX_FAILURES_PER_USER {
            assert_eq!(attempts.blocked("10.0.0.1:1", "root", now), None);
            attempts.failed(&format!("10.0.0.1:{port}"), "root", now);
        }
        assert_eq!(attempts.blocked("10.0.0.1:9", "root", now), Some(WINDOW));
        assert_eq!(attempts.blocked("10.0.0.2:9", "root", now), None);
        assert_eq!(attempts.blocked("10.0.0.1:9", "mas", now), None);
        assert_eq!(
            attempts.blocked("10.0.0.1:9", "root", now + WINDOW + Duration::from_secs(1)),
            None
        );
        attempts.succeeded("10.0.0.1:5", "root");
        assert_eq!(attempts.blocked("10.0.0.1:9", "root", now), None);
    }

    #[test]
    fn many_names_from_one_source_block_the_source() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for user in 0..MAX_FAILURES_PER_SOURCE {
            attempts.failed("[::1]:7", &format!("user-{user}"), now);
        }
        assert!(attempts.blocked("[::1]:8", "another", now).is_some());
        assert_eq!(attempts.blocked("[::2]:8", "another", now), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for source in 0..MAX_REMEMBERED {
            attempts.failed(&format!("source-{source}:1"), &"x".repeat(10_000), now);
        }
        assert!(attempts.failures.lock().expect("lock").len() <= MAX_REMEMBERED + 1);
    }
}
