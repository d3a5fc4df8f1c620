//! Switches, acknowledgement and read/write state (B2, C5, C9).

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_machine::{AcknowledgeMonitor, Command, DataCenter, Id, ReadWrite, ReplyKind, SetReadWrite, Switch};

use super::monitors::monitor_id;
use super::{find_application, find_monitor, preview};
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{
    AcknowledgeBody, ApplicationSwitchBody, DataCenterName, MonitorSwitchBody, MonitorsSwitchBody, ReadWriteBody,
    SwitchOptions, SwitchView,
};
use crate::extract::{Body, Segments};
use crate::problem::Problem;

/// Switches one monitor by hand; `dry_run` only tells what would change, what stands against it, how far the target is behind,
/// whether it has room for the source's connections, and how many SDK processes are connected.
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

/// Switches all monitors of an application that have an active side and are not active there yet (B2): one command, one
/// revision. One that stands against it refuses the whole, unless `partial` leaves it out. `dry_run` tells what would change,
/// and how many SDK processes are connected.
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
    let found = |state: &_| {
        let found = find_application(state, &caller, &instance, &application)?;
        Ok::<_, Problem>(found.meta.id)
    };
    let application = context.read(false, found).await??;
    let (to, dry_run) = (options.to, options.dry_run);
    carry_out(&context, &caller, to, dry_run, options.command_for(application)).await
}

async fn switch(
    context: &ApiContext,
    caller: &Caller,
    options: SwitchOptions,
    monitors: Vec<Id>,
) -> Result<Json<SwitchView>, Problem> {
    let (to, dry_run) = (options.to, options.dry_run);
    carry_out(context, caller, to, dry_run, options.command(monitors)).await
}

async fn carry_out(
    context: &ApiContext,
    caller: &Caller,
    to: DataCenterName,
    dry_run: bool,
    command: Switch,
) -> Result<Json<SwitchView>, Problem> {
    if dry_run {
        return preview::dry_run(context, caller, to, &command).await.map(Json);
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
