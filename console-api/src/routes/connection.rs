//! Connection tests before a monitor is saved (C6). They run on the node that is asked.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_machine::{Action, Object, authorize};

use super::{find_instance, find_monitor};
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{AddressReportView, ConnectionTestBody, ConnectionTestView};
use crate::extract::{Body, Segments};
use crate::limits::{CONNECTION_TEST_DEADLINE, RETRY_AFTER_SECONDS};
use crate::problem::Problem;

/// Tries every address from this node and answers with the engine's own words.
#[utoipa::path(post, path = "/instances/{instance}/monitors/test-connection", tag = "monitors",
    request_body = ConnectionTestBody,
    responses((status = 200, body = ConnectionTestView), (status = "default", body = Problem)))]
pub(crate) async fn test_connection(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(body): Body<ConnectionTestBody>,
) -> Result<Json<ConnectionTestView>, Problem> {
    let read = context.read(false, |state| {
        find_instance(state, &instance)?;
        authorize(state, &caller.principal, Action::Edit, Object::Cluster)
            .map_err(|refusal| Problem::from(&refusal))?;
        body.monitor
            .as_deref()
            .map(|id| find_monitor(state, &caller, &instance, id).cloned())
            .transpose()
    });
    let stored = read.await??;
    let test = body.into_test(stored.as_ref())?;
    let Ok(_turn) = context.tests().try_acquire_owned() else {
        let detail = "other connection tests are running on this node; try again in a moment";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).retry_after(RETRY_AFTER_SECONDS));
    };
    let reports = tokio::time::timeout(CONNECTION_TEST_DEADLINE, context.settings().tester.test(test)).await;
    let reports = reports.map_err(|_| {
        let detail = "the addresses did not all answer in time; test fewer at once or shorten the access timeout";
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timed-out", detail)
    })?;
    let addresses: Vec<AddressReportView> = reports.into_iter().map(AddressReportView::from).collect();
    Ok(Json(ConnectionTestView {
        node: context.handle().node_id(),
        passed: addresses.iter().all(|report| report.passed),
        addresses,
    }))
}
