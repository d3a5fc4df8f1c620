//! Service Maintenance. The state is in memory, so there is nothing to defragment.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::{Services, alarms};
use crate::context::{EMULATED_CLUSTER_VERSION, EMULATED_VERSION, member_id};
use crate::errors::unimplemented;
use crate::pb::etcdserverpb as pb;

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Services {
    /// Tells, raises or disarms alarms of the port's keyspace.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let client = self.0.client(&request);
        let response = alarms::alarm(&self.0, &client, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    /// Needs no user, as in etcd, and answers without a leader.
    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let context = &self.0;
        let (revision, size, quota) =
            context.keyspace(|keyspace| (keyspace.revision(), keyspace.size_bytes(), keyspace.quota_bytes()))?;
        let status = context.status.borrow().clone();
        let leader = status.leader.map_or(0, |leader| member_id(context.cluster_id, leader));
        let mut errors: Vec<String> = status.fatal.into_iter().collect();
        if status.leader.is_none() {
            errors.push("etcdserver: no leader".to_owned());
        }
        errors.extend(alarms::active(context)?.iter().map(alarms::text));
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        Ok(Response::new(pb::StatusResponse {
            header: Some(context.header(revision)),
            version: EMULATED_VERSION.to_owned(),
            db_size: size,
            leader,
            raft_index: status.committed_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: size,
            is_learner: status.learners.contains(&status.node_id),
            storage_version: EMULATED_CLUSTER_VERSION.to_owned(),
            db_size_quota: i64::try_from(quota).unwrap_or(i64::MAX),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.0.authorize_admin(&self.0.client(&request)).await?;
        // etcd fills no header here.
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        Err(unimplemented("Hash"))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let context = &self.0;
        context.authorize_admin(&context.client(&request)).await?;
        let keyspace = context.keyspace_view()?;
        let hash = keyspace
            .hash_kv(request.into_inner().revision)
            .map_err(crate::errors::kv_status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(context.header(keyspace.revision())),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(unimplemented("Snapshot"))
    }

    async fn move_leader(&self, _: Request<pb::MoveLeaderRequest>) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Err(unimplemented("MoveLeader"))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(unimplemented("Downgrade"))
    }
}
