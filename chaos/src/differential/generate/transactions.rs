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

/// Makes plain puts of those that keep the value or lease of a key that a deletion before them may take away: real etcd does not
/// survive it (difference 9 of `docs/etcd-differences.md`). Which branch runs is not known here, so both count.
fn keep_nothing_deleted(txn: &mut pb::TxnRequest, deleted: &mut Vec<pb::DeleteRangeRequest>) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestDeleteRange(deletion)) => deleted.push(deletion.clone()),
            Some(Request::RequestTxn(nested)) => keep_nothing_deleted(nested, deleted),
            Some(Request::RequestPut(put)) if deleted.iter().any(|deletion| covers(deletion, &put.key)) => {
                put.ignore_value = false;
                put.ignore_lease = false;
            }
            Some(Request::RequestPut(_) | Request::RequestRange(_)) | None => {}
        }
    }
}

fn covers(deletion: &pb::DeleteRangeRequest, key: &[u8]) -> bool {
    let start = &deletion.key[..];
    match &deletion.range_end[..] {
        [] => key == start,
        [0] => key >= start,
        end => start <= key && key < end,
    }
}

impl Generator {
    /// A transaction; without `writes` one that only reads.
    pub(super) fn txn(&mut self, world: &World, writes: bool) -> pb::TxnRequest {
        if self.random.random_ratio(1, 200) {
            return self.many_ops(writes);
        }
        let mut txn = self.level(world, writes, 1);
        keep_nothing_deleted(&mut txn, &mut Vec::new());
        txn
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

#[cfg(test)]
mod tests {
    use super::*;

    fn op(request: Request) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    fn keeping(key: &str) -> pb::RequestOp {
        op(Request::RequestPut(pb::PutRequest {
            key: bytes(key),
            ignore_value: true,
            ignore_lease: true,
            ..Default::default()
        }))
    }

    fn deleting(key: &str, range_end: &str) -> pb::RequestOp {
        op(Request::RequestDeleteRange(pb::DeleteRangeRequest {
            key: bytes(key),
            range_end: bytes(range_end),
            prev_kv: false,
        }))
    }

    fn keeps(op: &pb::RequestOp) -> bool {
        matches!(&op.request, Some(Request::RequestPut(put)) if put.ignore_value || put.ignore_lease)
    }

    #[test]
    fn a_put_keeps_nothing_that_a_deletion_before_it_may_have_taken() {
        for (deletion, key) in [
            (deleting("k", ""), "k"),
            (deleting("a", "\0"), "k"),
            (deleting("a", "z"), "k"),
        ] {
            let nested = pb::TxnRequest {
                failure: vec![keeping(key), keeping("A")],
                ..Default::default()
            };
            let mut txn = pb::TxnRequest {
                success: vec![keeping(key), deletion, op(Request::RequestTxn(nested))],
                ..Default::default()
            };
            keep_nothing_deleted(&mut txn, &mut Vec::new());
            assert!(keeps(&txn.success[0]), "nothing was deleted yet");
            let Some(Request::RequestTxn(nested)) = &txn.success[2].request else {
                unreachable!("made above");
            };
            assert_eq!([keeps(&nested.failure[0]), keeps(&nested.failure[1])], [false, true]);
        }
    }
}
