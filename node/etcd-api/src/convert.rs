//! Wire messages to operations of the keyspace and back. Keys and values move; nothing is copied.

use quorate_kv as kv;

use crate::pb::etcdserverpb as pb;
use crate::pb::etcdserverpb::compare::{CompareTarget, TargetUnion};
use crate::pb::etcdserverpb::{request_op, response_op};
use crate::pb::{authpb, mvccpb};

impl From<kv::KeyValue> for mvccpb::KeyValue {
    fn from(kv: kv::KeyValue) -> Self {
        mvccpb::KeyValue {
            key: kv.key,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            value: kv.value,
            lease: kv.lease,
        }
    }
}

impl From<pb::RangeRequest> for kv::RangeRequest {
    fn from(request: pb::RangeRequest) -> Self {
        kv::RangeRequest {
            key: request.key,
            range_end: request.range_end,
            limit: request.limit,
            revision: request.revision,
            sort_order: request.sort_order,
            sort_target: request.sort_target,
            keys_only: request.keys_only,
            count_only: request.count_only,
            min_mod_revision: request.min_mod_revision,
            max_mod_revision: request.max_mod_revision,
            min_create_revision: request.min_create_revision,
            max_create_revision: request.max_create_revision,
        }
    }
}

impl From<pb::PutRequest> for kv::PutRequest {
    fn from(request: pb::PutRequest) -> Self {
        kv::PutRequest {
            key: request.key,
            value: request.value,
            lease: request.lease,
            prev_kv: request.prev_kv,
            ignore_value: request.ignore_value,
            ignore_lease: request.ignore_lease,
        }
    }
}

impl From<pb::DeleteRangeRequest> for kv::DeleteRangeRequest {
    fn from(request: pb::DeleteRangeRequest) -> Self {
        kv::DeleteRangeRequest {
            key: request.key,
            range_end: request.range_end,
            prev_kv: request.prev_kv,
        }
    }
}

impl From<pb::Compare> for kv::Compare {
    /// The target decides; an operand of another kind counts as zero or empty, as in etcd.
    fn from(compare: pb::Compare) -> Self {
        let target = CompareTarget::try_from(compare.target).ok();
        let target = target.map(|target| match (target, compare.target_union) {
            (CompareTarget::Version, Some(TargetUnion::Version(operand))) => kv::CompareTarget::Version(operand),
            (CompareTarget::Version, _) => kv::CompareTarget::Version(0),
            (CompareTarget::Create, Some(TargetUnion::CreateRevision(operand))) => kv::CompareTarget::Create(operand),
            (CompareTarget::Create, _) => kv::CompareTarget::Create(0),
            (CompareTarget::Mod, Some(TargetUnion::ModRevision(operand))) => kv::CompareTarget::Mod(operand),
            (CompareTarget::Mod, _) => kv::CompareTarget::Mod(0),
            (CompareTarget::Value, Some(TargetUnion::Value(operand))) => kv::CompareTarget::Value(operand),
            (CompareTarget::Value, _) => kv::CompareTarget::Value(bytes::Bytes::new()),
            (CompareTarget::Lease, Some(TargetUnion::Lease(operand))) => kv::CompareTarget::Lease(operand),
            (CompareTarget::Lease, _) => kv::CompareTarget::Lease(0),
        });
        kv::Compare {
            result: compare.result,
            key: compare.key,
            range_end: compare.range_end,
            target,
        }
    }
}

impl From<pb::RequestOp> for kv::RequestOp {
    fn from(op: pb::RequestOp) -> Self {
        let kind = op.request.map(|request| match request {
            request_op::Request::RequestRange(request) => kv::RequestOpKind::Range(request.into()),
            request_op::Request::RequestPut(request) => kv::RequestOpKind::Put(request.into()),
            request_op::Request::RequestDeleteRange(request) => kv::RequestOpKind::DeleteRange(request.into()),
            request_op::Request::RequestTxn(request) => kv::RequestOpKind::Txn(request.into()),
        });
        kv::RequestOp { kind }
    }
}

impl From<pb::TxnRequest> for kv::TxnRequest {
    fn from(request: pb::TxnRequest) -> Self {
        kv::TxnRequest {
            compare: request.compare.into_iter().map(Into::into).collect(),
            success: request.success.into_iter().map(Into::into).collect(),
            failure: request.failure.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<authpb::Permission> for kv::Permission {
    fn from(permission: authpb::Permission) -> Self {
        kv::Permission {
            perm_type: permission.perm_type,
            key: permission.key,
            range_end: permission.range_end,
        }
    }
}

impl From<kv::Permission> for authpb::Permission {
    fn from(permission: kv::Permission) -> Self {
        authpb::Permission {
            perm_type: permission.perm_type,
            key: permission.key,
            range_end: permission.range_end,
        }
    }
}

/// Reply to a read.
pub(crate) fn range_response(response: kv::RangeResponse, header: pb::ResponseHeader) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        kvs: response.kvs.into_iter().map(Into::into).collect(),
        more: response.more,
        count: response.count,
    }
}

/// Reply to a put.
pub(crate) fn put_response(response: kv::PutResponse, header: pb::ResponseHeader) -> pb::PutResponse {
    pb::PutResponse {
        header: Some(header),
        prev_kv: response.prev_kv.map(Into::into),
    }
}

/// Reply to a deletion.
pub(crate) fn delete_range_response(
    response: kv::DeleteRangeResponse,
    header: pb::ResponseHeader,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: Some(header),
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(Into::into).collect(),
    }
}

/// Reply to a transaction after which the keyspace was at `revision`. The replies inside carry the revision alone, those of
/// nested transactions an empty header, as etcd's do.
pub(crate) fn txn_response(response: kv::TxnResponse, header: pb::ResponseHeader, revision: i64) -> pb::TxnResponse {
    let before = revision - i64::from(changes(&response));
    txn_level(response, header, &mut InnerRevision { before, revision })
}

/// The revision that replies inside a transaction tell: that from before it until its first change, as in etcd.
struct InnerRevision {
    before: i64,
    revision: i64,
}

impl InnerRevision {
    fn header(&mut self, changed: bool) -> pb::ResponseHeader {
        if changed {
            self.before = self.revision;
        }
        pb::ResponseHeader {
            revision: self.before,
            ..Default::default()
        }
    }
}

fn changes(response: &kv::TxnResponse) -> bool {
    response.responses.iter().any(|op| match &op.kind {
        Some(kv::ResponseOpKind::Put(_)) => true,
        Some(kv::ResponseOpKind::DeleteRange(delete)) => delete.deleted > 0,
        Some(kv::ResponseOpKind::Txn(nested)) => changes(nested),
        Some(kv::ResponseOpKind::Range(_)) | None => false,
    })
}

fn txn_level(response: kv::TxnResponse, header: pb::ResponseHeader, inner: &mut InnerRevision) -> pb::TxnResponse {
    let responses = response.responses.into_iter().map(|op| {
        let response = op.kind.map(|kind| match kind {
            kv::ResponseOpKind::Range(range) => {
                response_op::Response::ResponseRange(range_response(range, inner.header(false)))
            }
            kv::ResponseOpKind::Put(put) => response_op::Response::ResponsePut(put_response(put, inner.header(true))),
            kv::ResponseOpKind::DeleteRange(delete) => {
                let header = inner.header(delete.deleted > 0);
                response_op::Response::ResponseDeleteRange(delete_range_response(delete, header))
            }
            kv::ResponseOpKind::Txn(nested) => {
                response_op::Response::ResponseTxn(txn_level(nested, Default::default(), inner))
            }
        });
        pb::ResponseOp { response }
    });
    pb::TxnResponse {
        responses: responses.collect(),
        header: Some(header),
        succeeded: response.succeeded,
    }
}

/// An event as the wire has it.
pub(crate) fn event(event: &kv::Event, prev_kv: Option<kv::KeyValue>) -> mvccpb::Event {
    let kind = match event.kind {
        kv::EventKind::Put => mvccpb::event::EventType::Put,
        kv::EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind as i32,
        kv: Some(event.kv.clone().into()),
        prev_kv: prev_kv.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(target: CompareTarget, target_union: Option<TargetUnion>) -> pb::Compare {
        pb::Compare {
            result: pb::compare::CompareResult::NotEqual as i32,
            target: target as i32,
            key: "k".into(),
            range_end: "l".into(),
            target_union,
        }
    }

    fn op(request: request_op::Request) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    #[test]
    fn a_transaction_with_everything_in_it() {
        let put = pb::PutRequest {
            key: "p".into(),
            value: "v".into(),
            lease: 7,
            prev_kv: true,
            ignore_value: true,
            ignore_lease: true,
        };
        let range = pb::RangeRequest {
            key: "r".into(),
            range_end: "s".into(),
            limit: 1,
            revision: 2,
            sort_order: 2,
            sort_target: 4,
            serializable: true,
            keys_only: true,
            count_only: true,
            min_mod_revision: 3,
            max_mod_revision: 4,
            min_create_revision: 5,
            max_create_revision: 6,
        };
        let delete = pb::DeleteRangeRequest {
            key: "d".into(),
            range_end: "e".into(),
            prev_kv: true,
        };
        let nested = pb::TxnRequest {
            failure: vec![op(request_op::Request::RequestDeleteRange(delete))],
            ..Default::default()
        };
        let request = pb::TxnRequest {
            compare: vec![
                compare(CompareTarget::Version, Some(TargetUnion::Version(1))),
                compare(CompareTarget::Create, Some(TargetUnion::CreateRevision(2))),
                compare(CompareTarget::Mod, Some(TargetUnion::ModRevision(3))),
                compare(CompareTarget::Value, Some(TargetUnion::Value("x".into()))),
                compare(CompareTarget::Lease, Some(TargetUnion::Lease(4))),
                compare(CompareTarget::Value, Some(TargetUnion::Version(9))),
            ],
            success: vec![
                op(request_op::Request::RequestPut(put)),
                op(request_op::Request::RequestRange(range)),
            ],
            failure: vec![op(request_op::Request::RequestTxn(nested)), pb::RequestOp::default()],
        };
        insta::assert_debug_snapshot!(kv::TxnRequest::from(request));
    }

    #[test]
    fn replies_inside_a_transaction_carry_the_revision_of_their_moment() {
        let kv = kv::KeyValue {
            key: "k".into(),
            create_revision: 1,
            mod_revision: 2,
            version: 3,
            value: "v".into(),
            lease: 4,
        };
        let range = kv::RangeResponse {
            kvs: vec![kv.clone()],
            more: true,
            count: 9,
        };
        let delete = kv::DeleteRangeResponse {
            deleted: 1,
            prev_kvs: vec![kv.clone()],
        };
        let op = |kind| kv::ResponseOp { kind: Some(kind) };
        let nested = kv::TxnResponse {
            succeeded: true,
            responses: vec![op(kv::ResponseOpKind::DeleteRange(delete))],
        };
        let response = kv::TxnResponse {
            succeeded: false,
            responses: vec![
                op(kv::ResponseOpKind::Range(range)),
                op(kv::ResponseOpKind::Put(kv::PutResponse { prev_kv: Some(kv) })),
                op(kv::ResponseOpKind::Txn(nested)),
            ],
        };
        let header = pb::ResponseHeader {
            cluster_id: 5,
            member_id: 6,
            revision: 7,
            raft_term: 8,
        };
        insta::assert_debug_snapshot!(txn_response(response, header, 7));
    }
}
