//! Proposes the expiry of leases that ran out.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use quorate_machine::{Command, ExpireLease, Principal, PrincipalKind, Proposal, RefusalCode, Reply, ReplyKind};
use quorate_raft::ClusterStatus;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::Shared;
use super::table::LeaseKey;

/// How often leases are looked at, as in etcd.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// Expiries in one sweep: 1000 a second, as in etcd.
const MAX_SWEEP_EXPIRIES: usize = 500;

/// Expiries in flight.
const MAX_CONCURRENT_PROPOSALS: usize = 64;

/// Wait for the outcome of an expiry; without one it is proposed again in the next sweep.
const EXPIRY_TIMEOUT: Duration = Duration::from_secs(2);

/// A sweep that comes this late was held up with the whole process, of which this node's standing may not tell yet.
const LATE_SWEEP: Duration = Duration::from_secs(1);

pub(super) async fn run(shared: &Shared) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut outages = Outages::new(shared.handle.status());
    loop {
        let began = Instant::now();
        outages.watch(sweep.tick()).await;
        let Some(term) = shared.leading_term() else {
            continue;
        };
        let waited = Some(began.elapsed()).filter(|waited| *waited > LATE_SWEEP);
        let lost = outages.take().max(waited.unwrap_or_default());
        let existing = existing_leases(shared);
        let due = {
            let (mut table, now) = (shared.table(), Instant::now());
            table.postpone(&existing, lost, now);
            table.sweep(term, &existing, now, MAX_SWEEP_EXPIRIES)
        };
        let expiring = stream::iter(due).for_each_concurrent(MAX_CONCURRENT_PROPOSALS, |key| expire(shared, term, key));
        outages.watch(expiring).await;
    }
}

/// The time in which leases could not be renewed here, because this node had no contact with a quorum.
struct Outages {
    status: watch::Receiver<ClusterStatus>,
    /// The last contact before the present outage.
    since: Option<Instant>,
    /// Outages that are over.
    lost: Duration,
}

impl Outages {
    fn new(status: watch::Receiver<ClusterStatus>) -> Outages {
        Outages {
            status,
            since: None,
            lost: Duration::ZERO,
        }
    }

    /// Does something and notes what outages there are meanwhile.
    async fn watch<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            self.note();
            tokio::select! {
                done = &mut work => {
                    self.note();
                    return done;
                }
                changed = self.status.changed() => if changed.is_err() {
                    // Consensus has stopped: this node leads no more.
                    return work.await;
                },
            }
        }
    }

    fn note(&mut self) {
        let (serving, last_contact) = {
            let status = self.status.borrow_and_update();
            (status.serving, status.last_contact)
        };
        if !serving {
            self.since
                .get_or_insert_with(|| last_contact.map_or_else(Instant::now, Instant::from_std));
        } else if let Some(since) = self.since.take() {
            self.lost += since.elapsed();
        }
    }

    /// The outages since the last call.
    fn take(&mut self) -> Duration {
        std::mem::take(&mut self.lost)
    }
}

fn existing_leases(shared: &Shared) -> Vec<(LeaseKey, i64)> {
    shared.handle.read(|state| {
        let of_instance = |instance: &quorate_machine::Instance| {
            let id = instance.meta.id;
            let leases = state
                .keyspace(&id)
                .into_iter()
                .flat_map(|keyspace| keyspace.lease_grants());
            leases
                .map(move |(lease, grant, ttl)| ((id, lease, grant), ttl))
                .collect::<Vec<_>>()
        };
        state.instances().flat_map(of_instance).collect()
    })
}

async fn expire(shared: &Shared, term: u64, key: LeaseKey) {
    let (instance, lease, grant) = key;
    let proposal = Proposal {
        author: Some(Principal {
            kind: Some(PrincipalKind::Node(shared.handle.node_id())),
            source: String::new(),
        }),
        command: Some(Command::ExpireLease(ExpireLease {
            instance,
            lease,
            term,
            grant: Some(grant),
        })),
    };
    match shared.handle.propose(proposal, EXPIRY_TIMEOUT).await {
        Ok(committed) if is_stale_term(&committed.reply) => shared.table().clear(),
        // Expired now, or gone before: whatever has its id by then was granted later.
        Ok(_) => shared.table().remove(term, key),
        // The expiry may still be applied: the lease stays marked and the next sweep proposes again.
        Err(error) => tracing::debug!(lease, "the expiry of a lease has no outcome yet: {error}"),
    }
    shared.settled.notify_waiters();
}

fn is_stale_term(reply: &Reply) -> bool {
    matches!(&reply.kind, Some(ReplyKind::Refused(refusal)) if refusal.code() == RefusalCode::StaleTerm)
}
