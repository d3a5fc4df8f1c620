//! Service Cluster: lists the members, and changes them where the port may ([`crate::KvDoor::members`]). Answers carry no
//! revision, as in etcd.

use quorate_machine::{FIRST_ETCD_MEMBER_ID, NodeRecord};
use tonic::{Request, Response, Status};

use super::Services;
use crate::caller::Client;
use crate::context::{Context, member_id};
use crate::errors::kv_status;
use crate::members::{MemberChange, MemberError, check_urls, urls};
use crate::pb::etcdserverpb as pb;

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Services {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        if request.into_inner().linearizable {
            context.ensure_serving(&client)?;
            context.read_index().await?;
        }
        context.authorize_user(&client).await?;
        let header = Some(context.header(0));
        let members = members(context);
        Ok(Response::new(pb::MemberListResponse { header, members }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let client = self.0.client(&request);
        let request = request.into_inner();
        check_urls(&request.peer_ur_ls).map_err(MemberError::status)?;
        let change = MemberChange::Add {
            peer_urls: request.peer_ur_ls,
            learner: request.is_learner,
        };
        let node = change_members(&self.0, &client, change).await?;
        let members = members(&self.0);
        let id = member_id(self.0.cluster_id, node);
        let header = Some(self.0.header(0));
        Ok(Response::new(pb::MemberAddResponse {
            header,
            member: members.iter().find(|member| member.id == id).cloned(),
            members,
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let client = self.0.client(&request);
        let id = request.into_inner().id;
        change_member(&self.0, &client, id, |node| MemberChange::Remove { node }).await?;
        let (header, members) = (Some(self.0.header(0)), members(&self.0));
        Ok(Response::new(pb::MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let client = self.0.client(&request);
        let request = request.into_inner();
        // etcd lets a malformed URL in here, and panics where the member is a learner.
        check_urls(&request.peer_ur_ls).map_err(MemberError::status)?;
        let peer_urls = request.peer_ur_ls;
        change_member(&self.0, &client, request.id, |node| MemberChange::Update {
            node,
            peer_urls,
        })
        .await?;
        let (header, members) = (Some(self.0.header(0)), members(&self.0));
        Ok(Response::new(pb::MemberUpdateResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let client = self.0.client(&request);
        let id = request.into_inner().id;
        change_member(&self.0, &client, id, |node| MemberChange::Promote { node }).await?;
        let (header, members) = (Some(self.0.header(0)), members(&self.0));
        Ok(Response::new(pb::MemberPromoteResponse { header, members }))
    }
}

/// Carries out a change of one member, named by etcd's id.
async fn change_member(
    context: &Context,
    client: &Client,
    id: u64,
    change: impl FnOnce(u64) -> MemberChange,
) -> Result<(), Status> {
    let find = || {
        let cluster_id = context.cluster_id;
        context.handle.read(|state| {
            let mut nodes = state.nodes().map(|node| node.id);
            nodes.find(|node| member_id(cluster_id, *node) == id)
        })
    };
    // Nobody without the right learns which members there are.
    may_change(context, client).await?;
    if find().is_none() {
        context.read_index().await?;
    }
    let node = find().ok_or_else(|| MemberError::NotFound.status())?;
    change_members(context, client, change(node)).await.map(|_| ())
}

async fn change_members(context: &Context, client: &Client, change: MemberChange) -> Result<u64, Status> {
    may_change(context, client).await?;
    let Some(keeper) = &context.members else {
        return Err(kv_status(quorate_kv::KvError::PermissionDenied));
    };
    keeper.change(change).await.map_err(MemberError::status)
}

async fn may_change(context: &Context, client: &Client) -> Result<(), Status> {
    if context.members.is_none() {
        return Err(kv_status(quorate_kv::KvError::PermissionDenied));
    }
    context.ensure_serving(client)?;
    context.authorize_admin(client).await
}

fn members(context: &Context) -> Vec<pb::Member> {
    let learners = context.status.borrow().learners.clone();
    // In a cluster that stands in for etcd a member that was added as a voter counts as one from the start.
    let learns = |node: &NodeRecord| node.learner || (node.id < FIRST_ETCD_MEMBER_ID && learners.contains(&node.id));
    let member = |node: &NodeRecord| pb::Member {
        id: member_id(context.cluster_id, node.id),
        name: node.name.clone(),
        peer_ur_ls: urls(&node.peer),
        client_ur_ls: urls(&node.kv),
        is_learner: learns(node),
    };
    context.handle.read(|state| state.nodes().map(member).collect())
}
