//! Transactions: every comparison, every operation, nested, too large, empty, writing a key twice.

use bytes::Bytes;
use rand::RngExt;

use super::{Generator, World};
use crate::differential::operation::bytes;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::compare::TargetUnion;
use crate::wire::etcdserverpb::request_op::Request;

/// etcd's limit of comparisons, and of operations of a branch.
const MAX_OPS: usize = 128;
/// Nesting that is tried.
const MAX_DEPTH: usize = 3;

/// Whether no key is named anywhere in the transaction.
pub(super) fn asks_nothing(txn: &pb::TxnRequest) -> bool {
    txn.compare.is_empty()
        && txn.success.iter().chain(&txn.failure).all(|op| match &op.request {
            Some(Request::RequestTxn(nested)) => asks_nothing(nested),
            Some(_) => false,
            None => true,
        })
}

/// Whether any key and range end in the transaction are as `wanted`.
pub(super) fn any_span(txn: &pb::TxnRequest, wanted: &impl Fn(&[u8], &[u8]) -> bool) -> bool {
    txn.compare
        .iter()
        .any(|compare| wanted(&compare.key, &compare.range_end))
        || txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
            Some(Request::RequestRange(range)) => wanted(&range.key, &range.range_end),
            Some(Request::RequestDeleteRange(delete)) => wanted(&delete.key, &delete.range_end),
            Some(Request::RequestTxn(nested)) => any_span(nested, wanted),
            Some(Request::RequestPut(_)) | None => false,
        })
}

impl Generator {
    /// A transaction; without `writes` one that only reads.
    pub(super) fn txn(&mut self, world: &World, writes: bool) -> pb::TxnRequest {
        if self.random.random_ratio(1, 200) {
            return self.many_ops(writes);
        }
        self.level(world, writes, 1)
    }

    fn level(&mut self, world: &World, writes: bool, depth: usize) -> pb::TxnRequest {
        let compares = self.random.random_range(0..=2);
        let (then, otherwise) = (self.random.random_range(0..=3), self.random.random_range(0..=3));
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare(world)).collect(),
            success: (0..then).map(|_| self.op(world, writes, depth)).collect(),
            failure: (0..otherwise).map(|_| self.op(world, writes, depth)).collect(),
        }
    }

    /// About as many operations as are allowed, some of them in a nested transaction.
    fn many_ops(&mut self, writes: bool) -> pb::TxnRequest {
        let ops = |count: usize| -> Vec<pb::RequestOp> {
            let op = |index: usize| match writes {
                true => Request::RequestPut(pb::PutRequest {
                    key: bytes(&format!("many/{index}")),
                    ..Default::default()
                }),
                false => Request::RequestRange(pb::RangeRequest {
                    key: bytes(&format!("many/{index}")),
                    ..Default::default()
                }),
            };
            let all = (0..count).map(op);
            all.map(|op| pb::RequestOp { request: Some(op) }).collect()
        };
        let count = self.random.random_range(MAX_OPS - 1..=MAX_OPS + 1);
        if self.chance(50) {
            return pb::TxnRequest {
                success: ops(count),
                ..Default::default()
            };
        }
        let inner = pb::TxnRequest {
            failure: ops(count - 1),
            ..Default::default()
        };
        let nested = pb::RequestOp {
            request: Some(Request::RequestTxn(inner)),
        };
        pb::TxnRequest {
            success: vec![nested],
            ..Default::default()
        }
    }

    fn op(&mut self, world: &World, writes: bool, depth: usize) -> pb::RequestOp {
        let request = match self.random.random_range(0..100) {
            0 => None,
            1..30 => Some(Request::RequestRange(self.range(world))),
            30..45 if depth < MAX_DEPTH => Some(Request::RequestTxn(self.level(world, writes, depth + 1))),
            45..80 if writes => Some(Request::RequestPut(self.put())),
            80.. if writes => Some(Request::RequestDeleteRange(self.delete_range())),
            _ => Some(Request::RequestRange(self.range(world))),
        };
        pb::RequestOp { request }
    }

    fn compare(&mut self, world: &World) -> pb::Compare {
        let target = *self.pick(&[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, -1]);
        // The operand may be of another kind than the target, or missing.
        let operand = if self.chance(90) {
            target
        } else {
            self.random.random_range(0..6)
        };
        let target_union = match operand {
            0 => Some(TargetUnion::Version(self.random.random_range(-1..4))),
            1 => Some(TargetUnion::CreateRevision(self.revision(world))),
            2 => Some(TargetUnion::ModRevision(self.revision(world))),
            3 => {
                let value = bytes(&format!("v{}", self.random.random_range(0..6)));
                Some(TargetUnion::Value(if self.chance(20) { Bytes::new() } else { value }))
            }
            4 => Some(TargetUnion::Lease(self.lease())),
            _ => None,
        };
        let (key, range_end) = match self.chance(70) {
            true => (self.key(), Bytes::new()),
            false => self.key_range(),
        };
        pb::Compare {
            result: *self.pick(&[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, -1]),
            target,
            key,
            range_end,
            target_union,
        }
    }
}
