//! The history of a monitor's probes: transitions only, as the log has them.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::find_monitor;
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{Page, TransitionView};
use crate::extract::{Query, Segments};
use crate::pages::check_limit;
use crate::problem::Problem;

/// Filters of a monitor's history.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<u64>,
    /// Steps in the page, 1 to 500; 100 when left out.
    #[serde(default)]
    limit: Option<usize>,
    /// Answer from this node's state as it stands; it may be behind.
    #[serde(default)]
    serializable: bool,
}

/// History of the monitor's probes, newest first: each change of a node's vote and of a data center's state. The last 200
/// are kept.
#[utoipa::path(get, path = "/instances/{instance}/monitors/{monitor}/history", tag = "monitors", params(HistoryQuery),
    responses((status = 200, body = Page<TransitionView>), (status = "default", body = Problem)))]
pub(crate) async fn read_history(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments((instance, monitor)): Segments<(String, String)>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Page<TransitionView>>, Problem> {
    let limit = check_limit(query.limit)?;
    let read = context.read(query.serializable, |state| {
        let id = find_monitor(state, &caller, &instance, &monitor)?.id();
        let below = query.cursor.unwrap_or(u64::MAX);
        let steps = state.history(&id).rev().filter(|step| step.sequence < below);
        let mut items: Vec<TransitionView> = steps.take(limit + 1).map(TransitionView::from).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|last| last.sequence.to_string());
        Ok(Page { items, next_cursor })
    });
    read.await?.map(Json)
}
