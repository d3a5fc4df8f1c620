//! Connection tests before a monitor is saved (C6), run by every node.

use axum::Json;
use axum::extract::State;
use quorate_machine::catalog::edge;
use quorate_machine::{Action, Object, authorize};
use quorate_raft::AskNodeError;

use super::{find_instance, find_monitor};
use crate::auth::Caller;
use crate::context::{ApiContext, ConnectionTest};
use crate::dto::{ConnectionTestBody, ConnectionTestView, NodeTestView};
use crate::extract::{Body, Segments};
use crate::language::text;
use crate::limits::{CONNECTION_TEST_DEADLINE, NODE_ANSWER_GRACE, TEST_TURN_WAIT};
use crate::peers::{NodeAnswerKind, NodeRequestKind, TestRequest};
use crate::problem::Problem;

/// Has every node try every address and answers with each one's stages and the engine's own words; a node that does not
/// answer is named. An address that one node alone cannot reach is seen here before it matters.
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
    Ok(Json(test_on_every_node(&context, &test).await))
}

/// Has every node make a test; a node without an answer is named.
pub(super) async fn test_on_every_node(context: &ApiContext, test: &ConnectionTest) -> ConnectionTestView {
    let request = NodeRequestKind::Test(Box::new(TestRequest::from(test)));
    let deadline = TEST_TURN_WAIT + CONNECTION_TEST_DEADLINE + NODE_ANSWER_GRACE;
    let asked = context.ask_every_node(request, deadline).await;
    let nodes = asked.into_iter().map(|(node, answer)| match answer {
        Ok(NodeAnswerKind::Tested(answer)) => NodeTestView::answered(&node, answer.reports),
        Ok(_) => NodeTestView::failed(&node, text(edge::NODE_FAILED, &[("reason", &"another answer")])),
        Err(AskNodeError::TimedOut) => {
            let seconds = deadline.as_secs();
            NodeTestView::failed(&node, text(edge::NODE_SILENT, &[("seconds", &seconds)]))
        }
        Err(error) => NodeTestView::failed(&node, text(edge::NODE_FAILED, &[("reason", &error)])),
    });
    ConnectionTestView::new(nodes.collect())
}
