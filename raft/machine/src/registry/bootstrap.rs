//! The first command of a cluster: what exists from the start.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_kv::{KvOp, KvResult, Nothing, Permission, PermissionType, RolePermission, UserCredential, UserRole};

use crate::apply::Context;
use crate::audit;
use crate::command::Bootstrap;
use crate::events::{self, EventCode};
use crate::live::Cluster;
use crate::model::*;
use crate::registry::nodes::{MAX_NODES, check_node};
use crate::registry::{check_quota, new_meta};
use crate::reply::*;
use crate::sdk_keys::RESERVED_PREFIX;
use crate::state::State;
use crate::validate::Problems;

/// Bytes of a password hash.
pub(super) const MAX_HASH_BYTES: usize = 1_024;

const EDITION: &str = "same-city";
/// Name of the namespace and the instance that a cluster begins with.
pub(super) const DEFAULT_NAME: &str = "default";
const ROOT: &str = "root";
/// KV user and role that SDKs use.
const SDK_USER: &str = "mas";

pub(crate) fn bootstrap(
    state: &mut State,
    context: &mut Context<'_>,
    command: Bootstrap,
) -> Result<ReplyKind, Refusal> {
    if state.cluster.is_some() {
        return Err(Refusal::new(RefusalCode::AlreadyBootstrapped));
    }
    check(&command)?;
    let mut meta = new_meta(context, command.root_user_id);
    let mut next = |id: Id| {
        meta.id = id;
        meta.clone()
    };
    let points = command.feature_points.clone();
    let root = User {
        meta: next(command.root_user_id),
        name: ROOT.to_owned(),
        password_hash: command.root_password_hash.clone(),
        role: Role::Root as i32,
        auth_revision: 1,
    };
    let module = Module {
        meta: next(command.module_id),
        edition: EDITION.to_owned(),
        feature_points: points.clone(),
    };
    let namespace = Namespace {
        meta: next(command.namespace_id),
        name: DEFAULT_NAME.to_owned(),
        description: String::new(),
        edition: EDITION.to_owned(),
        feature_points: points,
    };
    let instance = Instance {
        meta: next(command.instance_id),
        name: DEFAULT_NAME.to_owned(),
        description: String::new(),
        namespace: command.namespace_id,
        ordinal: 1,
        ..Instance::default()
    };
    state.cluster = Some(Cluster {
        id: command.cluster_id,
        default_instance: command.instance_id,
        created_at_ms: context.wall_ms,
        etcd_token_secret: None,
        removed_up_to: 0,
    });
    state.nodes = command.nodes.iter().map(|node| (node.id, node.clone())).collect();
    state.users.insert(ROOT.to_owned(), root);
    state.modules.insert(command.module_id, module);
    state.namespaces.insert(command.namespace_id, namespace);
    state.instances.insert(command.instance_id, instance);
    state.keyspaces.insert(
        command.instance_id,
        new_keyspace(&command.kv_root_password_hash, &command.kv_sdk_password_hash),
    );
    let params = vec![
        Param::new("cluster_id", command.cluster_id),
        Param::new("nodes", command.nodes.len()),
    ];
    audit::record(
        state,
        context,
        "bootstrap",
        Some(command.cluster_id),
        params.clone(),
        Vec::new(),
    );
    events::record(state, context, EventCode::ClusterBootstrapped, None, params);
    context.wake.membership = true;
    context.wake.monitors = true;
    Ok(ReplyKind::Object(ObjectReply {
        id: command.cluster_id,
        generation: 1,
    }))
}

fn check(command: &Bootstrap) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    for (position, point) in command.feature_points.iter().enumerate() {
        if !FEATURE_POINTS.contains(&point.as_str()) {
            problems.add(
                format!("/feature_points/{position}"),
                "unsupported",
                "unknown feature point",
            );
        }
    }
    if command.root_password_hash.is_empty() {
        problems.add("/root_password_hash", "required", "must not be empty");
    }
    if command.kv_root_password_hash.is_empty() || command.kv_sdk_password_hash.is_empty() {
        problems.add("/kv_root_password_hash", "required", "both KV users need a password");
    }
    if command.root_password_hash.len() > MAX_HASH_BYTES
        || command.kv_root_password_hash.len() > MAX_HASH_BYTES
        || command.kv_sdk_password_hash.len() > MAX_HASH_BYTES
    {
        problems.add(
            "/root_password_hash",
            "too-long",
            format!("at most {MAX_HASH_BYTES} bytes"),
        );
    }
    let objects = [
        command.module_id,
        command.namespace_id,
        command.instance_id,
        command.root_user_id,
    ];
    if objects.iter().collect::<BTreeSet<_>>().len() < objects.len() {
        problems.add("/module_id", "duplicate", "every object needs an id of its own");
    }
    let nodes: BTreeSet<u64> = command.nodes.iter().map(|node| node.id).collect();
    if nodes.len() < command.nodes.len() {
        problems.add("/nodes", "duplicate", "every node needs an id of its own");
    }
    problems.into_result()?;
    command.nodes.iter().try_for_each(check_node)?;
    check_quota("nodes", MAX_NODES + 1, command.nodes.len())
}

/// The keyspace of a new instance: users `root` and `mas` with these bcrypt hashes, authentication on.
pub(super) fn new_keyspace(root_hash: &Bytes, sdk_hash: &Bytes) -> quorate_kv::Keyspace {
    let mut keyspace = quorate_kv::Keyspace::new();
    let user = |name: &str, hash: &Bytes| {
        KvOp::UserAdd(UserCredential {
            name: name.to_owned(),
            password_hash: hash.clone(),
            no_password: false,
        })
    };
    let grant = |name: &str| {
        KvOp::UserGrantRole(UserRole {
            user: name.to_owned(),
            role: name.to_owned(),
        })
    };
    // The end of the prefix's range is the prefix with its last byte raised by one.
    let mut range_end = RESERVED_PREFIX.as_bytes().to_vec();
    *range_end.last_mut().expect("the prefix is not empty") += 1;
    let read = Permission {
        perm_type: PermissionType::Read as i32,
        key: Bytes::from_static(RESERVED_PREFIX.as_bytes()),
        range_end: range_end.into(),
    };
    if keyspace.role(ROOT).is_none() {
        run(&mut keyspace, KvOp::RoleAdd(ROOT.to_owned()));
    }
    for op in [
        user(ROOT, root_hash),
        grant(ROOT),
        KvOp::RoleAdd(SDK_USER.to_owned()),
        KvOp::RoleGrantPermission(RolePermission {
            role: SDK_USER.to_owned(),
            permission: Some(read),
        }),
        user(SDK_USER, sdk_hash),
        grant(SDK_USER),
        KvOp::AuthEnable(Nothing {}),
    ] {
        run(&mut keyspace, op);
    }
    keyspace
}

fn run(keyspace: &mut quorate_kv::Keyspace, op: KvOp) {
    let applied = keyspace.apply(None, &op);
    assert!(
        !matches!(applied.result, Err(_) | Ok(KvResult::Refused(_))),
        "a new keyspace accepts its first users: {:?}",
        applied.result
    );
}
