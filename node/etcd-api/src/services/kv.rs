//! Service KV.

use quorate_kv::{self as kv, Keyspace, KvOp, KvResult};
use tonic::{Request, Response, Status};

use super::Services;
use crate::context::{Client, Context};
use crate::convert;
use crate::errors::kv_status;
use crate::pb::etcdserverpb as pb;

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

pub(super) async fn range(
    context: &Context,
    client: &Client,
    request: pb::RangeRequest,
) -> Result<pb::RangeResponse, Status> {
    let serializable = request.serializable;
    let request = kv::RangeRequest::from(request);
    context.ensure_serving(client)?;
    kv::validate_range(&request).map_err(kv_status)?;
    if !serializable {
        context.read_index().await?;
    }
    let read = |keyspace: &Keyspace| read_range(keyspace, client, &request);
    // One key is read under the state's lock, a range from a view of it.
    let result = if request.range_end.is_empty() {
        context.keyspace(read)?
    } else {
        read(&context.keyspace_view()?)
    };
    range_answer(context, client, &request, result)
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
