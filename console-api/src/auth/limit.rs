//! Limits on login attempts, per source address and per user.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::StatusCode;

use crate::limits::{LOGIN_BURST_PER_SOURCE, LOGIN_BURST_PER_USER, LOGIN_LIMITER_KEYS};
use crate::problem::Problem;

/// The two limiters of this node. Both count every attempt, right or wrong, before any hash is computed.
pub(crate) struct LoginLimits {
    clock: DefaultClock,
    per_source: DefaultKeyedRateLimiter<String>,
    per_user: DefaultKeyedRateLimiter<String>,
}

impl LoginLimits {
    pub(crate) fn new() -> Self {
        Self {
            clock: DefaultClock::default(),
            per_source: RateLimiter::keyed(quota(LOGIN_BURST_PER_SOURCE, Duration::from_secs(1))),
            per_user: RateLimiter::keyed(quota(LOGIN_BURST_PER_USER, Duration::from_secs(2))),
        }
    }

    /// Counts one attempt; 429 with `Retry-After` when either limit is used up.
    pub(crate) fn attempt(&self, source: &str, user: &str) -> Result<(), Problem> {
        self.check(&self.per_source, source, "this address")?;
        self.check(&self.per_user, user, "this user")
    }

    fn check(&self, limiter: &DefaultKeyedRateLimiter<String>, key: &str, who: &str) -> Result<(), Problem> {
        if limiter.len() >= LOGIN_LIMITER_KEYS {
            limiter.retain_recent();
            if limiter.len() >= LOGIN_LIMITER_KEYS {
                return Err(limited("this node", 1));
            }
        }
        limiter.check_key(&key.to_owned()).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            limited(who, wait.as_secs() + 1)
        })
    }
}

fn quota(burst: u32, refill: Duration) -> Quota {
    let burst = NonZeroU32::new(burst).expect("a limit above zero");
    Quota::with_period(refill)
        .expect("a period above zero")
        .allow_burst(burst)
}

fn limited(who: &str, seconds: u64) -> Problem {
    let detail = format!("too many login attempts for {who}; wait {seconds} s and try again");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail).retry_after(seconds)
}
