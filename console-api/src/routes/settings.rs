//! Quotas (A1), those of keyspaces too, and global settings per kind (C11).

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_machine::{Command, SetKeyspaceQuota, SetKindSettings, SetQuotas};

use super::find_instance;
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{
    KeyspaceQuotaBody, KeyspaceQuotaView, KindSettingsBody, KindSettingsView, Page, QuotasBody, QuotasView, ReadQuery,
};
use crate::extract::{Body, Query, Segments};
use crate::pages::ListQuery;
use crate::problem::Problem;

/// Quotas in force.
#[utoipa::path(get, path = "/quotas", tag = "settings", params(ReadQuery),
    responses((status = 200, body = QuotasView), (status = "default", body = Problem)))]
pub(crate) async fn read_quotas(
    State(context): State<ApiContext>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<QuotasView>, Problem> {
    Ok(Json(
        context
            .read(query.serializable, |state| QuotasView::from(state.quotas()))
            .await?,
    ))
}

/// Changes quotas; for administrators. What is left out stays.
#[utoipa::path(put, path = "/quotas", tag = "settings", request_body = QuotasBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_quotas(
    State(context): State<ApiContext>,
    caller: Caller,
    Body(body): Body<QuotasBody>,
) -> Result<StatusCode, Problem> {
    context
        .propose(&caller, Command::SetQuotas(SetQuotas::from(body)))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Space of the instance's keyspace: quota and use.
#[utoipa::path(get, path = "/instances/{instance}/quota", tag = "settings", params(ReadQuery),
    responses((status = 200, body = KeyspaceQuotaView), (status = "default", body = Problem)))]
pub(crate) async fn read_keyspace_quota(
    State(context): State<ApiContext>,
    Segments(instance): Segments<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<KeyspaceQuotaView>, Problem> {
    let read = context.read(query.serializable, |state| {
        let found = find_instance(state, &instance)?;
        KeyspaceQuotaView::new(state, &found.meta.id).ok_or_else(|| Problem::not_found("instance", &instance))
    });
    read.await?.map(Json)
}

/// Changes the quota of the instance's keyspace; for administrators. It raises and disarms no alarm.
#[utoipa::path(put, path = "/instances/{instance}/quota", tag = "settings", request_body = KeyspaceQuotaBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_keyspace_quota(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(body): Body<KeyspaceQuotaBody>,
) -> Result<StatusCode, Problem> {
    let instance = context
        .read(false, |state| {
            find_instance(state, &instance).map(|found| found.meta.id)
        })
        .await??;
    let command = Command::SetKeyspaceQuota(SetKeyspaceQuota {
        instance,
        quota_bytes: body.quota_bytes,
    });
    context.propose(&caller, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Global settings of every kind that the instance's namespace enables.
#[utoipa::path(get, path = "/instances/{instance}/kind-settings", tag = "settings", params(ListQuery),
    responses((status = 200, body = Page<KindSettingsView>), (status = "default", body = Problem)))]
pub(crate) async fn list_kind_settings(
    State(context): State<ApiContext>,
    Segments(instance): Segments<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<KindSettingsView>>, Problem> {
    let window = query.window("kind-settings")?;
    let read = context.read(query.serializable, |state| {
        let instance = find_instance(state, &instance)?;
        let namespace = state.namespace(&instance.namespace);
        let kinds = namespace
            .map(|namespace| namespace.feature_points.as_slice())
            .unwrap_or_default();
        let view = |kind: &String| KindSettingsView::new(kind, state.kind_settings(&instance.meta.id, kind));
        let mut kinds: Vec<&String> = kinds.iter().collect();
        kinds.sort_unstable();
        Ok(window.page(kinds.into_iter(), |kind| (*kind).clone(), view))
    });
    read.await?.map(Json)
}

/// Changes the global settings of a kind; monitors with timing of their own keep theirs.
#[utoipa::path(put, path = "/instances/{instance}/kind-settings/{kind}", tag = "settings",
    request_body = KindSettingsBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_kind_settings(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, kind)): Segments<(String, String)>,
    Body(body): Body<KindSettingsBody>,
) -> Result<StatusCode, Problem> {
    let instance = context
        .read(false, |state| {
            find_instance(state, &instance).map(|found| found.meta.id)
        })
        .await??;
    let settings = body.into_settings(&kind)?;
    let command = Command::SetKindSettings(SetKindSettings {
        instance,
        kind,
        settings,
    });
    context.propose(&caller, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
