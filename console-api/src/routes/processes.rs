//! Connected application processes (B3), from every node.

use axum::Json;
use axum::extract::State;
use quorate_machine::Id;

use super::find_application;
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{ProcessView, ProcessesView};
use crate::extract::{Query, Segments};
use crate::limits::PROCESSES_DEADLINE;
use crate::pages::ListQuery;
use crate::peers::{NodeAnswerKind, NodeRequestKind, ProcessesRequest};
use crate::problem::Problem;

/// Lists the SDK processes that are connected for an application: which, from where, since when. Every node is asked; the
/// ones that do not answer are named.
#[utoipa::path(get, path = "/instances/{instance}/applications/{application}/processes", tag = "applications",
    params(ListQuery),
    responses((status = 200, body = ProcessesView), (status = "default", body = Problem)))]
pub(crate) async fn list_processes(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, application)): Segments<(String, String)>,
    Query(query): Query<ListQuery>,
) -> Result<Json<ProcessesView>, Problem> {
    let window = query.window("processes")?;
    let read = context.read(query.serializable, |state| {
        let found = find_application(state, &caller, &instance, &application)?;
        Ok::<_, Problem>((found.instance, found.meta.id, state.quotas().processes_per_application))
    });
    let (instance, application, quota) = read.await??;
    let (mut found, silent_nodes) = connected_processes(&context, instance, application).await;
    // A string of digits that sorts like its number, so that the keys are in order.
    let key = |process: &ProcessView| format!("{:020} {} {}", process.node, process.source, process.user);
    found.sort_unstable_by_key(key);
    let connected = found.len();
    let page = window.page(found.into_iter(), key, |process| process);
    Ok(Json(ProcessesView {
        connected,
        quota,
        silent_nodes,
        items: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// Processes that are connected for an application, on every node that answers, and the nodes that do not.
pub(super) async fn connected_processes(
    context: &ApiContext,
    instance: Id,
    application: Id,
) -> (Vec<ProcessView>, Vec<u64>) {
    let request = NodeRequestKind::Processes(ProcessesRequest { instance, application });
    let mut found = Vec::new();
    let mut silent_nodes = Vec::new();
    for (node, answer) in context.ask_every_node(request, PROCESSES_DEADLINE).await {
        match answer {
            Ok(NodeAnswerKind::Processes(answer)) => {
                let views = answer
                    .processes
                    .into_iter()
                    .map(|process| ProcessView::new(node.id, process.into()));
                found.extend(views);
            }
            Ok(_) | Err(_) => silent_nodes.push(node.id),
        }
    }
    (found, silent_nodes)
}
