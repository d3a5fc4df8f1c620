//! Commands on keyspaces: operations of KV clients and the end of leases.
//!
//! `/mas-monitor/` is written by the machine alone: an operation that writes into it is refused whole.

use std::sync::Arc;

use bytes::Bytes;
use quorate_kv::{Applied, Keyspace, KvError, KvOp, KvReply, KvResult, RevisionEvents, SystemWrite, op_writes_into};

use crate::apply::Context;
use crate::audit;
use crate::command::*;
use crate::model::Id;
use crate::reply::*;
use crate::sdk_keys::RESERVED_PREFIX;
use crate::state::State;

pub(crate) fn kv(state: &mut State, context: &mut Context<'_>, command: KvCommand) -> Result<ReplyKind, Refusal> {
    let keyspace = keyspace_mut(state, &command.instance)?;
    let Some(op) = command.op else {
        return Err(Refusal::invalid_field("/op", "required", "name an operation"));
    };
    if op_writes_into(&op, RESERVED_PREFIX.as_bytes()) {
        let refused = KvResult::Refused(KvError::PermissionDenied as i32);
        return Ok(ReplyKind::Kv(KvReply {
            revision: keyspace.revision(),
            result: Some(refused),
        }));
    }
    let caller = match &context.author.kind {
        Some(PrincipalKind::Kv(caller)) => Some(caller),
        _ => None,
    };
    let applied = keyspace.apply_keeping(caller, &op, RESERVED_PREFIX.as_bytes());
    if matches!(context.author.kind, Some(PrincipalKind::User(_))) {
        let refused = applied
            .result
            .as_ref()
            .err()
            .map(|error| Param::new("error", error.text()));
        let params = std::iter::once(Param::new("operation", op_name(&op)))
            .chain(refused)
            .collect();
        audit::record(state, context, "kv", Some(command.instance), params, Vec::new());
    }
    Ok(ReplyKind::Kv(publish(context, command.instance, applied)))
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
    let applied = keyspace_mut(state, &command.instance)?.expire_lease(command.lease);
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

fn publish(context: &mut Context<'_>, instance: Id, applied: Applied) -> KvReply {
    let events: Option<Arc<RevisionEvents>> = applied.events.clone();
    context.revisions.extend(events.map(|events| (instance, events)));
    applied.into_reply()
}

fn keyspace_mut<'a>(state: &'a mut State, instance: &Id) -> Result<&'a mut Keyspace, Refusal> {
    let unknown = || Refusal::new(RefusalCode::UnknownInstance).with("instance", instance);
    state.keyspaces.get_mut(instance).ok_or_else(unknown)
}
