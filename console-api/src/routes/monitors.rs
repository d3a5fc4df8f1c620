//! Monitors: create, list, read, edit, delete, connection pool, SDK configuration (C2, C7, C8, C10).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use quorate_machine::catalog::edge;
use quorate_machine::{
    Command, ConnectionPool, CreateMonitor, DeleteObject, Id, KINDS, SetConnectionPool, UpdateMonitor, kind_traits,
    sdk_configuration,
};
use rand::RngExt;
use serde::Deserialize;
use utoipa::IntoParams;

use super::gate::{self, dialled};
use super::{changed, created, find_application, find_instance, find_monitor, may_see, new_id, object_of, with_etag};
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{
    Changed, DataCenterName, MonitorBody, MonitorView, NewMonitorBody, Page, PoolBody, ReadQuery, SdkConfigurationView,
    sdk_view,
};
use crate::extract::{Body, IfMatch, Query, Segments};
use crate::language::text;
use crate::pages::Window;
use crate::problem::Problem;

/// Characters of generated names, and how many of them follow `{kind}-`.
const NAME_ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const NAME_CHARACTERS: usize = 10;

/// States that a side can have (C1).
const STATES: [&str; 5] = [
    "healthy",
    "abnormal",
    "init-failed",
    "unconfigured",
    "unreachable-control",
];

/// Filters and page of the monitor list. A monitor is listed if it passes all of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MonitorsQuery {
    /// `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Monitors in the page, 1 to 500; 100 when left out.
    #[serde(default)]
    limit: Option<usize>,
    /// Id of an application.
    #[serde(default)]
    application: Option<String>,
    /// Kind: `mysql`, `oracle`, `postgresql`, `redis`, `mongodb`, `elasticsearch` or `api`.
    #[serde(default)]
    kind: Option<String>,
    /// State that one of the two sides must have: `healthy`, `abnormal`, `init-failed`, `unconfigured` or
    /// `unreachable-control`.
    #[serde(default)]
    state: Option<String>,
    /// Part of the name, whatever the case.
    #[serde(default)]
    name: Option<String>,
    /// Active data center.
    #[serde(default)]
    active: Option<DataCenterName>,
    #[serde(default)]
    probing: Option<bool>,
    #[serde(default)]
    automatic_switch: Option<bool>,
    /// An automatic switch is due and withheld.
    #[serde(default)]
    withheld: Option<bool>,
    /// The last automatic switch waits for an acknowledgement.
    #[serde(default)]
    needs_acknowledgement: Option<bool>,
    /// Answer from this node's state as it stands; it may be behind.
    #[serde(default)]
    serializable: bool,
}

impl MonitorsQuery {
    /// Refuses a state or kind that there is not: an empty list would say that all is well.
    fn check(&self) -> Result<(), Problem> {
        if self.kind.as_ref().is_some_and(|kind| kind_traits(kind).is_none()) {
            let kinds = KINDS.map(|kind| kind.name).join(", ");
            let detail = text(edge::ONE_OF, &[("values", &kinds)]);
            return Err(Problem::field("?kind", "unknown-value", detail));
        }
        match &self.state {
            Some(state) if !STATES.contains(&state.as_str()) => {
                let detail = text(edge::ONE_OF, &[("values", &STATES.join(", "))]);
                Err(Problem::field("?state", "unknown-value", detail))
            }
            _ => Ok(()),
        }
    }

    fn admits(&self, view: &MonitorView) -> bool {
        let wants = |filter: &Option<String>, value: &str| filter.as_deref().is_none_or(|wanted| wanted == value);
        let is = |filter: Option<bool>, value: bool| filter.is_none_or(|wanted| wanted == value);
        let state = self.state.as_deref();
        let part = self.name.as_ref().map(|part| part.to_lowercase());
        wants(&self.application, &view.application)
            && wants(&self.kind, &view.kind)
            && state.is_none_or(|state| view.dc1.state == state || view.dc2.state == state)
            && part.is_none_or(|part| view.name.to_lowercase().contains(&part))
            && self.active.is_none_or(|active| view.active == Some(active))
            && is(self.probing, view.probing)
            && is(self.automatic_switch, view.automatic_switch)
            && is(self.withheld, view.withheld.is_some())
            && is(self.needs_acknowledgement, view.needs_acknowledgement)
    }
}

/// Lists the monitors that the caller may see, with their live state, oldest first.
#[utoipa::path(get, path = "/instances/{instance}/monitors", tag = "monitors", params(MonitorsQuery),
    responses((status = 200, body = Page<MonitorView>), (status = "default", body = Problem)))]
pub(crate) async fn list_monitors(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Query(query): Query<MonitorsQuery>,
) -> Result<Json<Page<MonitorView>>, Problem> {
    query.check()?;
    let now_wall_ms = context.now_ms();
    let window = Window::parse("monitors", query.cursor.as_deref(), query.limit)?;
    let read = context.read(query.serializable, |state| {
        let instance = find_instance(state, &instance)?.meta.id;
        let visible = state
            .monitors(&instance)
            .filter(|monitor| may_see(state, &caller, monitor.as_object()));
        let views = visible.map(|monitor| MonitorView::new(state, monitor, now_wall_ms));
        let admitted = views.filter(|view| query.admits(view));
        Ok(window.page(admitted, |view| view.meta.id.clone(), |view| view))
    });
    read.await?.map(Json)
}

/// Creates a monitor, with its connection pool if one is given, after every node has reached every address (C6): otherwise
/// 409 `connection-test-failed` with each failed attempt. `connection_test.override` with a reason leaves the test out.
#[utoipa::path(post, path = "/instances/{instance}/monitors", tag = "monitors", request_body = NewMonitorBody,
    responses((status = 201, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn create_monitor(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(mut body): Body<NewMonitorBody>,
) -> Result<Response, Problem> {
    let application = context
        .read(false, |state| {
            let found = find_application(state, &caller, &instance, &body.application);
            let missing = |_| Problem::field("/application", "not-found", text(edge::NO_SUCH_APPLICATION, &[]));
            found
                .map(|application| (application.meta.id, application.instance))
                .map_err(missing)
        })
        .await?;
    let (application, instance) = application?;
    let id = new_id();
    let sealer = &context.settings().sealer;
    let parsed = body.sections().parse()?;
    let typed = parsed.typed();
    let kind = parsed.sealed(|field, secret| sealer.seal(id, field, 1, secret))?;
    let name = if body.name.is_empty() {
        generated_name(kind.traits().name)
    } else {
        std::mem::take(&mut body.name)
    };
    let pool = body.connection_pool.take().map(ConnectionPool::from);
    let choice = std::mem::take(&mut body.connection_test);
    let spec = body.into_spec(name, kind);
    let mut command = CreateMonitor {
        id,
        application,
        spec,
        pool,
        connection_test: Some(choice.gate()),
    };
    let in_body = |problem: Problem| problem.under("/connection_pool", is_pool_field);
    let save = Command::CreateMonitor(Box::new(command.clone()));
    let passed = gate::pass(&context, &caller, save, &command.spec, typed, None).await;
    command.connection_test = Some(passed.map_err(in_body)?);
    let reply = context
        .propose(&caller, Command::CreateMonitor(Box::new(command)))
        .await;
    let object = object_of(reply.map_err(in_body)?);
    Ok(created(object, &format!("/api/v1/instances/{instance}/monitors")))
}

/// The machine points into the pool; in the body of a creation the pool is one field.
fn is_pool_field(pointer: &str) -> bool {
    ["/database", "/routing", "/dc1", "/dc2"]
        .iter()
        .any(|field| pointer.starts_with(field))
}

/// `{kind}-` and ten random characters (C2).
fn generated_name(kind: &str) -> String {
    let mut random = rand::rng();
    let mut name = format!("{kind}-");
    for _ in 0..NAME_CHARACTERS {
        name.push(char::from(NAME_ALPHABET[random.random_range(0..NAME_ALPHABET.len())]));
    }
    name
}

/// Reads a monitor with its live state; its ETag is its generation.
#[utoipa::path(get, path = "/instances/{instance}/monitors/{monitor}", tag = "monitors", params(ReadQuery),
    responses((status = 200, body = MonitorView), (status = "default", body = Problem)))]
pub(crate) async fn read_monitor(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, Problem> {
    let now_wall_ms = context.now_ms();
    let read = context.read(query.serializable, |state| {
        let found = find_monitor(state, &caller, &instance, &monitor)?;
        Ok(MonitorView::new(state, found, now_wall_ms))
    });
    read.await?
        .map(|view: MonitorView| with_etag(view.meta.generation, view))
}

/// Edits a monitor: everything but kind, application and name; `If-Match` names the generation that was read. Where
/// addresses, accounts or encryption change, every node tries them first, as for a new monitor (C6). A secret that is left out is
/// kept; where it would go to another server, or there by another encryption, it has to be given again.
#[utoipa::path(put, path = "/instances/{instance}/monitors/{monitor}", tag = "monitors",
    params(("If-Match" = String, Header)), request_body = MonitorBody,
    responses((status = 200, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn update_monitor(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    IfMatch(generation): IfMatch,
    Body(mut body): Body<MonitorBody>,
) -> Result<Response, Problem> {
    let read = context.read(false, |state| {
        find_monitor(state, &caller, &instance, &monitor).cloned()
    });
    let present = read.await??;
    let id = present.id();
    let sealer = &context.settings().sealer;
    let parsed = body.sections().parse()?;
    let typed = parsed.typed();
    let kind = parsed.sealed(|field, secret| sealer.seal(id, field, generation.saturating_add(1), secret))?;
    let choice = std::mem::take(&mut body.connection_test);
    let spec = body.into_spec(&present, kind);
    let dialled = dialled(&present, &spec);
    let mut command = UpdateMonitor {
        id,
        generation,
        spec,
        connection_test: Some(choice.gate()),
    };
    let save = Command::UpdateMonitor(Box::new(command.clone()));
    let passed = gate::pass(&context, &caller, save, &dialled, typed, Some(&present)).await?;
    command.connection_test = Some(passed);
    let reply = context
        .propose(&caller, Command::UpdateMonitor(Box::new(command)))
        .await?;
    Ok(changed(object_of(reply)))
}

/// Deletes a monitor and its SDK keys.
#[utoipa::path(delete, path = "/instances/{instance}/monitors/{monitor}", tag = "monitors",
    params(("If-Match" = String, Header)),
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn delete_monitor(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    IfMatch(generation): IfMatch,
) -> Result<StatusCode, Problem> {
    let id = monitor_id(&context, &caller, &instance, &monitor).await?;
    context
        .propose(&caller, Command::DeleteMonitor(DeleteObject { id, generation }))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Saves the connection pool; all SDK keys of the monitor change at one revision.
#[utoipa::path(put, path = "/instances/{instance}/monitors/{monitor}/connection-pool", tag = "monitors",
    params(("If-Match" = String, Header)), request_body = PoolBody,
    responses((status = 200, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn set_connection_pool(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    IfMatch(generation): IfMatch,
    Body(body): Body<PoolBody>,
) -> Result<Response, Problem> {
    let command = SetConnectionPool {
        monitor: monitor_id(&context, &caller, &instance, &monitor).await?,
        generation,
        pool: body.into(),
    };
    let reply = context
        .propose(&caller, Command::SetConnectionPool(Box::new(command)))
        .await?;
    Ok(changed(object_of(reply)))
}

/// The SDK access configuration of a monitor, ready to copy (C8).
#[utoipa::path(get, path = "/instances/{instance}/monitors/{monitor}/sdk-configuration", tag = "monitors",
    params(ReadQuery),
    responses((status = 200, body = SdkConfigurationView), (status = "default", body = Problem)))]
pub(crate) async fn read_sdk_configuration(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<SdkConfigurationView>, Problem> {
    let read = context.read(query.serializable, |state| {
        let found = find_monitor(state, &caller, &instance, &monitor)?;
        if !found.spec.has_active_side() {
            let detail = text(edge::NO_SDK_CONFIGURATION, &[]);
            return Err(Problem::new(StatusCode::CONFLICT, "not-of-this-kind", detail));
        }
        let detail = text(edge::NO_CONNECTION_POOL, &[]);
        let missing = || Problem::new(StatusCode::CONFLICT, "no-connection-pool", detail);
        sdk_configuration(state, &found.id()).ok_or_else(missing)
    });
    let configuration = read.await??;
    Ok(Json(sdk_view(&configuration, &context.settings().tls_files)))
}

/// Id of a monitor that exists, is in the instance and may be seen.
pub(super) async fn monitor_id(
    context: &ApiContext,
    caller: &Caller,
    instance: &str,
    monitor: &str,
) -> Result<Id, Problem> {
    context
        .read(false, |state| {
            find_monitor(state, caller, instance, monitor).map(|found| found.id())
        })
        .await?
}
