//! The quota: what an operation adds in accounted bytes, and whether that still fits.
//!
//! The accounting is exact: a put or a transaction that is accepted leaves the keyspace within its quota. Deletions,
//! compactions and revokes are always accepted, although a deletion adds its tombstone until it is compacted.

use crate::error::KvError;
use crate::keyspace::Keyspace;
use crate::op::{ImportAction, KvOp};
use crate::types::*;
use crate::version::VERSION_OVERHEAD_BYTES;

/// Bytes above the quota that the machine's own writes may take before they make room for themselves: they are never
/// refused, so that a full keyspace cannot hold up a switch.
pub const MACHINE_RESERVE_BYTES: u64 = 64 << 20;

/// Bytes that a lease has to find room for, as in etcd.
const LEASE_BYTES: u64 = 64;

/// Whether the operation can add data: what a full keyspace or a full disk refuses.
pub fn op_adds_data(op: &KvOp) -> bool {
    match op {
        KvOp::Put(_) | KvOp::LeaseGrant(_) => true,
        KvOp::Txn(txn) => txn_puts(txn),
        KvOp::Import(step) => step.action() == ImportAction::Append,
        _ => false,
    }
}

impl Keyspace {
    /// Refuses what would lift the keyspace above its quota. Of a transaction the larger branch counts, whichever runs.
    pub(crate) fn check_quota(&self, op: &KvOp) -> Result<(), KvError> {
        let added = match op {
            KvOp::Put(request) => self.put_bytes(request),
            KvOp::Txn(txn) if txn_puts(txn) => self.txn_bytes(txn),
            KvOp::LeaseGrant(_) => LEASE_BYTES,
            _ => return Ok(()),
        };
        if self.size_bytes().saturating_add(added) > self.quota_bytes {
            Err(KvError::NoSpace)
        } else {
            Ok(())
        }
    }

    fn put_bytes(&self, request: &PutRequest) -> u64 {
        let value_bytes = if request.ignore_value {
            let existing = self.store.current.get(&request.key[..]);
            existing.map_or(0, |version| version.kv().value.len())
        } else {
            request.value.len()
        };
        (request.key.len() + value_bytes) as u64 + VERSION_OVERHEAD_BYTES
    }

    fn txn_bytes(&self, txn: &TxnRequest) -> u64 {
        let branch = |ops: &[RequestOp]| -> u64 {
            ops.iter()
                .map(|op| match &op.kind {
                    Some(RequestOpKind::Put(request)) => self.put_bytes(request),
                    Some(RequestOpKind::Txn(nested)) => self.txn_bytes(nested),
                    _ => 0,
                })
                .sum()
        };
        branch(&txn.success).max(branch(&txn.failure))
    }

    /// Makes room before a write of the machine where even its reserve is used up: history is given up, down to the newest
    /// revision. What is left then is bounded by the quota and by the number of objects that the machine keeps keys for.
    pub(crate) fn make_room_for_the_machine(&mut self) {
        let most = self.quota_bytes.saturating_add(MACHINE_RESERVE_BYTES);
        let newest = self.store.revision;
        if self.size_bytes() > most && self.store.compact_revision < newest {
            self.store
                .compact(newest)
                .expect("the newest revision can be compacted to while it was not");
        }
    }
}

fn txn_puts(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.kind {
        Some(RequestOpKind::Put(_)) => true,
        Some(RequestOpKind::Txn(nested)) => txn_puts(nested),
        _ => false,
    })
}
