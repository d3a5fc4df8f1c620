//! Leases while this node leads: renewals and expiries, in memory only.
//!
//! Which leases exist, with which time to live and keys, is in the replicated state. When one runs out is the leader's
//! business: a renewal is no log entry, and only an expiry is proposed, with the term, so that one from a lost leadership
//! is refused. A new leader starts every lease at its full time to live: never early, at worst one time to live late. Where one
//! was without a quorum for a time and leads on in the same term, that time counts for no lease, because nobody could renew.
//!
//! A keep-alive is answered only after a confirmation of leadership that began after it arrived, so a deposed leader
//! renews nothing. Once an expiry is proposed, renewals of that lease wait for its outcome.

mod expiry;
mod table;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use quorate_machine::Id;
use quorate_raft::{CallError, Handle};
use tokio::sync::Notify;
use tokio::time::Instant;

use table::{LeaseKey, Lookup, Table};
pub use wire::LEASE_REQUEST_TAG;

/// Longest wait for the renewal of a lease, leader changes included.
const RENEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a request to a leader that was lost is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What is left of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Whole seconds until it runs out, unless it is renewed.
    pub ttl_seconds: i64,
    /// Seconds that it was granted.
    pub granted_ttl_seconds: i64,
}

/// Renews leases and tells what is left of them, wherever the leader is.
#[tonic::async_trait]
pub trait LeaseKeeper: Send + Sync + 'static {
    /// Renews a lease and gives its time to live in seconds; `None` if there is no such lease.
    ///
    /// # Errors
    ///
    /// If no leader answered in time; the lease may or may not have been renewed.
    async fn renew(&self, instance: Id, lease: i64) -> Result<Option<i64>, CallError>;

    /// What is left of a lease; `None` if there is no such lease.
    ///
    /// # Errors
    ///
    /// If no leader answered in time.
    async fn remaining(&self, instance: Id, lease: i64) -> Result<Option<Remaining>, CallError>;
}

/// Keeper of the leases of all instances on one node. Cheap to clone.
#[derive(Clone)]
pub struct Lessor {
    shared: Arc<Shared>,
}

struct Shared {
    handle: Handle,
    table: Mutex<Table>,
    /// Woken when a proposed expiry had its outcome.
    settled: Notify,
}

impl Lessor {
    /// A lessor over this node's consensus. [`Lessor::run`] must run, and the node must hand requests that start with
    /// [`LEASE_REQUEST_TAG`] to [`Lessor::handle_leader_request`].
    pub fn new(handle: Handle) -> Lessor {
        Lessor {
            shared: Arc::new(Shared {
                handle,
                table: Mutex::default(),
                settled: Notify::new(),
            }),
        }
    }

    /// Expires leases while this node leads. Does not return; drop it to stop.
    pub async fn run(self) {
        expiry::run(&self.shared).await;
    }

    /// Answers a lessor's request of another node while this node leads. The error travels back to the asking node.
    pub fn handle_leader_request(&self, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let lessor = self.clone();
        Box::pin(async move {
            let request = wire::decode_request(request)?;
            let answer = if request.renew {
                let renewed = lessor.renew_here(request.instance, request.lease).await;
                renewed.map(wire::Answer::renewed)
            } else {
                let remaining = lessor.remaining_here(request.instance, request.lease).await;
                remaining.map(wire::Answer::remaining)
            };
            answer.map(wire::encode_answer).map_err(|error| error.to_string())
        })
    }

    async fn renew_here(&self, instance: Id, lease: i64) -> Result<Option<i64>, CallError> {
        let shared = &self.shared;
        let deadline = Instant::now() + RENEW_TIMEOUT;
        loop {
            // Registered before the look, so that an outcome in between is not missed.
            let settled = shared.settled.notified();
            shared
                .handle
                .confirm_leadership(deadline.saturating_duration_since(Instant::now()))
                .await?;
            let term = shared.leading_term().ok_or(CallError::NoLeader)?;
            let Some((key, ttl_seconds)) = shared.granted(instance, lease) else {
                return Ok(None);
            };
            match shared.table().renew(term, key, ttl_seconds, Instant::now()) {
                Lookup::Alive => return Ok(Some(ttl_seconds)),
                Lookup::Expiring => {}
            }
            if tokio::time::timeout_at(deadline, settled).await.is_err() {
                return Err(CallError::TimedOut);
            }
        }
    }

    async fn remaining_here(&self, instance: Id, lease: i64) -> Result<Option<Remaining>, CallError> {
        let shared = &self.shared;
        shared.handle.confirm_leadership(RENEW_TIMEOUT).await?;
        let term = shared.leading_term().ok_or(CallError::NoLeader)?;
        let Some((key, granted_ttl_seconds)) = shared.granted(instance, lease) else {
            return Ok(None);
        };
        let left = shared.table().remaining(term, key, Instant::now());
        let ttl_seconds = left.map_or(granted_ttl_seconds, |left| {
            i64::try_from(left.as_secs()).unwrap_or(i64::MAX)
        });
        Ok(Some(Remaining {
            ttl_seconds,
            granted_ttl_seconds,
        }))
    }

    /// Asks the leader, this node or another; once more after a change of leader.
    async fn ask(&self, renew: bool, instance: Id, lease: i64) -> Result<wire::Answer, CallError> {
        let deadline = Instant::now() + RENEW_TIMEOUT;
        loop {
            let result = if self.shared.leading_term().is_some() {
                match renew {
                    true => self.renew_here(instance, lease).await.map(wire::Answer::renewed),
                    false => self.remaining_here(instance, lease).await.map(wire::Answer::remaining),
                }
            } else {
                let request = wire::encode_request(wire::Request { renew, instance, lease });
                let left = deadline.saturating_duration_since(Instant::now());
                // Neither a renewal nor a question does harm twice, and every lease of a keep-alive stream waits for the answer.
                let answer = self.shared.handle.ask_leader_idempotent(request, left).await;
                answer.and_then(|answer| wire::decode_answer(answer).map_err(CallError::Remote))
            };
            let retry = matches!(
                result,
                Err(CallError::Remote(_) | CallError::NoLeader | CallError::TimedOutLeaderLost)
            );
            let serving = self.shared.handle.status().borrow().serving;
            if !retry || !serving || Instant::now() + RETRY_PAUSE >= deadline {
                // A leader that cannot answer, because it has lost its quorum meanwhile, is none: etcd's text for it is the one
                // that clients know.
                return result.map_err(|error| match error {
                    CallError::Remote(_) => CallError::NoLeader,
                    other => other,
                });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

#[tonic::async_trait]
impl LeaseKeeper for Lessor {
    async fn renew(&self, instance: Id, lease: i64) -> Result<Option<i64>, CallError> {
        let answer = self.ask(true, instance, lease).await?;
        Ok(answer.found.then_some(answer.ttl_seconds))
    }

    async fn remaining(&self, instance: Id, lease: i64) -> Result<Option<Remaining>, CallError> {
        let answer = self.ask(false, instance, lease).await?;
        Ok(answer.found.then_some(Remaining {
            ttl_seconds: answer.ttl_seconds,
            granted_ttl_seconds: answer.granted_ttl_seconds,
        }))
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The term that this node leads; `None` if it does not, or not surely.
    fn leading_term(&self) -> Option<u64> {
        let (leads, term) = {
            let status = self.handle.status();
            let status = status.borrow();
            (status.leader == Some(status.node_id), status.term)
        };
        (leads && self.handle.is_leader()).then_some(term)
    }

    /// The lease that has this id now, and its time to live in seconds.
    fn granted(&self, instance: Id, lease: i64) -> Option<(LeaseKey, i64)> {
        self.handle.read(|state| {
            let (grant, ttl_seconds) = state.keyspace(&instance)?.lease_grant(lease)?;
            Some(((instance, lease, grant), ttl_seconds))
        })
    }
}
