//! Leases: granted time to live and attached keys. When a lease expires is the leader's decision; here it only ends.

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use crate::error::KvError;
use crate::key::Key;
use crate::types::*;

/// Shortest time to live of a lease, in seconds; shorter wishes are raised to it (etcd: 1.5 election time-outs).
pub const MIN_LEASE_TTL_SECONDS: i64 = 2;

/// Longest time to live of a lease, in seconds, as in etcd; longer wishes are refused.
pub const MAX_LEASE_TTL_SECONDS: i64 = 9_000_000_000;

/// Leases of one keyspace. Beyond it a grant is refused with [`KvError::NoSpace`], as if the keyspace were full.
pub const MAX_LEASES: usize = 250_000;

/// All leases of a keyspace.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    /// Time to live in seconds by lease id.
    ttl_seconds: OrdMap<i64, i64>,
    /// One entry per attached key. One set for all leases, because a set per lease costs two kilobytes each.
    attached: OrdSet<(i64, Key)>,
}

impl Leases {
    pub(crate) fn grant(&mut self, request: &LeaseGrantRequest) -> Result<LeaseGrantResponse, KvError> {
        if self.exists(request.id) {
            return Err(KvError::LeaseExists);
        }
        if self.ttl_seconds.len() >= MAX_LEASES {
            return Err(KvError::NoSpace);
        }
        let ttl_seconds = request.ttl_seconds.max(MIN_LEASE_TTL_SECONDS);
        self.ttl_seconds.insert(request.id, ttl_seconds);
        Ok(LeaseGrantResponse {
            id: request.id,
            ttl_seconds,
        })
    }

    /// Puts a lease back as a snapshot holds it.
    pub(crate) fn restore(&mut self, id: i64, ttl_seconds: i64) {
        self.ttl_seconds.insert(id, ttl_seconds);
    }

    pub(crate) fn exists(&self, id: i64) -> bool {
        self.ttl_seconds.contains_key(&id)
    }

    /// Removes the lease. Its keys must be gone already.
    pub(crate) fn remove(&mut self, id: i64) {
        debug_assert!(self.keys(id).next().is_none(), "a lease is removed after its keys");
        self.ttl_seconds.remove(&id);
    }

    /// Moves `key` from one lease to another; 0 stands for none.
    pub(crate) fn reattach(&mut self, key: &[u8], from: i64, to: i64) {
        if from == to {
            return;
        }
        if from != 0 {
            self.attached.remove(&(from, Key::new(key)));
        }
        if to != 0 {
            self.attached.insert((to, Key::new(key)));
        }
    }

    /// Attached keys in order.
    pub(crate) fn keys(&self, id: i64) -> impl Iterator<Item = &[u8]> {
        self.attached
            .range((id, Key::new(&[]))..)
            .take_while(move |(owner, _)| *owner == id)
            .map(|(_, key)| key.as_slice())
    }

    pub(crate) fn get(&self, id: i64) -> Option<Lease> {
        let ttl_seconds = *self.ttl_seconds.get(&id)?;
        Some(Lease {
            id,
            ttl_seconds,
            keys: self.keys(id).map(Bytes::copy_from_slice).collect(),
        })
    }

    /// (id, time to live in seconds), ascending by id.
    pub(crate) fn ttls(&self) -> impl Iterator<Item = (i64, i64)> {
        self.ttl_seconds.iter().map(|(id, ttl)| (*id, *ttl))
    }

    /// Whether every attached key belongs to a lease that exists.
    pub(crate) fn is_consistent(&self) -> bool {
        self.attached.iter().all(|(id, _)| self.exists(*id))
    }
}
