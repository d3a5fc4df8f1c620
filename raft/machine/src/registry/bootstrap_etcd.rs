//! The first command of a cluster that stands in for etcd: its members and one open keyspace, as etcd starts with.

use crate::apply::Context;
use crate::audit;
use crate::command::BootstrapEtcd;
use crate::events::{self, EventCode};
use crate::live::Cluster;
use crate::model::*;
use crate::registry::nodes::{MAX_NODES, check_node};
use crate::registry::{check_quota, new_meta};
use crate::reply::*;
use crate::state::State;

const NAME: &str = "default";
const EDITION: &str = "etcd";

/// Nobody is locked out of the keyspace: authentication is off until a client turns it on. There are no console users, so
/// nothing but KV can be asked of the cluster.
pub(crate) fn bootstrap_etcd(
    state: &mut State,
    context: &mut Context<'_>,
    command: BootstrapEtcd,
) -> Result<ReplyKind, Refusal> {
    if state.cluster.is_some() {
        return Err(Refusal::new(RefusalCode::AlreadyBootstrapped));
    }
    command.nodes.iter().try_for_each(check_node)?;
    check_quota("nodes", MAX_NODES + 1, command.nodes.len())?;
    let namespace = Namespace {
        meta: new_meta(context, command.namespace_id),
        name: NAME.to_owned(),
        description: String::new(),
        edition: EDITION.to_owned(),
        feature_points: Vec::new(),
    };
    let instance = Instance {
        meta: new_meta(context, command.instance_id),
        name: NAME.to_owned(),
        description: String::new(),
        namespace: command.namespace_id,
        ordinal: 1,
        ..Instance::default()
    };
    state.cluster = Some(Cluster {
        id: command.cluster_id,
        default_instance: command.instance_id,
        created_at_ms: context.wall_ms,
        etcd_token_secret: Some(command.token_secret),
        removed_up_to: 0,
    });
    state.nodes = command.nodes.iter().map(|node| (node.id, node.clone())).collect();
    state.namespaces.insert(command.namespace_id, namespace);
    state.instances.insert(command.instance_id, instance);
    state.keyspaces.insert(command.instance_id, quorate_kv::Keyspace::new());
    let params = vec![
        Param::new("cluster_id", command.cluster_id),
        Param::new("nodes", command.nodes.len()),
    ];
    let about = Some(command.cluster_id);
    audit::record(state, context, "bootstrap-etcd", about, params.clone(), Vec::new());
    events::record(state, context, EventCode::ClusterBootstrapped, None, params);
    context.wake.membership = true;
    Ok(ReplyKind::Object(ObjectReply {
        id: command.cluster_id,
        generation: 1,
    }))
}
