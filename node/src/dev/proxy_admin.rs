//! Control endpoint of the fault proxy, plain HTTP on loopback.
//!
//! `PUT /links` sets the fault of one link: `{"from":1,"to":"node-2","fault":"cut"}`, `{"from":3,"to":"127.0.0.1:3306",
//! "fault":"delay","delay_ms":200}`; `heal` takes it away. `GET /links` lists the faults, `DELETE /links` takes all away.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use super::faults::LinkFault;
use super::proxy::FaultProxy;

/// Serves the control endpoint until the task is dropped.
pub async fn serve_admin(proxy: Arc<FaultProxy>, listener: TcpListener) {
    let router = Router::new()
        .route("/links", get(list).put(set).delete(clear))
        .with_state(proxy);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!("the fault proxy's control endpoint ended: {error}");
    }
}

async fn list(State(proxy): State<Arc<FaultProxy>>) -> Json<Vec<LinkFault>> {
    Json(proxy.faults())
}

async fn set(
    State(proxy): State<Arc<FaultProxy>>,
    Json(fault): Json<LinkFault>,
) -> Result<Json<Vec<LinkFault>>, (StatusCode, String)> {
    proxy
        .set_fault(fault)
        .map_err(|problem| (StatusCode::UNPROCESSABLE_ENTITY, problem))?;
    Ok(Json(proxy.faults()))
}

async fn clear(State(proxy): State<Arc<FaultProxy>>) -> Json<Vec<LinkFault>> {
    proxy.heal_all();
    Json(proxy.faults())
}
