//! Modules, namespaces and instances, read only so far (A2, A3, A5).

use axum::Json;
use axum::extract::State;

use super::find_instance;
use crate::context::ApiContext;
use crate::dto::{
    InstanceConnectionView, InstanceView, List, ModuleView, NamespaceView, ReadQuery, instance_connection,
};
use crate::extract::{Query, Segments};
use crate::problem::Problem;

/// Lists the feature modules.
#[utoipa::path(get, path = "/modules", tag = "registry", params(ReadQuery),
    responses((status = 200, body = List<ModuleView>), (status = "default", body = Problem)))]
pub(crate) async fn list_modules(
    State(context): State<ApiContext>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<List<ModuleView>>, Problem> {
    let items = context.read(query.serializable, |state| {
        state.modules().map(ModuleView::from).collect()
    });
    Ok(Json(List::of(items.await?)))
}

/// Lists the namespaces.
#[utoipa::path(get, path = "/namespaces", tag = "registry", params(ReadQuery),
    responses((status = 200, body = List<NamespaceView>), (status = "default", body = Problem)))]
pub(crate) async fn list_namespaces(
    State(context): State<ApiContext>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<List<NamespaceView>>, Problem> {
    let items = context.read(query.serializable, |state| {
        state.namespaces().map(NamespaceView::from).collect()
    });
    Ok(Json(List::of(items.await?)))
}

/// Lists the instances.
#[utoipa::path(get, path = "/instances", tag = "registry", params(ReadQuery),
    responses((status = 200, body = List<InstanceView>), (status = "default", body = Problem)))]
pub(crate) async fn list_instances(
    State(context): State<ApiContext>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<List<InstanceView>>, Problem> {
    let items = context.read(query.serializable, |state| {
        state
            .instances()
            .map(|instance| InstanceView::new(state, instance))
            .collect()
    });
    Ok(Json(List::of(items.await?)))
}

/// Reads an instance.
#[utoipa::path(get, path = "/instances/{instance}", tag = "registry", params(ReadQuery),
    responses((status = 200, body = InstanceView), (status = "default", body = Problem)))]
pub(crate) async fn read_instance(
    State(context): State<ApiContext>,
    Segments(instance): Segments<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<InstanceView>, Problem> {
    let read = context.read(query.serializable, |state| {
        find_instance(state, &instance).map(|found| InstanceView::new(state, found))
    });
    read.await?.map(Json)
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
