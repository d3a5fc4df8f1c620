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
        let context = &self.0;
        let client = context.client(&request);
        let request = request.into_inner();
        let serializable = request.serializable;
        let request = kv::RangeRequest::from(request);
        context.ensure_serving(&client)?;
        kv::validate_range(&request).map_err(kv_status)?;
        if !serializable {
            context.read_index().await?;
        }
        let (response, revision) = range(context, &client, &request)?;
        if response.count == 0 && request.range_end.is_empty() {
            context
                .clients
                .key_not_found(context.instance, &client.source, &request.key);
        }
        Ok(Response::new(convert::range_response(
            response,
            context.header(revision),
        )))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let client = self.0.client(&request);
        let op = KvOp::Put(request.into_inner().into());
        match self.0.propose(&client, op).await? {
            (KvResult::Put(response), revision) => {
                Ok(Response::new(convert::put_response(response, self.0.header(revision))))
            }
            _ => Err(wrong_result()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let client = self.0.client(&request);
        let op = KvOp::DeleteRange(request.into_inner().into());
        match self.0.propose(&client, op).await? {
            (KvResult::DeleteRange(response), revision) => {
                let response = convert::delete_range_response(response, self.0.header(revision));
                Ok(Response::new(response))
            }
            _ => Err(wrong_result()),
        }
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        let request = kv::TxnRequest::from(request.into_inner());
        let (response, revision) = if Keyspace::txn_is_read_only(&request) {
            read_txn(context, &client, request).await?
        } else {
            match context.propose(&client, KvOp::Txn(request)).await? {
                (KvResult::Txn(response), revision) => (response, revision),
                _ => return Err(wrong_result()),
            }
        };
        let header = context.header(revision);
        Ok(Response::new(convert::txn_response(response, header, revision)))
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

/// Reads the local state. One key is read under the state's lock, a range from a view of it.
fn range(context: &Context, client: &Client, request: &kv::RangeRequest) -> Result<(kv::RangeResponse, i64), Status> {
    let read = |keyspace: &Keyspace| {
        let caller = client.caller(keyspace)?;
        keyspace.check_range(Some(&caller), &request.key, &request.range_end)?;
        Ok((keyspace.range(request)?, keyspace.revision()))
    };
    let result = if request.range_end.is_empty() {
        context.keyspace(read)?
    } else {
        read(&context.keyspace_view()?)
    };
    result.map_err(kv_status)
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
