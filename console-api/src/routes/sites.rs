//! Sites, links, announced departures and the datacenter-level automatic switch (A6, D4).

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_machine::{AnnounceDeparture, Command, SetSiteSettings, SetSiteSwitch};

use super::find_instance;
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{NodeMaintenanceBody, ReadQuery, SiteSettingsBody, SiteSwitchBody, SiteSwitchView, SitesView};
use crate::extract::{Body, Query, Segments};
use crate::limits::LINKS_DEADLINE;
use crate::peers::{LinksRequest, NodeAnswerKind, NodeRequestKind};
use crate::problem::Problem;

/// Sites with their state, and the links between nodes and to targets as every node measures them now.
#[utoipa::path(get, path = "/sites", tag = "cluster", params(ReadQuery),
    responses((status = 200, body = SitesView), (status = "default", body = Problem)))]
pub(crate) async fn read_sites(
    State(context): State<ApiContext>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<SitesView>, Problem> {
    let (mut measured, mut silent_nodes) = (Vec::new(), Vec::new());
    let request = NodeRequestKind::Links(LinksRequest {});
    for (node, answer) in context.ask_every_node(request, LINKS_DEADLINE).await {
        match answer {
            Ok(NodeAnswerKind::Links(answer)) => measured.push((node.id, answer.links)),
            Ok(_) | Err(_) => silent_nodes.push(node.id),
        }
    }
    let read = context.read(query.serializable, |state| {
        SitesView::new(state, &measured, silent_nodes)
    });
    Ok(Json(read.await?))
}

/// Sets how sites are watched: site timeout, warning, witnesses and public targets; for administrators.
#[utoipa::path(put, path = "/sites/settings", tag = "cluster", request_body = SiteSettingsBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_site_settings(
    State(context): State<ApiContext>,
    caller: Caller,
    Body(body): Body<SiteSettingsBody>,
) -> Result<StatusCode, Problem> {
    let settings = body.into();
    context
        .propose(&caller, Command::SetSiteSettings(SetSiteSettings { settings }))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A node goes away on purpose or is back; for administrators. While it is away, its silence is no lost site.
#[utoipa::path(put, path = "/cluster/nodes/{node}/maintenance", tag = "cluster", request_body = NodeMaintenanceBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_node_maintenance(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(node): Segments<String>,
    Body(body): Body<NodeMaintenanceBody>,
) -> Result<StatusCode, Problem> {
    let known = |state: &quorate_machine::State| {
        let id = node.parse::<u64>().ok()?;
        state.node(id).map(|node| node.id)
    };
    let id = context.read(false, known).await?;
    let command = AnnounceDeparture {
        node: id.ok_or_else(|| Problem::not_found("node", &node))?,
        incarnation: 0,
        departing: body.on,
        reason: body.reason,
    };
    context.propose(&caller, Command::AnnounceDeparture(command)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The datacenter-level automatic switch of the instance, with what should be known before it is turned on.
#[utoipa::path(get, path = "/instances/{instance}/site-switch", tag = "switch", params(ReadQuery),
    responses((status = 200, body = SiteSwitchView), (status = "default", body = Problem)))]
pub(crate) async fn read_site_switch(
    State(context): State<ApiContext>,
    Segments(instance): Segments<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<SiteSwitchView>, Problem> {
    let read = context.read(query.serializable, |state| {
        let id = find_instance(state, &instance)?.meta.id;
        Ok(SiteSwitchView::new(state, &id))
    });
    read.await?.map(Json)
}

/// Turns the datacenter-level automatic switch on or off; for administrators. On without a witness of the primary site it
/// warns. On while the primary site is lost it moves what the loss concerns at once.
#[utoipa::path(put, path = "/instances/{instance}/site-switch", tag = "switch", request_body = SiteSwitchBody,
    responses((status = 200, body = SiteSwitchView), (status = "default", body = Problem)))]
pub(crate) async fn set_site_switch(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(body): Body<SiteSwitchBody>,
) -> Result<Json<SiteSwitchView>, Problem> {
    let found = |state: &_| find_instance(state, &instance).map(|found| found.meta.id);
    let id = context.read(false, found).await??;
    let command = SetSiteSwitch {
        instance: id,
        on: body.on,
    };
    context.propose(&caller, Command::SetSiteSwitch(command)).await?;
    let read = context.read(false, |state| SiteSwitchView::new(state, &id));
    Ok(Json(read.await?))
}
