//! Service Cluster: the members can be listed; they are changed on the console only.

use quorate_machine::FIRST_ETCD_MEMBER_ID;
use tonic::{Request, Response, Status};

use super::Services;
use crate::context::member_id;
use crate::errors::unimplemented;
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
        let learners = context.status.borrow().learners.clone();
        let members = context.handle.read(|state| {
            let member = |node: &quorate_machine::NodeRecord| pb::Member {
                id: member_id(context.cluster_id, node.id),
                name: node.name.clone(),
                peer_ur_ls: urls(&node.peer),
                client_ur_ls: urls(&node.kv),
                is_learner: node.learner || (node.id < FIRST_ETCD_MEMBER_ID && learners.contains(&node.id)),
            };
            state.nodes().map(member).collect()
        });
        // Cluster answers carry no revision in etcd either.
        let header = Some(context.header(0));
        Ok(Response::new(pb::MemberListResponse { header, members }))
    }

    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(unimplemented("MemberAdd"))
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(unimplemented("MemberRemove"))
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(unimplemented("MemberUpdate"))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(unimplemented("MemberPromote"))
    }
}

/// What the registry holds as addresses, as URLs: a member of a cluster that stands in for etcd has its URLs there.
fn urls(addresses: &str) -> Vec<String> {
    let addresses = addresses.split(',').filter(|address| !address.is_empty());
    addresses
        .map(|address| match address.contains("://") {
            true => address.to_owned(),
            false => format!("https://{address}"),
        })
        .collect()
}
