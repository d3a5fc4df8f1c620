//! Service Maintenance. The state is in memory, so there is nothing to defragment.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use quorate_kv::KvError;
use tonic::{Request, Response, Status};

use super::{Services, alarms};
use crate::backend::{Backend, snapshot_stream};
use crate::caller::Client;
use crate::context::{EMULATED_CLUSTER_VERSION, EMULATED_VERSION, REQUEST_TIMEOUT, member_id};
use crate::errors::{call_status, kv_status, too_many_requests};
use crate::pb::etcdserverpb as pb;
use crate::pb::etcdserverpb::downgrade_request::DowngradeAction;

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Services {
    /// Tells, raises or disarms alarms of the port's keyspace.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let client = self.0.client(&request);
        let response = alarms::alarm(&self.0, &client, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    /// Needs a user, as in etcd, and answers without a leader.
    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        context.authorize_user_without_leader(&client).await?;
        let (revision, size, quota) =
            context.keyspace(|keyspace| (keyspace.revision(), keyspace.size_bytes(), keyspace.quota_bytes()))?;
        // The standing is published at some pace; the state above may be ahead of it.
        let applied_index = context.handle.applied_index();
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
            raft_index: status.committed_index.max(applied_index),
            raft_term: status.term,
            raft_applied_index: status.applied_index.max(applied_index),
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

    /// Compares between members of one version only; it covers everything that a snapshot holds.
    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let context = &self.0;
        context.authorize_admin(&context.client(&request)).await?;
        let backend = Backend::now(context)?;
        let revision = backend.keyspace().revision();
        let hash = compute(move || backend.hash()).await?;
        Ok(Response::new(pb::HashResponse {
            header: Some(context.header(revision)),
            hash,
        }))
    }

    /// Of this member's keyspace as it is, as in etcd: without a revision, members that lag answer differently.
    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let context = &self.0;
        context.authorize_admin(&context.client(&request)).await?;
        let keyspace = context.keyspace_view()?;
        let revision = keyspace.revision();
        let wanted = request.into_inner().revision;
        let hash = compute(move || keyspace.hash_kv(wanted)).await?.map_err(kv_status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(context.header(revision)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        let context = &self.0;
        context.authorize_admin(&context.client(&request)).await?;
        let permit = Arc::clone(&context.snapshots).try_acquire_owned();
        let permit = permit.map_err(|_| too_many_requests())?;
        let stream = snapshot_stream(Backend::now(context)?, permit)?;
        Ok(Response::new(Box::pin(stream)))
    }

    /// Hands leadership of the whole cluster over, so it is the first instance's alone.
    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let context = &self.0;
        self.authorize_cluster_admin(&context.client(&request)).await?;
        if !context.handle.is_leader() {
            return Err(Status::failed_precondition("etcdserver: not leader"));
        }
        let target = request.into_inner().target_id;
        let voters = context.status.borrow().voters.clone();
        let named = |node: &u64| member_id(context.cluster_id, *node) == target;
        let heir = voters.into_iter().find(named);
        let heir = heir.ok_or_else(|| Status::failed_precondition("etcdserver: bad leader transferee"))?;
        let moved = context.handle.transfer_leadership(Some(heir), REQUEST_TIMEOUT).await;
        moved.map_err(call_status)?;
        // etcd fills no header here.
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    /// Checks the version as etcd does. There is no other etcd to become, so a downgrade never begins.
    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        self.authorize_cluster_admin(&client).await?;
        let request = request.into_inner();
        match request.action() {
            // Without a downgrade to cancel etcd says so in its log alone.
            DowngradeAction::Cancel => {}
            action => {
                check_downgrade_target(&request.version)?;
                context.ensure_serving(&client)?;
                context.read_index().await?;
                if action == DowngradeAction::Enable {
                    return Err(Status::failed_precondition(
                        "quorate: there is no etcd to downgrade to; move the data with a snapshot instead",
                    ));
                }
            }
        }
        let version = EMULATED_CLUSTER_VERSION.trim_end_matches(".0").to_owned();
        Ok(Response::new(pb::DowngradeResponse {
            header: Some(context.current_header()?),
            version,
        }))
    }
}

impl Services {
    /// Allows only root, and only on the port of the first instance: what concerns all instances is not the others' business.
    async fn authorize_cluster_admin(&self, client: &Client) -> Result<(), Status> {
        let context = &self.0;
        context.authorize_admin(client).await?;
        let first = context
            .handle
            .read(|state| state.default_instance().map(|first| first.meta.id));
        if first != Some(context.instance) {
            return Err(kv_status(KvError::PermissionDenied));
        }
        Ok(())
    }
}

/// Runs what takes long beside the threads that answer.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::internal(format!("quorate: the computation failed: {error}")))
}

/// Only the minor version before ours can be meant.
fn check_downgrade_target(version: &str) -> Result<(), Status> {
    let wrong = || Status::invalid_argument("etcdserver: wrong downgrade target version format");
    let target = cluster_version(version).ok_or_else(wrong)?;
    let own = cluster_version(EMULATED_CLUSTER_VERSION).ok_or_else(wrong)?;
    if target != (own.0, own.1 - 1) {
        return Err(Status::invalid_argument("etcdserver: invalid downgrade target version"));
    }
    Ok(())
}

/// Major and minor of `major.minor` or `major.minor.patch`, with what semantic versioning allows behind that.
fn cluster_version(version: &str) -> Option<(u64, u64)> {
    let (numbers, _) = version.split_at(version.find(['-', '+']).unwrap_or(version.len()));
    let parts: Vec<u64> = numbers
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    match parts[..] {
        [major, minor] if numbers.len() == version.len() => Some((major, minor)),
        [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}
