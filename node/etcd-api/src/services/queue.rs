//! What locks and elections have in common: everybody who wants something puts a key under a prefix, bound to a lease, and
//! the oldest key has it. The keys are etcd's (`prefix/lease in hex`), so that its client libraries stand in the same queue.

use bytes::Bytes;
use quorate_kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, KvOp, KvResult, LeaseGrantRequest, PutRequest,
    RangeRequest, RangeResponse, RequestOp, RequestOpKind, ResponseOpKind, SortOrder, SortTarget, TxnRequest,
    TxnResponse,
};
use tonic::{Code, Status};

use super::kv::{local_range, wrong_result};
use super::lease::random_lease_id;
use crate::caller::Client;
use crate::context::Context;
use crate::watch::{KeySpan, changed};

/// Time to live, in seconds, of a lease that the server grants because the caller named none, as etcd's.
const SESSION_TTL_SECONDS: i64 = 60;

/// etcd answers from within through a client of its own, which loses the code of every refusal.
pub(super) fn without_code(status: Status) -> Status {
    match status.code() {
        // Ours alone: the client may try another node.
        Code::Unavailable => status,
        _ => Status::unknown(status.message()),
    }
}

/// The prefix of all keys of a name, and its end.
pub(super) fn prefix(name: &[u8]) -> (Bytes, Bytes) {
    let key = [name, b"/"].concat();
    let mut end = key.clone();
    *end.last_mut().expect("it ends with a slash") += 1;
    (key.into(), end.into())
}

/// The key of one who waits.
pub(super) fn own_key(name: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    [name, format!("/{sign}{:x}", lease.unsigned_abs()).as_bytes()]
        .concat()
        .into()
}

/// The lease to use: the one named, or a new one.
pub(super) async fn session(context: &Context, client: &Client, lease: i64) -> Result<i64, Status> {
    if lease != 0 {
        return Ok(lease);
    }
    let id = random_lease_id();
    let request = LeaseGrantRequest {
        id,
        ttl_seconds: SESSION_TTL_SECONDS,
    };
    context.propose(client, KvOp::LeaseGrant(request)).await?;
    Ok(id)
}

/// Holds if the key was created by this revision; 0 for a key that does not exist.
pub(super) fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal as i32,
        key: key.clone(),
        target: Some(CompareTarget::Create(revision)),
        ..Compare::default()
    }
}

pub(super) fn put(key: &Bytes, value: Bytes, lease: i64) -> RequestOp {
    op(RequestOpKind::Put(PutRequest {
        key: key.clone(),
        value,
        lease,
        ..PutRequest::default()
    }))
}

pub(super) fn get(key: &Bytes) -> RequestOp {
    op(RequestOpKind::Range(RangeRequest {
        key: key.clone(),
        ..RangeRequest::default()
    }))
}

pub(super) fn delete(key: &Bytes) -> RequestOp {
    op(RequestOpKind::DeleteRange(DeleteRangeRequest {
        key: key.clone(),
        ..DeleteRangeRequest::default()
    }))
}

pub(super) fn op(kind: RequestOpKind) -> RequestOp {
    RequestOp { kind: Some(kind) }
}

/// Asks for the oldest key of a name.
pub(super) fn oldest(name: &[u8]) -> RangeRequest {
    let (key, range_end) = prefix(name);
    RangeRequest {
        key,
        range_end,
        limit: 1,
        sort_order: SortOrder::Ascend as i32,
        sort_target: SortTarget::Create as i32,
        ..RangeRequest::default()
    }
}

/// Runs a transaction; gives its response and the revision after it.
pub(super) async fn txn(context: &Context, client: &Client, txn: TxnRequest) -> Result<(TxnResponse, i64), Status> {
    match context.propose(client, KvOp::Txn(txn)).await? {
        (KvResult::Txn(response), revision) => Ok((response, revision)),
        _ => Err(wrong_result()),
    }
}

/// The first key that a transaction's operation read.
pub(super) fn first_read(response: &TxnResponse, operation: usize) -> Option<&KeyValue> {
    match &response.responses.get(operation)?.kind {
        Some(ResponseOpKind::Range(range)) => range.kvs.first(),
        _ => None,
    }
}

/// Reads what is agreed on now; gives the revision too.
pub(super) async fn read(
    context: &Context,
    client: &Client,
    request: &RangeRequest,
) -> Result<(RangeResponse, i64), Status> {
    context.ensure_serving(client)?;
    context.read_index().await?;
    local_range(context, client, request)
}

/// Waits until no key of the name is left that was created before `revision`.
pub(super) async fn wait_for_turn(
    context: &Context,
    client: &Client,
    name: &[u8],
    revision: i64,
) -> Result<(), Status> {
    let (key, range_end) = prefix(name);
    let before = RangeRequest {
        key,
        range_end,
        limit: 1,
        sort_order: SortOrder::Descend as i32,
        sort_target: SortTarget::Create as i32,
        max_create_revision: revision - 1,
        ..RangeRequest::default()
    };
    // The leader's reply may be here before the state has this key, and then those before it may not be here either.
    context.read_acknowledged().await?;
    loop {
        let (found, seen) = local_range(context, client, &before)?;
        let Some(predecessor) = found.kvs.into_iter().next() else {
            return Ok(());
        };
        // Only the one directly in front: a herd does not wake at once.
        changed(context, KeySpan::One(predecessor.key), seen).await?;
    }
}

/// Takes the key of one who waited out of the queue if the wait ends without success, also when the client goes away.
pub(super) struct Place {
    context: std::sync::Arc<Context>,
    client: Client,
    key: Option<(Bytes, i64)>,
}

impl Place {
    pub(super) fn new(context: &std::sync::Arc<Context>, client: &Client, key: &Bytes, revision: i64) -> Place {
        Place {
            context: std::sync::Arc::clone(context),
            client: client.clone(),
            key: Some((key.clone(), revision)),
        }
    }

    /// The wait was successful.
    pub(super) fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((key, revision)) = self.key.take() else {
            return;
        };
        let (context, client) = (std::sync::Arc::clone(&self.context), self.client.clone());
        tokio::spawn(async move {
            let request = TxnRequest {
                compare: vec![created_at(&key, revision)],
                success: vec![delete(&key)],
                failure: Vec::new(),
            };
            if let Err(status) = txn(&context, &client, request).await {
                // Its lease takes it away.
                tracing::debug!("a place in a queue was not given back: {}", status.message());
            }
        });
    }
}
