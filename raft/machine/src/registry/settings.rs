//! Global settings of kinds (C11) and quotas (A1).

use crate::apply::{Context, done};
use crate::audit;
use crate::command::*;
use crate::health;
use crate::kinds::kind_traits;
use crate::live::Quotas;
use crate::model::*;
use crate::reply::*;
use crate::state::State;
use crate::validate;

/// Largest quota that may be set, whatever it limits.
const MAX_QUOTA: u32 = 100_000;

pub(crate) fn set_kind_settings(
    state: &mut State,
    context: &mut Context<'_>,
    command: SetKindSettings,
) -> Result<ReplyKind, Refusal> {
    if state.instance(&command.instance).is_none() {
        return Err(Refusal::new(RefusalCode::UnknownInstance).with("instance", command.instance));
    }
    let Some(kind) = kind_traits(&command.kind) else {
        return Err(Refusal::new(RefusalCode::FeatureDisabled).with("feature_point", &command.kind));
    };
    validate::kind_settings(&command.settings, kind)?;
    let before = state.kind_settings(&command.instance, &command.kind);
    let fields = |settings: &KindSettings| {
        vec![
            ("retry_interval_ms".to_owned(), settings.retry_interval_ms.to_string()),
            ("monitor_timeout_ms".to_owned(), settings.monitor_timeout_ms.to_string()),
            ("access_timeout_ms".to_owned(), settings.access_timeout_ms.to_string()),
            ("health_precision".to_owned(), settings.health_precision.to_string()),
        ]
    };
    let changes = audit::differences(&fields(&before), &fields(&command.settings));
    let params = vec![Param::new("kind", &command.kind)];
    audit::record(
        state,
        context,
        "set-kind-settings",
        Some(command.instance),
        params,
        changes,
    );
    state
        .kind_settings
        .insert((command.instance, command.kind), command.settings);
    context.wake.monitors = true;
    health::evaluate_all(state, context);
    done()
}

pub(crate) fn set_quotas(
    state: &mut State,
    context: &mut Context<'_>,
    command: SetQuotas,
) -> Result<ReplyKind, Refusal> {
    let before = state.quotas;
    let keep = |new: u32, present: u32| if new == 0 { present } else { new };
    let after = Quotas {
        namespaces: keep(command.namespaces, before.namespaces),
        instances: keep(command.instances, before.instances),
        applications_per_instance: keep(command.applications_per_instance, before.applications_per_instance),
        processes_per_application: keep(command.processes_per_application, before.processes_per_application),
        monitors_per_instance: keep(command.monitors_per_instance, before.monitors_per_instance),
    };
    let fields = |quotas: &Quotas| {
        [
            ("namespaces", quotas.namespaces),
            ("instances", quotas.instances),
            ("applications_per_instance", quotas.applications_per_instance),
            ("processes_per_application", quotas.processes_per_application),
            ("monitors_per_instance", quotas.monitors_per_instance),
        ]
    };
    let mut problems = validate::Problems::default();
    for (name, value) in fields(&after) {
        if value > MAX_QUOTA {
            problems.add(
                format!("/{name}"),
                "out-of-range",
                format!("{value}; at most {MAX_QUOTA}"),
            );
        }
    }
    problems.into_result()?;
    let text = |quotas: &Quotas| fields(quotas).map(|(name, value)| (name.to_owned(), value.to_string()));
    let changes = audit::differences(&text(&before), &text(&after));
    audit::record(state, context, "set-quotas", None, Vec::new(), changes);
    state.quotas = after;
    done()
}

/// Least quota of a keyspace, in accounted bytes: the SDK keys of a full instance fit.
pub const MIN_KEYSPACE_QUOTA_BYTES: u64 = 1 << 20;

/// The same in a cluster that stands in for etcd: there are no SDK keys, and some are started with a quota of a few pages.
pub const MIN_ETCD_QUOTA_BYTES: u64 = 1 << 12;

/// Most, in accounted bytes, as etcd's suggested maximum.
pub const MAX_KEYSPACE_QUOTA_BYTES: u64 = 8 << 30;

/// A smaller quota than what is stored already refuses what adds data from then on; nothing is lost.
pub(crate) fn set_keyspace_quota(
    state: &mut State,
    context: &mut Context<'_>,
    command: SetKeyspaceQuota,
) -> Result<ReplyKind, Refusal> {
    let unknown = || Refusal::new(RefusalCode::UnknownInstance).with("instance", command.instance);
    let present = state.keyspace(&command.instance).ok_or_else(unknown)?.quota_bytes();
    let least = match state.stands_in_for_etcd() {
        true => MIN_ETCD_QUOTA_BYTES,
        false => MIN_KEYSPACE_QUOTA_BYTES,
    };
    let range = least..=MAX_KEYSPACE_QUOTA_BYTES;
    if !range.contains(&command.quota_bytes) {
        let detail = format!(
            "{}; between {} and {} bytes",
            command.quota_bytes,
            range.start(),
            range.end()
        );
        return Err(Refusal::invalid_field("/quota_bytes", "out-of-range", &detail));
    }
    let text = |bytes: u64| [("quota_bytes".to_owned(), bytes.to_string())];
    let changes = audit::differences(&text(present), &text(command.quota_bytes));
    if changes.is_empty() {
        return done();
    }
    let object = Some(command.instance);
    audit::record(state, context, "set-keyspace-quota", object, Vec::new(), changes);
    if let Some(keyspace) = state.keyspaces.get_mut(&command.instance) {
        keyspace.set_quota_bytes(command.quota_bytes);
    }
    done()
}
