//! Limits on login attempts: per user from one address, and per address. Nobody can lock out a user for somebody else, and
//! no address can lock out another one.
//!
//! A password may be guessed from many addresses at once. That must not lock the user out either, so above the limit of a
//! user as such an attempt is only made to wait: guessing gets slow, logging in stays possible.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::StatusCode;
use quorate_machine::catalog::{Texts, edge};

use crate::language::text;
use crate::limits::{
    LOGIN_BURST_PER_SOURCE, LOGIN_BURST_PER_USER, LOGIN_LIMITER_KEYS, LOGIN_PAUSE, LOGINS_AT_ONCE_PER_SOURCE,
    RETRY_AFTER_SECONDS,
};
use crate::problem::Problem;

/// Key of everybody whom there is no room to tell apart any more.
const CROWD: &str = "";

/// The limiters of this node. They count every attempt, right or wrong, before any hash is computed.
pub(crate) struct LoginLimits {
    clock: DefaultClock,
    per_source: DefaultKeyedRateLimiter<String>,
    per_pair: DefaultKeyedRateLimiter<String>,
    per_user: DefaultKeyedRateLimiter<String>,
    under_way: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// An admitted attempt. While it lives it takes one of the places of its address.
pub(crate) struct Attempt {
    /// How long to wait before the password is looked at.
    pub(crate) pause: Duration,
    source: String,
    under_way: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = under_way.get_mut(&self.source) {
            *places -= 1;
            if *places == 0 {
                under_way.remove(&self.source);
            }
        }
    }
}

impl LoginLimits {
    pub(crate) fn new() -> Self {
        Self {
            clock: DefaultClock::default(),
            per_source: RateLimiter::keyed(quota(LOGIN_BURST_PER_SOURCE, Duration::from_secs(1))),
            per_pair: RateLimiter::keyed(quota(LOGIN_BURST_PER_USER, Duration::from_secs(2))),
            per_user: RateLimiter::keyed(quota(LOGIN_BURST_PER_USER, Duration::from_secs(2))),
            under_way: Arc::default(),
        }
    }

    /// Counts one attempt; 429 with `Retry-After` when a limit of the address is used up.
    pub(crate) fn attempt(&self, source: &str, user: &str) -> Result<Attempt, Problem> {
        let mut attempt = self.take_place(source)?;
        self.check(&self.per_source, source)
            .map_err(|seconds| limited(edge::LOGIN_LIMITED_SOURCE, seconds))?;
        self.check(&self.per_pair, &format!("{source}\n{user}"))
            .map_err(|seconds| limited(edge::LOGIN_LIMITED_PAIR, seconds))?;
        if self.check(&self.per_user, user).is_err() {
            attempt.pause = LOGIN_PAUSE;
        }
        Ok(attempt)
    }

    /// The queue for the processors is short: one address must not fill it.
    fn take_place(&self, source: &str) -> Result<Attempt, Problem> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let places = under_way.entry(source.to_owned()).or_default();
        if *places >= LOGINS_AT_ONCE_PER_SOURCE {
            return Err(limited(edge::LOGIN_LIMITED_SOURCE, RETRY_AFTER_SECONDS));
        }
        *places += 1;
        Ok(Attempt {
            pause: Duration::ZERO,
            source: source.to_owned(),
            under_way: self.under_way.clone(),
        })
    }

    /// Seconds to wait, if the limit of `key` is used up.
    fn check(&self, limiter: &DefaultKeyedRateLimiter<String>, key: &str) -> Result<(), u64> {
        if limiter.len() >= LOGIN_LIMITER_KEYS {
            limiter.retain_recent();
        }
        let key = if limiter.len() >= LOGIN_LIMITER_KEYS {
            CROWD
        } else {
            key
        };
        let checked = limiter.check_key(&key.to_owned());
        checked.map_err(|until| until.wait_time_from(self.clock.now()).as_secs() + 1)
    }
}

fn quota(burst: u32, refill: Duration) -> Quota {
    let burst = NonZeroU32::new(burst).expect("a limit above zero");
    Quota::with_period(refill)
        .expect("a period above zero")
        .allow_burst(burst)
}

fn limited(texts: Texts, seconds: u64) -> Problem {
    let detail = text(texts, &[("seconds", &seconds)]);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_on_a_user_slows_its_logins_and_locks_none() {
        let limits = LoginLimits::new();
        for n in 0..200 {
            let attempt = limits.attempt(&format!("10.0.{n}.1"), "root");
            assert!(attempt.is_ok(), "each address has limits of its own");
        }
        let own = limits.attempt("192.0.2.7", "root").expect("root still gets in");
        assert_eq!(own.pause, LOGIN_PAUSE);
        let other = limits.attempt("192.0.2.7", "ada").expect("and others at once");
        assert_eq!(other.pause, Duration::ZERO);
    }

    #[test]
    fn a_flood_from_one_address_is_its_own_business() {
        let limits = LoginLimits::new();
        let flood = (0..LOGIN_BURST_PER_SOURCE + 5).map(|n| limits.attempt("10.0.0.1", &format!("user-{n}")).is_ok());
        assert!(flood.filter(|admitted| !admitted).count() >= 4);
        assert!(limits.attempt("10.0.0.2", "user-1").is_ok());
        let held: Vec<_> = (0..LOGINS_AT_ONCE_PER_SOURCE)
            .map(|_| limits.attempt("10.0.0.3", "a"))
            .collect();
        assert!(held.iter().all(Result::is_ok));
        assert!(limits.attempt("10.0.0.3", "a").is_err(), "no place left");
        drop(held);
        assert!(limits.attempt("10.0.0.3", "a").is_ok(), "places come back");
    }
}
