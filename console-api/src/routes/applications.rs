//! Applications: create, list, read, edit, delete (B1).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use quorate_machine::{Command, CreateApplication, DeleteObject, UpdateApplication};

use super::{changed, created, find_application, find_instance, may_see, new_id, object_of, with_etag};
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{ApplicationBody, ApplicationView, Changed, Page, ReadQuery};
use crate::extract::{Body, IfMatch, Query, Segments};
use crate::pages::ListQuery;
use crate::problem::Problem;

/// Lists the applications that the caller may see.
#[utoipa::path(get, path = "/instances/{instance}/applications", tag = "applications", params(ListQuery),
    responses((status = 200, body = Page<ApplicationView>), (status = "default", body = Problem)))]
pub(crate) async fn list_applications(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<ApplicationView>>, Problem> {
    let window = query.window("applications")?;
    let read = context.read(query.serializable, |state| {
        let instance = find_instance(state, &instance)?.meta.id;
        let visible = state
            .applications(&instance)
            .filter(|a| may_see(state, &caller, a.as_object()));
        let view = |application| ApplicationView::new(state, application);
        Ok(window.page(visible, |a| a.meta.id.to_string(), view))
    });
    read.await?.map(Json)
}

/// Creates an application.
#[utoipa::path(post, path = "/instances/{instance}/applications", tag = "applications", request_body = ApplicationBody,
    responses((status = 201, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn create_application(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(body): Body<ApplicationBody>,
) -> Result<Response, Problem> {
    let found = |state: &_| find_instance(state, &instance).map(|found| found.meta.id);
    let id = context.read(false, found).await??;
    let command = Command::CreateApplication(CreateApplication {
        id: new_id(),
        instance: id,
        spec: body.into(),
    });
    let object = object_of(context.propose(&caller, command).await?);
    Ok(created(object, &format!("/api/v1/instances/{id}/applications")))
}

/// Reads an application; its ETag is its generation.
#[utoipa::path(get, path = "/instances/{instance}/applications/{application}", tag = "applications", params(ReadQuery),
    responses((status = 200, body = ApplicationView), (status = "default", body = Problem)))]
pub(crate) async fn read_application(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, application)): Segments<(String, String)>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, Problem> {
    let read = context.read(query.serializable, |state| {
        let found = find_application(state, &caller, &instance, &application)?;
        Ok(ApplicationView::new(state, found))
    });
    read.await?
        .map(|view: ApplicationView| with_etag(view.meta.generation, view))
}

/// Edits an application; `If-Match` names the generation that was read.
#[utoipa::path(put, path = "/instances/{instance}/applications/{application}", tag = "applications",
    params(("If-Match" = String, Header)), request_body = ApplicationBody,
    responses((status = 200, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn update_application(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, application)): Segments<(String, String)>,
    IfMatch(generation): IfMatch,
    Body(body): Body<ApplicationBody>,
) -> Result<Response, Problem> {
    let found = |state: &_| find_application(state, &caller, &instance, &application).map(|found| found.meta.id);
    let id = context.read(false, found).await??;
    let spec = body.into();
    let command = Command::UpdateApplication(UpdateApplication { id, generation, spec });
    Ok(changed(object_of(context.propose(&caller, command).await?)))
}

/// Deletes an application; refused while it has monitors.
#[utoipa::path(delete, path = "/instances/{instance}/applications/{application}", tag = "applications",
    params(("If-Match" = String, Header)),
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn delete_application(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, application)): Segments<(String, String)>,
    IfMatch(generation): IfMatch,
) -> Result<StatusCode, Problem> {
    let found = |state: &_| find_application(state, &caller, &instance, &application).map(|found| found.meta.id);
    let id = context.read(false, found).await??;
    context
        .propose(&caller, Command::DeleteApplication(DeleteObject { id, generation }))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
