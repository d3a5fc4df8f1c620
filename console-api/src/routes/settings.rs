//! Quotas (A1) and global settings per kind (C11).

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_machine::{Command, SetKindSettings, SetQuotas};

use super::find_instance;
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{KindSettingsBody, KindSettingsView, Page, QuotasBody, QuotasView, ReadQuery};
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
    let settings = body.into();
    let command = Command::SetKindSettings(SetKindSettings {
        instance,
        kind,
        settings,
    });
    context.propose(&caller, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
