//! `/livez`, `/readyz` and `/metrics` beside the console's routes, without a word of what is stored.
//!
//! Load balancers have no login, so whether the node lives and serves is told to anybody. The metrics count what goes on in the
//! whole cluster (monitors that ought to switch, sites lost, pauses) and are for those who may log in.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use quorate_raft::{ClusterStatus, Handle};

use super::metrics::Metrics;
use crate::reconcilers::DiskGuard;

/// What the checks look at.
#[derive(Clone)]
pub struct Health {
    pub handle: Handle,
    pub disk: Arc<DiskGuard>,
    pub metrics: Arc<Metrics>,
}

/// One check of `/readyz`: what is looked at, and what is wrong with it.
struct Check {
    name: &'static str,
    problem: Option<String>,
}

impl Health {
    /// The routes that are for anybody.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .with_state(self)
    }

    /// The metrics; to be mounted behind the login.
    pub fn metrics_router(self) -> Router {
        Router::new().route("/metrics", get(metrics)).with_state(self)
    }

    fn checks(&self, status: &ClusterStatus) -> Vec<Check> {
        let check = |name, wrong: bool, problem: &str| Check {
            name,
            problem: wrong.then(|| problem.to_string()),
        };
        let bootstrapped = self.handle.read(|state| state.cluster().is_some());
        let disk = self.disk.state();
        vec![
            Check {
                name: "consensus",
                problem: status.fatal.clone(),
            },
            Check {
                name: "fence",
                problem: status.fenced.clone(),
            },
            check("leader", status.leader.is_none(), "no leader is known"),
            check(
                "quorum",
                !status.serving,
                "out of contact with a quorum for more than 800 ms",
            ),
            check("state", !bootstrapped, "the cluster has not been bootstrapped yet"),
            check(
                "member",
                !status.voters.contains(&status.node_id),
                "this node is not a voter yet",
            ),
            Check {
                name: "disk",
                problem: disk
                    .short
                    .then(|| format!("only {} MiB are free", disk.free_bytes / 1024 / 1024)),
            },
        ]
    }
}

async fn live(State(health): State<Health>) -> impl IntoResponse {
    match health.handle.status().borrow().fatal.clone() {
        None => (StatusCode::OK, "ok\n".to_string()),
        Some(problem) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("consensus has stopped: {problem}\n"),
        ),
    }
}

async fn ready(State(health): State<Health>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let status = health.handle.status().borrow().clone();
    let checks = health.checks(&status);
    let ready = checks.iter().all(|check| check.problem.is_none());
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part == "verbose=true"));
    let mut text = String::new();
    for check in checks.iter().filter(|check| verbose || check.problem.is_some()) {
        // Writing to a string does not fail.
        let _ = match &check.problem {
            None => writeln!(text, "[+] {} ok", check.name),
            Some(problem) => writeln!(text, "[-] {}: {problem}", check.name),
        };
    }
    text.push_str(if ready { "ready\n" } else { "not ready\n" });
    (code, text)
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    match health.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => {
            tracing::error!("metrics cannot be encoded: {error}");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(header::CONTENT_TYPE, "text/plain")],
                "metrics failed\n".to_string(),
            )
        }
    }
}
