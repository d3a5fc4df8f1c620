//! Switches, acknowledgement and read/write state (B2, C5, C9).

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_machine::catalog::edge;
use quorate_machine::{
    AcknowledgeMonitor, Command, DataCenter, Id, ReadWrite, ReplyKind, SetReadWrite, preview_switch,
};

use super::monitors::monitor_id;
use super::{find_application, find_monitor};
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{
    AcknowledgeBody, ApplicationSwitchBody, MonitorSwitchBody, MonitorsSwitchBody, ReadWriteBody, SwitchOptions,
    SwitchView,
};
use crate::extract::{Body, Segments};
use crate::language::text;
use crate::problem::Problem;

/// Switches one monitor by hand; `dry_run` only tells what would change.
#[utoipa::path(post, path = "/instances/{instance}/monitors/{monitor}/switch", tag = "switch",
    request_body = MonitorSwitchBody,
    responses((status = 200, body = SwitchView), (status = "default", body = Problem)))]
pub(crate) async fn switch_monitor(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    Body(body): Body<MonitorSwitchBody>,
) -> Result<Json<SwitchView>, Problem> {
    let id = monitor_id(&context, &caller, &instance, &monitor).await?;
    switch(&context, &caller, body.options(), vec![id]).await
}

/// Switches several monitors: all of them at one revision, or none.
#[utoipa::path(post, path = "/instances/{instance}/monitors/switch", tag = "switch",
    request_body = MonitorsSwitchBody,
    responses((status = 200, body = SwitchView), (status = "default", body = Problem)))]
pub(crate) async fn switch_monitors(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(body): Body<MonitorsSwitchBody>,
) -> Result<Json<SwitchView>, Problem> {
    let ids = body.ids()?;
    let all_visible = context.read(false, |state| {
        body.monitors
            .iter()
            .try_for_each(|id| find_monitor(state, &caller, &instance, id).map(|_| ()))
    });
    all_visible.await??;
    switch(&context, &caller, body.options(), ids).await
}

/// Switches all monitors of an application that are not active there yet: all of them at one revision, or none.
#[utoipa::path(post, path = "/instances/{instance}/applications/{application}/switch", tag = "switch",
    request_body = ApplicationSwitchBody,
    responses((status = 200, body = SwitchView), (status = "default", body = Problem)))]
pub(crate) async fn switch_application(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, application)): Segments<(String, String)>,
    Body(body): Body<ApplicationSwitchBody>,
) -> Result<Json<SwitchView>, Problem> {
    let options = body.options();
    let to = DataCenter::from(options.to);
    let read = context.read(false, |state| {
        let id = find_application(state, &caller, &instance, &application)?.meta.id;
        // What has no active side (API monitors) is left out (B2).
        let switching = state.monitors_of_application(&id);
        let all: Vec<_> = switching.filter(|monitor| monitor.spec.has_active_side()).collect();
        let elsewhere: Vec<Id> = all
            .iter()
            .filter(|monitor| monitor.active_dc() != to)
            .map(|m| m.id())
            .collect();
        // With nothing left to do the machine itself says why: its refusal names the monitors.
        let ids: Vec<Id> = if elsewhere.is_empty() {
            all.iter().map(|monitor| monitor.id()).collect()
        } else {
            elsewhere
        };
        Ok::<_, Problem>(ids)
    });
    let ids = read.await??;
    if ids.is_empty() {
        let detail = text(edge::NO_MONITORS, &[]);
        return Err(Problem::new(StatusCode::CONFLICT, "no-monitors", detail));
    }
    switch(&context, &caller, options, ids).await
}

async fn switch(
    context: &ApiContext,
    caller: &Caller,
    options: SwitchOptions,
    monitors: Vec<Id>,
) -> Result<Json<SwitchView>, Problem> {
    let (to, dry_run) = (options.to, options.dry_run);
    let command = options.command(monitors);
    if dry_run {
        let preview = context
            .read(false, |state| preview_switch(state, &command, &caller.principal))
            .await?;
        return Ok(Json(SwitchView::preview(to, &preview)));
    }
    match context.propose(caller, Command::Switch(command)).await? {
        ReplyKind::Switched(reply) => Ok(Json(SwitchView::carried_out(to, &reply))),
        other => unreachable!("a switch is answered with what was switched, not {other:?}"),
    }
}

/// Acknowledges the last automatic switch of a monitor: the repeat block is lifted.
#[utoipa::path(post, path = "/instances/{instance}/monitors/{monitor}/acknowledge", tag = "switch",
    request_body = AcknowledgeBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn acknowledge_monitor(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    Body(body): Body<AcknowledgeBody>,
) -> Result<StatusCode, Problem> {
    let monitor = monitor_id(&context, &caller, &instance, &monitor).await?;
    let comment = body.comment;
    context
        .propose(
            &caller,
            Command::AcknowledgeMonitor(AcknowledgeMonitor { monitor, comment }),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the read/write state of one data center as published to SDKs (C9).
#[utoipa::path(put, path = "/instances/{instance}/monitors/{monitor}/read-write", tag = "switch",
    request_body = ReadWriteBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_read_write(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    Body(body): Body<ReadWriteBody>,
) -> Result<StatusCode, Problem> {
    let command = SetReadWrite {
        monitor: monitor_id(&context, &caller, &instance, &monitor).await?,
        data_center: DataCenter::from(body.data_center) as i32,
        state: ReadWrite {
            readable: body.readable,
            writable: body.writable,
        },
    };
    context.propose(&caller, Command::SetReadWrite(command)).await?;
    Ok(StatusCode::NO_CONTENT)
}
