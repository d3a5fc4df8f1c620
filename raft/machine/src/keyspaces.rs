//! Commands on keyspaces: operations of KV clients and the end of leases.
//!
//! `/mas-monitor/` is written by the machine alone: an operation that writes into it is refused whole.

use bytes::Bytes;
use quorate_kv::{
    AlarmKind, Applied, Keyspace, KvCaller, KvError, KvOp, KvReply, KvResult, SystemWrite, op_adds_data, op_writes_into,
};

use crate::apply::Context;
use crate::audit;
use crate::command::*;
use crate::etcd_ids::{etcd_cluster_id, etcd_member_id};
use crate::events::{self, EventCode};
use crate::model::Id;
use crate::reply::*;
use crate::sdk_keys::RESERVED_PREFIX;
use crate::state::State;

impl State {
    /// Whether the quota of an instance's keyspace was reached and its alarm `NOSPACE` has not been disarmed.
    pub fn keyspace_is_full(&self, instance: &Id) -> bool {
        let keyspace = self.keyspace(instance);
        keyspace.is_some_and(|keyspace| keyspace.has_alarm(AlarmKind::NoSpace))
    }
}

pub(crate) fn kv(state: &mut State, context: &mut Context<'_>, command: KvCommand) -> Result<ReplyKind, Refusal> {
    let all_keys_are_clients = state.stands_in_for_etcd();
    let short_of_disk = state.nodes_short_of_disk().next().is_some();
    let keyspace = keyspace_mut(state, &command.instance)?;
    let Some(op) = command.op else {
        return Err(Refusal::invalid_field("/op", "required", "name an operation"));
    };
    if !all_keys_are_clients && op_writes_into(&op, RESERVED_PREFIX.as_bytes()) {
        let refused = KvResult::Refused(KvError::PermissionDenied as i32);
        return Ok(ReplyKind::Kv(KvReply {
            revision: keyspace.revision(),
            result: Some(refused),
        }));
    }
    let caller = match &context.author.kind {
        Some(PrincipalKind::Kv(caller)) => Some(caller.caller()),
        _ => None,
    };
    let keyspace = keyspace_mut(state, &command.instance)?;
    let applied = if short_of_disk && op_adds_data(&op) {
        refused_for_space(keyspace, caller.as_ref(), &op)
    } else {
        keyspace.apply_keeping(caller.as_ref(), &op, RESERVED_PREFIX.as_bytes())
    };
    if applied.result == Err(KvError::NoSpace) && !short_of_disk {
        raise_no_space(state, context, command.instance);
    }
    if matches!(context.author.kind, Some(PrincipalKind::User(_))) {
        let refused = applied
            .result
            .as_ref()
            .err()
            .map(|error| Param::new("error", error.text()));
        let user = match &op {
            KvOp::UserChangePassword(user) => Some(Param::new("user", &user.name)),
            _ => None,
        };
        let params = std::iter::once(Param::new("operation", op_name(&op)))
            .chain(user)
            .chain(refused)
            .collect();
        audit::record(state, context, "kv", Some(command.instance), params, Vec::new());
    }
    Ok(ReplyKind::Kv(publish(context, command.instance, applied)))
}

/// A disk runs full: nothing is added. What is wrong with the request comes first, as always.
fn refused_for_space(keyspace: &Keyspace, caller: Option<&KvCaller>, op: &KvOp) -> Applied {
    let checked = quorate_kv::validate(op).and_then(|()| keyspace.check_op(caller, op));
    Applied {
        result: Err(checked.err().unwrap_or(KvError::NoSpace)),
        revision: keyspace.revision(),
        events: None,
    }
}

/// The quota, or a limit, refused an operation: from now on everything that adds data is refused, until an administrator
/// has made room and disarms the alarm. As in etcd it carries the name of the member that took the operation in.
fn raise_no_space(state: &mut State, context: &mut Context<'_>, instance: Id) {
    let (Some(cluster), Some(keyspace)) = (state.cluster_id(), state.keyspaces.get_mut(&instance)) else {
        return;
    };
    if keyspace.has_alarm(AlarmKind::NoSpace) {
        return;
    }
    let member = etcd_member_id(etcd_cluster_id(cluster, instance), context.node);
    keyspace.raise_alarm(AlarmKind::NoSpace, member);
    let params = vec![
        Param::new("instance", instance),
        Param::new("node", context.node),
        Param::new("quota_mib", keyspace.quota_bytes() >> 20),
    ];
    events::record(state, context, EventCode::KeyspaceFull, None, params);
}

/// What an administrator did to a keyspace from the console, for the audit record.
fn op_name(op: &KvOp) -> &'static str {
    match op {
        KvOp::Put(_) => "put",
        KvOp::DeleteRange(_) => "delete-range",
        KvOp::Txn(_) => "txn",
        KvOp::Compact(_) => "compact",
        KvOp::LeaseGrant(_) => "lease-grant",
        KvOp::LeaseRevoke(_) => "lease-revoke",
        KvOp::Alarm(_) => "alarm",
        KvOp::AuthEnable(_) => "auth-enable",
        KvOp::AuthDisable(_) => "auth-disable",
        KvOp::UserAdd(_) => "user-add",
        KvOp::UserDelete(_) => "user-delete",
        KvOp::UserChangePassword(_) => "user-change-password",
        KvOp::UserGrantRole(_) => "user-grant-role",
        KvOp::UserRevokeRole(_) => "user-revoke-role",
        KvOp::RoleAdd(_) => "role-add",
        KvOp::RoleDelete(_) => "role-delete",
        KvOp::RoleGrantPermission(_) => "role-grant-permission",
        KvOp::RoleRevokePermission(_) => "role-revoke-permission",
        KvOp::Import(_) => "import",
    }
}

pub(crate) fn expire_lease(
    state: &mut State,
    context: &mut Context<'_>,
    command: ExpireLease,
) -> Result<ReplyKind, Refusal> {
    if command.term != state.leadership.term {
        return Err(Refusal::new(RefusalCode::StaleTerm).with("term", state.leadership.term));
    }
    let applied = keyspace_mut(state, &command.instance)?.expire_lease(command.lease, command.grant);
    Ok(ReplyKind::Kv(publish(context, command.instance, applied)))
}

/// The machine's own writes on one keyspace: one revision, whose number is returned.
pub(crate) fn system_write(
    state: &mut State,
    context: &mut Context<'_>,
    instance: Id,
    writes: &[(String, Option<String>)],
) -> i64 {
    let keyspace = state
        .keyspaces
        .get_mut(&instance)
        .expect("every instance has a keyspace");
    let writes: Vec<SystemWrite> = writes
        .iter()
        .map(|(key, value)| {
            let key = Bytes::copy_from_slice(key.as_bytes());
            match value {
                Some(value) => SystemWrite::Put {
                    key,
                    value: Bytes::copy_from_slice(value.as_bytes()),
                },
                None => SystemWrite::Delete { key },
            }
        })
        .collect();
    if let Some(events) = keyspace.system_write(&writes) {
        context.revisions.push((instance, events));
    }
    keyspace.revision()
}

fn publish(context: &mut Context<'_>, instance: Id, mut applied: Applied) -> KvReply {
    let events = applied.events.take();
    context.revisions.extend(events.map(|events| (instance, events)));
    applied.into_reply()
}

fn keyspace_mut<'a>(state: &'a mut State, instance: &Id) -> Result<&'a mut Keyspace, Refusal> {
    let unknown = || Refusal::new(RefusalCode::UnknownInstance).with("instance", instance);
    state.keyspaces.get_mut(instance).ok_or_else(unknown)
}
