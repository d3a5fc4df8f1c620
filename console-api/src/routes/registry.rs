//! Modules and namespaces, read only so far (A2, A3), and what is read of instances (A5).

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::{find_instance, with_etag};
use crate::context::ApiContext;
use crate::dto::{
    InstanceConnectionView, InstanceView, ModuleView, NamespaceView, Page, ReadQuery, instance_connection,
};
use crate::extract::{Query, Segments};
use crate::pages::ListQuery;
use crate::problem::Problem;

/// Lists the feature modules.
#[utoipa::path(get, path = "/modules", tag = "registry", params(ListQuery),
    responses((status = 200, body = Page<ModuleView>), (status = "default", body = Problem)))]
pub(crate) async fn list_modules(
    State(context): State<ApiContext>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<ModuleView>>, Problem> {
    let window = query.window("modules")?;
    let read = context.read(query.serializable, |state| {
        window.page(state.modules(), |module| module.meta.id.to_string(), ModuleView::from)
    });
    Ok(Json(read.await?))
}

/// Lists the namespaces.
#[utoipa::path(get, path = "/namespaces", tag = "registry", params(ListQuery),
    responses((status = 200, body = Page<NamespaceView>), (status = "default", body = Problem)))]
pub(crate) async fn list_namespaces(
    State(context): State<ApiContext>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<NamespaceView>>, Problem> {
    let window = query.window("namespaces")?;
    let read = context.read(query.serializable, |state| {
        window.page(
            state.namespaces(),
            |namespace| namespace.meta.id.to_string(),
            NamespaceView::from,
        )
    });
    Ok(Json(read.await?))
}

/// Lists the instances.
#[utoipa::path(get, path = "/instances", tag = "registry", params(ListQuery),
    responses((status = 200, body = Page<InstanceView>), (status = "default", body = Problem)))]
pub(crate) async fn list_instances(
    State(context): State<ApiContext>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<InstanceView>>, Problem> {
    let window = query.window("instances")?;
    let read = context.read(query.serializable, |state| {
        let view = |instance| InstanceView::new(state, instance);
        window.page(state.instances(), |instance| instance.meta.id.to_string(), view)
    });
    Ok(Json(read.await?))
}

/// Reads an instance; its ETag is its generation.
#[utoipa::path(get, path = "/instances/{instance}", tag = "registry", params(ReadQuery),
    responses((status = 200, body = InstanceView), (status = "default", body = Problem)))]
pub(crate) async fn read_instance(
    State(context): State<ApiContext>,
    Segments(instance): Segments<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, Problem> {
    let read = context.read(query.serializable, |state| {
        find_instance(state, &instance).map(|found| InstanceView::new(state, found))
    });
    read.await?.map(|view| with_etag(view.meta.generation, view))
}

/// How clients reach the KV endpoint of an instance.
#[utoipa::path(get, path = "/instances/{instance}/connection", tag = "registry", params(ReadQuery),
    responses((status = 200, body = InstanceConnectionView), (status = "default", body = Problem)))]
pub(crate) async fn read_instance_connection(
    State(context): State<ApiContext>,
    Segments(instance): Segments<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<InstanceConnectionView>, Problem> {
    let tls = &context.settings().tls_files;
    let read = context.read(query.serializable, |state| {
        find_instance(state, &instance).map(|found| instance_connection(state, found, tls))
    });
    read.await?.map(Json)
}
