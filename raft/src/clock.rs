//! Cluster time on this node, and the wall clock behind a trait.
//!
//! Cluster time is what the last applied entries said, carried on by the local monotonic clock. It never goes back, no wall
//! clock enters it, and `apply` uses the larger of an entry's stamp and the last one, so a leader that is behind is harmless.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openraft::{AsyncRuntime, Instant};

/// Milliseconds since the Unix epoch, for records only; the simulation has one of its own.
pub trait WallClock: Send + Sync + 'static {
    /// Now, in milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Cluster time as this node knows it.
pub(crate) struct ClusterClock<RT: AsyncRuntime> {
    /// A cluster time and when it was this node's.
    anchor: Mutex<(u64, RT::Instant)>,
}

impl<RT: AsyncRuntime> ClusterClock<RT> {
    pub fn new(applied_ms: u64) -> Self {
        Self {
            anchor: Mutex::new((applied_ms, RT::Instant::now())),
        }
    }

    /// Takes the time of an applied entry, if it is ahead of this node's.
    pub fn observe(&self, applied_ms: u64) {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        if applied_ms > Self::at(&anchor) {
            *anchor = (applied_ms, RT::Instant::now());
        }
    }

    /// Cluster time now, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        Self::at(&self.anchor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn at(anchor: &(u64, RT::Instant)) -> u64 {
        let elapsed = RT::Instant::now().saturating_duration_since(anchor.1);
        anchor
            .0
            .saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}
