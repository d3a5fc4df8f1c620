//! Service KV.

use std::pin::Pin;

use futures_util::{Stream, stream};
use quorate_kv::{self as kv, Keyspace, KvOp, KvResult};
use tonic::{Request, Response, Status};

use super::Services;
use crate::caller::Client;
use crate::context::Context;
use crate::convert;
use crate::errors::kv_status;
use crate::pb::etcdserverpb as pb;

/// Keys and values in a piece of a streamed read, in bytes, as in etcd; a larger key comes alone.
const MAX_PIECE_BYTES: usize = quorate_kv::MAX_REQUEST_BYTES;

/// Bytes of a key in an answer beside its name and value, at most.
const KEY_OVERHEAD_BYTES: usize = 64;

/// An operation was answered with the result of another kind.
pub(super) fn wrong_result() -> Status {
    Status::internal("quorate: an operation was answered with the result of another one")
}

#[tonic::async_trait]
impl pb::kv_server::Kv for Services {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let client = self.0.client(&request);
        range(&self.0, &client, request.into_inner()).await.map(Response::new)
    }

    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

    /// All pieces are of one revision: what was read is kept, shared with the keyspace, until the client has taken it.
    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        let request = request.into_inner();
        let serializable = request.serializable;
        let request = kv::RangeRequest::from(request);
        context.ensure_serving(&client)?;
        kv::validate_range(&request).map_err(kv_status)?;
        check_streamable(&request)?;
        read_barrier(context, serializable).await?;
        let (response, revision) = local_range(context, &client, &request)?;
        let response = convert::range_response(response, context.header(revision));
        Ok(Response::new(Box::pin(stream::iter(pieces(response).map(Ok)))))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let client = self.0.client(&request);
        put(&self.0, &client, request.into_inner()).await.map(Response::new)
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let client = self.0.client(&request);
        delete_range(&self.0, &client, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let client = self.0.client(&request);
        txn(&self.0, &client, request.into_inner()).await.map(Response::new)
    }

    /// A physical compaction waits for nothing more: history is given up in memory, and `apply` has done that.
    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let client = self.0.client(&request);
        let revision = request.into_inner().revision;
        let (_, revision) = self
            .0
            .propose(&client, KvOp::Compact(kv::CompactRequest { revision }))
            .await?;
        let header = Some(self.0.header(revision));
        Ok(Response::new(pb::CompactionResponse { header }))
    }
}

/// Refuses what cannot be read in pieces, as etcd does: where order or filters decide what comes first.
fn check_streamable(request: &kv::RangeRequest) -> Result<(), Status> {
    let by_key = request.sort_target == kv::SortTarget::Key as i32;
    let ascending = request.sort_order != kv::SortOrder::Descend as i32;
    if !by_key || !ascending {
        return Err(Status::unimplemented(
            "etcdserver: RangeStream does not support custom sort orders",
        ));
    }
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if filters.iter().any(|filter| *filter != 0) {
        return Err(Status::unimplemented(
            "etcdserver: RangeStream does not support revision filters",
        ));
    }
    Ok(())
}

/// Cuts an answer into pieces of bounded size; the last one has the header and the counts.
fn pieces(response: pb::RangeResponse) -> impl Iterator<Item = pb::RangeStreamResponse> {
    let pb::RangeResponse {
        header,
        kvs,
        more,
        count,
    } = response;
    let mut kvs = kvs.into_iter().peekable();
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut piece = pb::RangeResponse::default();
        let mut bytes = 0;
        while let Some(kv) = kvs.next_if(|kv| bytes == 0 || bytes + kv.key.len() + kv.value.len() <= MAX_PIECE_BYTES) {
            bytes += kv.key.len() + kv.value.len() + KEY_OVERHEAD_BYTES;
            piece.kvs.push(kv);
        }
        if kvs.peek().is_none() {
            ended = true;
            (piece.header, piece.more, piece.count) = (header, more, count);
        }
        Some(pb::RangeStreamResponse {
            range_response: Some(piece),
        })
    })
}

pub(super) async fn range(
    context: &Context,
    client: &Client,
    request: pb::RangeRequest,
) -> Result<pb::RangeResponse, Status> {
    let serializable = request.serializable;
    let request = kv::RangeRequest::from(request);
    context.ensure_reading(client, serializable)?;
    kv::validate_range(&request).map_err(kv_status)?;
    read_barrier(context, serializable).await?;
    range_answer(context, client, &request, read_local(context, client, &request)?)
}

/// What a read waits for: everything that was committed, or, serializable, what this node has acknowledged.
async fn read_barrier(context: &Context, serializable: bool) -> Result<(), Status> {
    match serializable {
        false => context.read_index().await,
        true => context.read_acknowledged().await,
    }
}

/// Reads the local state as it is.
pub(super) fn local_range(
    context: &Context,
    client: &Client,
    request: &kv::RangeRequest,
) -> Result<(kv::RangeResponse, i64), Status> {
    read_local(context, client, request)?.map_err(kv_status)
}

/// One key is read under the state's lock, a range from a view of it.
fn read_local(
    context: &Context,
    client: &Client,
    request: &kv::RangeRequest,
) -> Result<Result<(kv::RangeResponse, i64), kv::KvError>, Status> {
    let read = |keyspace: &Keyspace| read_range(keyspace, client, request);
    if request.range_end.is_empty() {
        context.keyspace(read)
    } else {
        Ok(read(&context.keyspace_view()?))
    }
}

/// Reads a keyspace on behalf of a client; gives the revision of what was read, too.
pub(super) fn read_range(
    keyspace: &Keyspace,
    client: &Client,
    request: &kv::RangeRequest,
) -> Result<(kv::RangeResponse, i64), kv::KvError> {
    let caller = client.caller(keyspace)?;
    keyspace.check_range(Some(&caller), &request.key, &request.range_end)?;
    Ok((keyspace.range(request)?, keyspace.revision()))
}

/// What the client is told of a read.
pub(super) fn range_answer(
    context: &Context,
    client: &Client,
    request: &kv::RangeRequest,
    result: Result<(kv::RangeResponse, i64), kv::KvError>,
) -> Result<pb::RangeResponse, Status> {
    let (response, revision) = result.map_err(kv_status)?;
    if response.count == 0 && request.range_end.is_empty() {
        context
            .clients
            .key_not_found(context.instance, &client.source, &request.key);
    }
    Ok(convert::range_response(response, context.header(revision)))
}

pub(super) async fn put(
    context: &Context,
    client: &Client,
    request: pb::PutRequest,
) -> Result<pb::PutResponse, Status> {
    match context.propose(client, KvOp::Put(request.into())).await? {
        (KvResult::Put(response), revision) => Ok(convert::put_response(response, context.header(revision))),
        _ => Err(wrong_result()),
    }
}

pub(super) async fn delete_range(
    context: &Context,
    client: &Client,
    request: pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, Status> {
    match context.propose(client, KvOp::DeleteRange(request.into())).await? {
        (KvResult::DeleteRange(response), revision) => {
            Ok(convert::delete_range_response(response, context.header(revision)))
        }
        _ => Err(wrong_result()),
    }
}

pub(super) async fn txn(
    context: &Context,
    client: &Client,
    request: pb::TxnRequest,
) -> Result<pb::TxnResponse, Status> {
    let request = kv::TxnRequest::from(request);
    let (response, revision) = if Keyspace::txn_is_read_only(&request) {
        read_txn(context, client, request).await?
    } else {
        match context.propose(client, KvOp::Txn(request)).await? {
            (KvResult::Txn(response), revision) => (response, revision),
            _ => return Err(wrong_result()),
        }
    };
    Ok(convert::txn_response(response, context.header(revision), revision))
}

async fn read_txn(
    context: &Context,
    client: &Client,
    request: kv::TxnRequest,
) -> Result<(kv::TxnResponse, i64), Status> {
    context.ensure_serving(client)?;
    let op = KvOp::Txn(request);
    kv::validate(&op).map_err(kv_status)?;
    let KvOp::Txn(request) = op else {
        return Err(wrong_result());
    };
    context.read_index().await?;
    let keyspace = context.keyspace_view()?;
    let result = client.caller(&keyspace).and_then(|caller| {
        keyspace.check_txn(Some(&caller), &request)?;
        keyspace.read_txn(&request)
    });
    Ok((result.map_err(kv_status)?, keyspace.revision()))
}
