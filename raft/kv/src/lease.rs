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

/// What a lease was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) ttl_seconds: i64,
    /// Number of the grant in this keyspace, which tells leases apart that have had the same id one after the other. 0 for
    /// those of snapshots from before grants were numbered.
    pub(crate) grant: u64,
}

/// All leases of a keyspace.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    granted: OrdMap<i64, Granted>,
    /// Number of the last grant.
    last_grant: u64,
    /// One entry per attached key. One set for all leases, because a set per lease costs two kilobytes each.
    attached: OrdSet<(i64, Key)>,
}

impl Leases {
    pub(crate) fn grant(&mut self, request: &LeaseGrantRequest) -> Result<LeaseGrantResponse, KvError> {
        if self.exists(request.id) {
            return Err(KvError::LeaseExists);
        }
        if self.granted.len() >= MAX_LEASES {
            return Err(KvError::NoSpace);
        }
        let ttl_seconds = request.ttl_seconds.max(MIN_LEASE_TTL_SECONDS);
        self.last_grant += 1;
        let grant = self.last_grant;
        self.granted.insert(request.id, Granted { ttl_seconds, grant });
        Ok(LeaseGrantResponse {
            id: request.id,
            ttl_seconds,
        })
    }

    /// Puts a lease back as a snapshot holds it.
    pub(crate) fn restore(&mut self, id: i64, granted: Granted) {
        self.granted.insert(id, granted);
    }

    /// Goes on counting grants where a snapshot stopped.
    pub(crate) fn count_from(&mut self, last_grant: u64) {
        self.last_grant = last_grant;
    }

    /// Number of the last grant; 0 if there was none.
    pub(crate) fn last_grant(&self) -> u64 {
        self.last_grant
    }

    /// Takes over leases that were granted elsewhere, all by one grant of this keyspace's own count.
    pub(crate) fn take_over(&mut self, imported: Leases) {
        self.last_grant += 1;
        let grant = self.last_grant;
        let numbered = |(id, granted): (i64, Granted)| (id, Granted { grant, ..granted });
        self.granted = imported.granted.into_iter().map(numbered).collect();
        self.attached = imported.attached;
    }

    pub(crate) fn exists(&self, id: i64) -> bool {
        self.granted.contains_key(&id)
    }

    /// Removes the lease. Its keys must be gone already.
    pub(crate) fn remove(&mut self, id: i64) {
        debug_assert!(self.keys(id).next().is_none(), "a lease is removed after its keys");
        self.granted.remove(&id);
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
        let Granted { ttl_seconds, grant } = *self.granted.get(&id)?;
        Some(Lease {
            id,
            ttl_seconds,
            grant,
            keys: self.keys(id).map(Bytes::copy_from_slice).collect(),
        })
    }

    pub(crate) fn granted(&self, id: i64) -> Option<Granted> {
        self.granted.get(&id).copied()
    }

    /// Whether the lease is there, and by the grant of this number if one is named.
    pub(crate) fn is_of_grant(&self, id: i64, grant: Option<u64>) -> bool {
        let granted = self.granted.get(&id);
        granted.is_some_and(|granted| grant.is_none_or(|grant| granted.grant == grant))
    }

    /// Every lease, ascending by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, Granted)> {
        self.granted.iter().map(|(id, granted)| (*id, *granted))
    }

    /// Whether every attached key belongs to a lease that exists.
    pub(crate) fn is_consistent(&self) -> bool {
        self.attached.iter().all(|(id, _)| self.exists(*id))
    }
}
