//! What withholds automatic switches: the pause of all of them, and maintenance windows.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use quorate_machine::catalog::edge;
use quorate_machine::{Command, CreateWindow, DeleteObject, Id, MaintenanceWindow, Scope, ScopeKind, SetPause};

use super::{created_unread, find_instance, may_see, new_id, object_of};
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{Changed, Page, PauseBody, ReadQuery, SwitchingView, WindowBody, WindowView};
use crate::extract::{Body, Query, Segments};
use crate::language::text;
use crate::pages::ListQuery;
use crate::problem::Problem;

/// Whether automatic switches happen at all: pauses of the cluster and of instances.
#[utoipa::path(get, path = "/switching", tag = "switch", params(ReadQuery),
    responses((status = 200, body = SwitchingView), (status = "default", body = Problem)))]
pub(crate) async fn read_switching(
    State(context): State<ApiContext>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<SwitchingView>, Problem> {
    let read = context.read(query.serializable, |state| SwitchingView::new(state, None));
    Ok(Json(read.await?))
}

/// Pauses all automatic switching of the cluster, or lifts the pause; for administrators. What is due then happens at once.
#[utoipa::path(put, path = "/switching", tag = "switch", request_body = PauseBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_switching(
    State(context): State<ApiContext>,
    caller: Caller,
    Body(body): Body<PauseBody>,
) -> Result<StatusCode, Problem> {
    pause(&context, &caller, Scope::CLUSTER, body).await
}

/// Whether automatic switches of the instance happen: its own pause and that of the cluster.
#[utoipa::path(get, path = "/instances/{instance}/switching", tag = "switch", params(ReadQuery),
    responses((status = 200, body = SwitchingView), (status = "default", body = Problem)))]
pub(crate) async fn read_instance_switching(
    State(context): State<ApiContext>,
    Segments(instance): Segments<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<SwitchingView>, Problem> {
    let read = context.read(query.serializable, |state| {
        let id = find_instance(state, &instance)?.meta.id;
        Ok(SwitchingView::new(state, Some(id)))
    });
    read.await?.map(Json)
}

/// Pauses all automatic switching of the instance, or lifts the pause; for administrators.
#[utoipa::path(put, path = "/instances/{instance}/switching", tag = "switch", request_body = PauseBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_instance_switching(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(body): Body<PauseBody>,
) -> Result<StatusCode, Problem> {
    let found = |state: &_| find_instance(state, &instance).map(|found| found.meta.id);
    let id = context.read(false, found).await??;
    pause(&context, &caller, Scope::of(ScopeKind::Instance, id), body).await
}

async fn pause(context: &ApiContext, caller: &Caller, scope: Scope, body: PauseBody) -> Result<StatusCode, Problem> {
    let command = SetPause {
        scope,
        paused: body.paused,
        reason: body.reason,
    };
    context.propose(caller, Command::SetPause(command)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the maintenance windows that have not ended and that the caller may see.
#[utoipa::path(get, path = "/windows", tag = "switch", params(ListQuery),
    responses((status = 200, body = Page<WindowView>), (status = "default", body = Problem)))]
pub(crate) async fn list_windows(
    State(context): State<ApiContext>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<WindowView>>, Problem> {
    let page = query.window("windows")?;
    let read = context.read(query.serializable, |state| {
        let visible = state.windows().filter(|window| may_see_window(state, &caller, window));
        page.page(visible, |window| window.meta.id.to_string(), WindowView::from)
    });
    Ok(Json(read.await?))
}

/// A window over an object is for who may see the object; a wider one concerns everybody.
fn may_see_window(state: &quorate_machine::State, caller: &Caller, window: &MaintenanceWindow) -> bool {
    let object = &window.scope.object;
    match window.scope.kind() {
        ScopeKind::Cluster | ScopeKind::Instance => true,
        ScopeKind::Application => {
            let found = state.application(object);
            found.is_some_and(|found| may_see(state, caller, found.as_object()))
        }
        ScopeKind::Monitor => {
            let found = state.monitor(object);
            found.is_some_and(|found| may_see(state, caller, found.as_object()))
        }
    }
}

/// Plans a maintenance window: from its start to its end no automatic switch of what it covers happens.
#[utoipa::path(post, path = "/windows", tag = "switch", request_body = WindowBody,
    responses((status = 201, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn create_window(
    State(context): State<ApiContext>,
    caller: Caller,
    Body(body): Body<WindowBody>,
) -> Result<Response, Problem> {
    let start_wall_ms = match &body.start {
        Some(start) => time("/start", start)?,
        None => context.now_ms(),
    };
    let command = CreateWindow {
        id: new_id(),
        scope: scope(&context, &caller, &body).await?,
        start_wall_ms,
        end_wall_ms: time("/end", &body.end)?,
        reason: body.reason,
    };
    let object = object_of(context.propose(&caller, Command::CreateWindow(command)).await?);
    Ok(created_unread(object))
}

fn time(pointer: &str, value: &str) -> Result<i64, Problem> {
    let bad = |_| Problem::field(pointer, "bad-parameter", text(edge::BAD_TIME, &[]));
    let parsed = value.parse::<jiff::Timestamp>().map_err(bad)?;
    Ok(parsed.as_millisecond())
}

async fn scope(context: &ApiContext, caller: &Caller, body: &WindowBody) -> Result<Scope, Problem> {
    let named = [&body.instance, &body.application, &body.monitor];
    if named.into_iter().flatten().count() > 1 {
        let detail = text(edge::ONE_SCOPE, &[]);
        return Err(Problem::field("/monitor", "unsupported", detail));
    }
    let read = context.read(false, |state| {
        if let Some(instance) = &body.instance {
            let id = find_instance(state, instance)?.meta.id;
            return Ok(Scope::of(ScopeKind::Instance, id));
        }
        if let Some(application) = &body.application {
            let found = Id::parse(application).and_then(|id| state.application(&id));
            let found = found.filter(|found| may_see(state, caller, found.as_object()));
            let found = found.ok_or_else(|| Problem::not_found("application", application))?;
            return Ok(Scope::of(ScopeKind::Application, found.meta.id));
        }
        if let Some(monitor) = &body.monitor {
            let found = Id::parse(monitor).and_then(|id| state.monitor(&id));
            let found = found.filter(|found| may_see(state, caller, found.as_object()));
            let found = found.ok_or_else(|| Problem::not_found("monitor", monitor))?;
            return Ok(Scope::of(ScopeKind::Monitor, found.id()));
        }
        Ok(Scope::CLUSTER)
    });
    read.await?
}

/// Deletes a maintenance window, or ends it early: what it withheld happens if it is still due.
#[utoipa::path(delete, path = "/windows/{window}", tag = "switch",
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn delete_window(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(window): Segments<String>,
) -> Result<StatusCode, Problem> {
    let read = context.read(false, |state| {
        let found = Id::parse(&window).and_then(|id| state.window(&id));
        let found = found.filter(|found| may_see_window(state, &caller, found));
        found.map(|found| found.meta.id)
    });
    let id = read.await?.ok_or_else(|| Problem::not_found("window", &window))?;
    let command = Command::DeleteWindow(DeleteObject { id, generation: 0 });
    context.propose(&caller, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
