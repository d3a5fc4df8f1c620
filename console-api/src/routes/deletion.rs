//! Batch deletion of monitors (C7).

use axum::Json;
use axum::extract::State;
use quorate_machine::{Command, DeleteMonitors, ReplyKind};

use super::find_instance;
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{MonitorsDeletedView, MonitorsDeletionBody};
use crate::extract::{Body, Segments};
use crate::problem::Problem;

/// Deletes several monitors, each guarded by the generation that was read. Those that may go do so in one revision; what
/// is refused is refused for itself, with its reason.
#[utoipa::path(post, path = "/instances/{instance}/monitors/delete", tag = "monitors",
    request_body = MonitorsDeletionBody,
    responses((status = 200, body = MonitorsDeletedView), (status = "default", body = Problem)))]
pub(crate) async fn delete_monitors(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(body): Body<MonitorsDeletionBody>,
) -> Result<Json<MonitorsDeletedView>, Problem> {
    let monitors = body.objects()?;
    let found = |state: &_| find_instance(state, &instance).map(|found| found.meta.id);
    let instance = context.read(false, found).await??;
    let command = Command::DeleteMonitors(DeleteMonitors { instance, monitors });
    match context.propose(&caller, command).await? {
        ReplyKind::Deleted(reply) => Ok(Json(MonitorsDeletedView::from(&reply))),
        other => unreachable!("a batch deletion is answered with what was deleted, not {other:?}"),
    }
}
