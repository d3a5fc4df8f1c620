//! Service Lease.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream;
use quorate_kv::{Keyspace, KvOp, KvResult, LeaseGrantRequest, LeaseRevokeRequest};
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::kv::wrong_result;
use crate::caller::Client;
use crate::context::Context;
use crate::errors;
use crate::pb::etcdserverpb as pb;
use crate::random::random_u64;

#[tonic::async_trait]
impl pb::lease_server::Lease for Services {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let client = self.0.client(&request);
        let request = request.into_inner();
        let id = if request.id == 0 { random_lease_id() } else { request.id };
        let ttl_seconds = request.ttl;
        let op = KvOp::LeaseGrant(LeaseGrantRequest { id, ttl_seconds });
        match self.0.propose(&client, op).await? {
            (KvResult::LeaseGrant(granted), revision) => Ok(Response::new(pb::LeaseGrantResponse {
                header: Some(self.0.header(revision)),
                id: granted.id,
                ttl: granted.ttl_seconds,
                error: String::new(),
            })),
            _ => Err(wrong_result()),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let client = self.0.client(&request);
        let id = request.into_inner().id;
        let (_, revision) = self
            .0
            .propose(&client, KvOp::LeaseRevoke(LeaseRevokeRequest { id }))
            .await?;
        let header = Some(self.0.header(revision));
        Ok(Response::new(pb::LeaseRevokeResponse { header }))
    }

    type LeaseKeepAliveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let client = self.0.client(&request);
        self.0.ensure_serving(&client)?;
        let keep_alive = KeepAlive {
            context: Arc::clone(&self.0),
            client,
            inbound: request.into_inner(),
            ended: false,
        };
        let answers = stream::unfold(keep_alive, |mut keep_alive| async {
            let answer = keep_alive.next().await?;
            keep_alive.ended = answer.is_err();
            Some((answer, keep_alive))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        let request = request.into_inner();
        context.ensure_serving(&client)?;
        context.read_index().await?;
        let lease = context
            .authorize(&client, |keyspace, caller| {
                let lease = keyspace.lease(request.id);
                check_user(keyspace, &caller.user)?;
                // Only who wants to see the keys must be allowed to read them.
                for key in lease.iter().filter(|_| request.keys).flat_map(|lease| &lease.keys) {
                    keyspace.check_range(Some(&caller), key, &[])?;
                }
                Ok(lease)
            })
            .await?;
        let remaining = match lease {
            Some(_) => context.leases.remaining(context.instance, request.id).await,
            None => Ok(None),
        };
        let mut response = pb::LeaseTimeToLiveResponse {
            header: Some(context.current_header()?),
            id: request.id,
            ttl: -1,
            ..Default::default()
        };
        if let (Some(remaining), Some(lease)) = (remaining.map_err(errors::call_status)?, lease) {
            response.ttl = remaining.ttl_seconds;
            response.granted_ttl = remaining.granted_ttl_seconds;
            response.keys = if request.keys { lease.keys } else { Vec::new() };
        }
        Ok(Response::new(response))
    }

    /// With authentication on, the caller must be allowed to read every key of every lease, as in etcd.
    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        context.ensure_serving(&client)?;
        context.read_index().await?;
        let keyspace = context.keyspace_view()?;
        let caller = client.caller(&keyspace).map_err(errors::kv_status)?;
        check_user(&keyspace, &caller.user).map_err(errors::kv_status)?;
        let sees_all = keyspace.check_admin(Some(&caller)).is_ok();
        for lease in keyspace.leases().into_iter().filter(|_| !sees_all) {
            for key in keyspace.lease(lease).into_iter().flat_map(|lease| lease.keys) {
                let allowed = keyspace.check_range(Some(&caller), &key, &[]);
                allowed.map_err(errors::kv_status)?;
            }
        }
        let leases = keyspace.leases().into_iter().map(|id| pb::LeaseStatus { id });
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: Some(context.header(keyspace.revision())),
            leases: leases.collect(),
        }))
    }
}

fn check_user(keyspace: &Keyspace, user: &str) -> Result<(), quorate_kv::KvError> {
    if keyspace.auth_enabled() && user.is_empty() {
        return Err(quorate_kv::KvError::UserEmpty);
    }
    Ok(())
}

/// A random id, never 0, as etcd gives out.
pub(super) fn random_lease_id() -> i64 {
    let positive = random_u64() >> 1;
    i64::try_from(positive.max(1)).expect("63 bits fit")
}

/// One keep-alive stream: requests are answered one after the other.
struct KeepAlive {
    context: Arc<Context>,
    client: Client,
    inbound: Streaming<pb::LeaseKeepAliveRequest>,
    ended: bool,
}

impl KeepAlive {
    async fn next(&mut self) -> Option<Result<pb::LeaseKeepAliveResponse, Status>> {
        if self.ended {
            return None;
        }
        let request = tokio::select! {
            () = self.context.drain.cancelled() => return Some(Err(errors::server_stopped())),
            // A stream that breaks and one that ends need no answer.
            request = self.inbound.message() => request.ok().flatten()?,
        };
        Some(self.renew(request.id).await)
    }

    async fn renew(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        self.context.ensure_serving(&self.client)?;
        // Whoever may keep a lease must be able to end it.
        let revoke = KvOp::LeaseRevoke(LeaseRevokeRequest { id });
        let may_keep = |keyspace: &Keyspace, caller| keyspace.check_op(Some(&caller), &revoke);
        self.context.authorize(&self.client, may_keep).await?;
        // Before the renewal, so that the revision never tells of a revoke that came after it.
        let header = Some(self.context.current_header()?);
        let renewed = self.context.leases.renew(self.context.instance, id).await;
        let ttl = renewed.map_err(errors::call_status)?.unwrap_or(0);
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }
}
