//! The registry: modules, namespaces, instances, applications, monitors, settings, users, nodes.
//!
//! Every handler checks everything first and changes the state only then: a refusal leaves no trace but its record.

mod application;
mod bootstrap;
mod bootstrap_etcd;
mod deletion;
mod describe;
mod gate;
mod instance;
mod monitor;
mod nodes;
mod pool;
mod settings;
mod users;

pub(crate) use application::{create_application, delete_application, update_application};
pub(crate) use bootstrap::bootstrap;
pub(crate) use bootstrap_etcd::bootstrap_etcd;
pub(crate) use deletion::{delete_monitor, delete_monitors};
pub(crate) use instance::{
    create_instance, delete_instance, instance_port_reported, issue_client_certificate, update_instance,
};
pub(crate) use monitor::{create_monitor, update_monitor};
pub(crate) use nodes::{remove_node, upsert_node};
pub(crate) use pool::set_connection_pool;
pub use settings::{MAX_KEYSPACE_QUOTA_BYTES, MIN_ETCD_QUOTA_BYTES, MIN_KEYSPACE_QUOTA_BYTES};
pub(crate) use settings::{set_keyspace_quota, set_kind_settings, set_quotas};
pub(crate) use users::{create_api_token, create_user, revoke_api_token, set_user_password};

use crate::apply::Context;
use crate::command::{Principal, PrincipalKind};
use crate::model::*;
use crate::reply::*;

/// Name of the principal that owns what it creates.
fn owner(principal: &Principal) -> String {
    match &principal.kind {
        Some(PrincipalKind::User(user)) => user.name.clone(),
        _ => "root".to_owned(),
    }
}

pub(crate) fn new_meta(context: &Context<'_>, id: Id) -> Meta {
    let owner = owner(context.author);
    Meta {
        id,
        generation: 1,
        created_by: owner.clone(),
        owner,
        created_at_ms: context.wall_ms,
    }
}

pub(crate) fn object_reply(meta: &Meta) -> Result<ReplyKind, Refusal> {
    Ok(ReplyKind::Object(ObjectReply {
        id: meta.id,
        generation: meta.generation,
    }))
}

pub(crate) fn not_found(kind: &str, id: impl ToString) -> Refusal {
    Refusal::new(RefusalCode::NotFound).with(kind, id)
}

/// Refuses an edit of another generation than the present one; with `0` the editor waives the check.
pub(crate) fn check_generation(meta: &Meta, seen: u64) -> Result<(), Refusal> {
    if seen == 0 || seen == meta.generation {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::GenerationConflict)
        .with("generation", meta.generation)
        .with("seen", seen))
}

pub(crate) fn check_quota(limit: &str, maximum: u32, present: usize) -> Result<(), Refusal> {
    if present < maximum as usize {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::QuotaExceeded)
        .with("limit", limit)
        .with("maximum", maximum))
}
