//! Standing of the cluster. It is answered from this node alone, so that it works when nothing else does.

use std::time::Duration;

use axum::Json;
use axum::extract::State;

use crate::context::ApiContext;
use crate::dto::{ClusterView, Standing, cluster_view};
use crate::problem::Problem;

/// A peer that answered within this time counts as reachable.
const REACHABLE_WITHIN: Duration = Duration::from_secs(2);

/// The cluster as this node sees it.
#[utoipa::path(get, path = "/cluster", tag = "cluster",
    responses((status = 200, body = ClusterView), (status = "default", body = Problem)))]
pub(crate) async fn read_cluster(State(context): State<ApiContext>) -> Json<ClusterView> {
    let handle = context.handle();
    let standing = Standing {
        status: handle.status().borrow().clone(),
        reachable: handle.reachable_peers(REACHABLE_WITHIN),
        cluster_time_ms: handle.cluster_time_ms(),
    };
    Json(handle.read(|state| cluster_view(state, &standing)))
}
