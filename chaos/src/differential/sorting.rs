//! Reads in an order by something else than the key: etcd leaves the order of equal elements to Go's unstable sort, which
//! keeps that of the keys only for up to twelve of them.

use std::cmp::Ordering;

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::{request_op::Request, response_op::Response};
use crate::wire::mvccpb::KeyValue;

/// As many elements are sorted stably by Go.
const STABLE_ELEMENTS: i64 = 12;

/// Brings equal elements into the order of their keys; where a limit may have cut among equal elements, those are told by
/// what they have in common alone.
pub(super) fn settle_range(request: &pb::RangeRequest, reply: &mut pb::RangeResponse) {
    let target = request.sort_target;
    if reply.count <= STABLE_ELEMENTS || !(1..=4).contains(&target) {
        return;
    }
    if request.limit > 0
        && let Some(last) = reply.kvs.last().cloned()
    {
        for kv in &mut reply.kvs {
            if compare(target, kv, &last) == Ordering::Equal {
                *kv = common(target, kv);
            }
        }
    }
    // A run of equal elements stays where it is.
    let mut start = 0;
    for end in 1..=reply.kvs.len() {
        let ends = end == reply.kvs.len() || compare(target, &reply.kvs[start], &reply.kvs[end]) != Ordering::Equal;
        if ends {
            reply.kvs[start..end].sort_by(|a, b| a.key.cmp(&b.key));
            start = end;
        }
    }
}

/// The same for every read that a transaction did.
pub(super) fn settle_txn(request: &pb::TxnRequest, reply: &mut pb::TxnResponse) {
    let ops = if reply.succeeded {
        &request.success
    } else {
        &request.failure
    };
    for (op, response) in ops.iter().zip(&mut reply.responses) {
        match (&op.request, &mut response.response) {
            (Some(Request::RequestRange(request)), Some(Response::ResponseRange(reply))) => {
                settle_range(request, reply);
            }
            (Some(Request::RequestTxn(request)), Some(Response::ResponseTxn(reply))) => settle_txn(request, reply),
            _ => {}
        }
    }
}

fn compare(target: i32, a: &KeyValue, b: &KeyValue) -> Ordering {
    match target {
        1 => a.version.cmp(&b.version),
        2 => a.create_revision.cmp(&b.create_revision),
        3 => a.mod_revision.cmp(&b.mod_revision),
        _ => a.value.cmp(&b.value),
    }
}

fn common(target: i32, kv: &KeyValue) -> KeyValue {
    let mut common = KeyValue::default();
    match target {
        1 => common.version = kv.version,
        2 => common.create_revision = kv.create_revision,
        3 => common.mod_revision = kv.mod_revision,
        _ => common.value = kv.value.clone(),
    }
    common
}
