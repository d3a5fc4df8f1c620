//! Limits on login attempts: per user from one address, and per address. Nobody can lock out a user for somebody else, and
//! no address can lock out another one.
//!
//! A password may be guessed from many addresses at once. That must not lock the user out either, so above the limit of a
//! user as such an attempt is only made to wait: guessing gets slow, logging in stays possible.

use std::num::NonZeroU32;
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
use crate::places::{Place, Places};
use crate::problem::Problem;

/// Key of everybody whom there is no room to tell apart any more.
const CROWD: &str = "";

/// The limiters of this node. They count every attempt, right or wrong, before any hash is computed.
pub(crate) struct LoginLimits {
    clock: DefaultClock,
    per_source: DefaultKeyedRateLimiter<String>,
    per_pair: DefaultKeyedRateLimiter<String>,
    per_user: DefaultKeyedRateLimiter<String>,
    under_way: Places,
}

impl LoginLimits {
    pub(crate) fn new() -> Self {
        Self {
            clock: DefaultClock::default(),
            per_source: RateLimiter::keyed(quota(LOGIN_BURST_PER_SOURCE, Duration::from_secs(1))),
            per_pair: RateLimiter::keyed(quota(LOGIN_BURST_PER_USER, Duration::from_secs(2))),
            per_user: RateLimiter::keyed(quota(LOGIN_BURST_PER_USER, Duration::from_secs(2))),
            under_way: Places::new(LOGINS_AT_ONCE_PER_SOURCE),
        }
    }

    /// One of the places of an address, to be held for as long as a login is under way: what it sends takes memory, and the
    /// queue for the processors is short. Counts the attempt; 429 with `Retry-After` when a limit of the address is used up.
    pub(crate) fn place(&self, source: &str) -> Result<Place, Problem> {
        let place = self.under_way.take(source);
        let place = place.ok_or_else(|| limited(edge::LOGIN_LIMITED_SOURCE, RETRY_AFTER_SECONDS))?;
        self.check(&self.per_source, source)
            .map_err(|seconds| limited(edge::LOGIN_LIMITED_SOURCE, seconds))?;
        Ok(place)
    }

    /// Counts one attempt for a user and gives how long to wait before the password is looked at; 429 with `Retry-After` when a limit of
    /// the address is used up.
    pub(crate) fn attempt(&self, source: &str, user: &str) -> Result<Duration, Problem> {
        self.check(&self.per_pair, &format!("{source}\n{user}"))
            .map_err(|seconds| limited(edge::LOGIN_LIMITED_PAIR, seconds))?;
        let guessed_at = self.check(&self.per_user, user).is_err();
        Ok(if guessed_at { LOGIN_PAUSE } else { Duration::ZERO })
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
        assert_eq!(own, LOGIN_PAUSE);
        let other = limits.attempt("192.0.2.7", "ada").expect("and others at once");
        assert_eq!(other, Duration::ZERO);
    }

    #[test]
    fn a_flood_from_one_address_is_its_own_business() {
        let limits = LoginLimits::new();
        let flood = (0..LOGIN_BURST_PER_SOURCE + 5).map(|_| limits.place("10.0.0.1").is_ok());
        assert!(flood.filter(|admitted| !admitted).count() >= 4);
        assert!(limits.place("10.0.0.2").is_ok());
        let held: Vec<_> = (0..LOGINS_AT_ONCE_PER_SOURCE)
            .map(|_| limits.place("10.0.0.3"))
            .collect();
        assert!(held.iter().all(Result::is_ok));
        assert!(limits.place("10.0.0.3").is_err(), "no place left");
        drop(held);
        assert!(limits.place("10.0.0.3").is_ok(), "places come back");
    }
}
