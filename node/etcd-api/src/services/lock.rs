//! Service Lock of etcd: a lock that the server waits for.

use quorate_kv::{DeleteRangeRequest, KvOp, RequestOpKind, TxnRequest};
use tonic::{Request, Response, Status};

use super::Services;
use super::queue::{self, Place, without_code};
use crate::caller::Client;
use crate::pb::v3lockpb as pb;

impl Services {
    async fn take_lock(&self, client: &Client, request: pb::LockRequest) -> Result<pb::LockResponse, Status> {
        let context = &self.0;
        let lease = queue::session(context, client, request.lease).await?;
        let key = queue::own_key(&request.name, lease);
        let owner = || queue::op(RequestOpKind::Range(queue::oldest(&request.name)));
        let enter = TxnRequest {
            compare: vec![queue::created_at(&key, 0)],
            success: vec![queue::put(&key, Default::default(), lease), owner()],
            failure: vec![queue::get(&key), owner()],
        };
        let (entered, revision) = queue::txn(context, client, enter).await?;
        let own_revision = match entered.succeeded {
            true => revision,
            false => queue::first_read(&entered, 0).map_or(revision, |kv| kv.create_revision),
        };
        let header = if queue::first_read(&entered, 1).is_none_or(|oldest| oldest.create_revision == own_revision) {
            context.header(revision)
        } else {
            let place = Place::new(context, client, &key, own_revision);
            queue::wait_for_turn(context, client, &request.name, own_revision).await?;
            let own = quorate_kv::RangeRequest {
                key: key.clone(),
                ..Default::default()
            };
            let (found, revision) = queue::read(context, client, &own).await?;
            place.keep();
            if found.kvs.is_empty() {
                return Err(Status::unknown("mutex: session is expired"));
            }
            context.header(revision)
        };
        Ok(pb::LockResponse {
            header: Some(header),
            key,
        })
    }
}

#[tonic::async_trait]
impl pb::lock_server::Lock for Services {
    async fn lock(&self, request: Request<pb::LockRequest>) -> Result<Response<pb::LockResponse>, Status> {
        let client = self.0.client(&request);
        let locked = self.take_lock(&client, request.into_inner()).await;
        locked.map(Response::new).map_err(without_code)
    }

    /// Deletes the key; one that does not exist is no error, as in etcd.
    async fn unlock(&self, request: Request<pb::UnlockRequest>) -> Result<Response<pb::UnlockResponse>, Status> {
        let client = self.0.client(&request);
        let key = request.into_inner().key;
        let delete = KvOp::DeleteRange(DeleteRangeRequest {
            key,
            ..Default::default()
        });
        let (_, revision) = self.0.propose(&client, delete).await.map_err(without_code)?;
        let header = Some(self.0.header(revision));
        Ok(Response::new(pb::UnlockResponse { header }))
    }
}
