//! Proposes the expiry of leases that ran out.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use quorate_machine::{Command, ExpireLease, Principal, PrincipalKind, Proposal, RefusalCode, Reply, ReplyKind};
use quorate_raft::ClusterStatus;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

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
    let mut status = shared.handle.status();
    // Whether leases could not be renewed here for a time, since the last sweep that knew of it.
    let mut interrupted = false;
    loop {
        interrupted |= wait(&mut sweep, &mut status).await;
        let Some(term) = shared.leading_term() else {
            interrupted = true;
            continue;
        };
        let existing = existing_leases(shared);
        let due = {
            let (mut table, now) = (shared.table(), Instant::now());
            if std::mem::take(&mut interrupted) {
                table.refresh(&existing, now);
            }
            table.sweep(term, &existing, now, MAX_SWEEP_EXPIRIES)
        };
        stream::iter(due)
            .for_each_concurrent(MAX_CONCURRENT_PROPOSALS, |key| expire(shared, term, key))
            .await;
    }
}

/// Waits for the next sweep; true if this node did not serve at some moment until then.
async fn wait(sweep: &mut Interval, status: &mut watch::Receiver<ClusterStatus>) -> bool {
    let began = Instant::now();
    let mut interrupted = false;
    loop {
        interrupted |= !status.borrow_and_update().serving;
        tokio::select! {
            _ = sweep.tick() => break,
            // An error comes when consensus has stopped, after which this node leads no more.
            changed = status.changed() => if changed.is_err() {
                sweep.tick().await;
                break;
            },
        }
    }
    interrupted |= !status.borrow().serving;
    interrupted || began.elapsed() > LATE_SWEEP
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
