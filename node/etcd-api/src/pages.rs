//! The plain pages of a port, as etcd serves them: version, health, metrics. They are for strangers: load balancers, probes
//! and Prometheus have no password. They tell of no key, user or client.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tonic::body::Body;

use crate::context::{Context, EMULATED_CLUSTER_VERSION, EMULATED_VERSION};
use crate::gateway::push_string;
use crate::services::alarms;

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Parts of `/livez`.
const LIVE_CHECKS: [&str; 1] = ["serializable_read"];

/// Parts of `/readyz`.
const READY_CHECKS: [&str; 4] = [
    "data_corruption",
    "serializable_read",
    "linearizable_read",
    "non_learner",
];

/// What the query says.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn has(&self, name: &str) -> bool {
        self.pairs().any(|(known, _)| known == name)
    }

    fn excludes(&self, check: &str) -> bool {
        self.pairs().any(|pair| pair == ("exclude", check))
    }
}

/// Answers a request for a page.
pub(crate) async fn serve(context: &Context, method: &Method, path: &str, query: Option<&str>) -> Response<Body> {
    let query = Query(query.unwrap_or(""));
    let (root, check) = path[1..]
        .split_once('/')
        .map_or((&path[1..], None), |(root, check)| (root, Some(check)));
    let checks: &[&'static str] = match root {
        "livez" => &LIVE_CHECKS,
        "readyz" => &READY_CHECKS,
        _ => &[],
    };
    let known = match check {
        Some(check) => checks.contains(&check),
        None => !checks.is_empty() || matches!(root, "health" | "version" | "metrics"),
    };
    if !known {
        return text(StatusCode::NOT_FOUND, TEXT, "404 page not found\n");
    }
    if method != Method::GET && !(method == Method::HEAD && root == "metrics") {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n");
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match root {
        "health" => health(context, &query).await,
        "metrics" => text(StatusCode::OK, METRICS_TEXT, context.metrics.page(context)),
        "version" => {
            let version = format!(
                r#"{{"etcdserver":"{EMULATED_VERSION}","etcdcluster":"{EMULATED_CLUSTER_VERSION}","storage":"{EMULATED_CLUSTER_VERSION}"}}"#
            );
            text(StatusCode::OK, "application/json", version)
        }
        _ => {
            let wanted = checks.iter().copied().filter(|name| match check {
                Some(check) => *name == check,
                None => !query.excludes(name),
            });
            run_checks(context, wanted.collect(), query.has("verbose")).await
        }
    }
}

/// Adds what lets pages of other origins call the gateway, as etcd does: it knows no cookies, so there is nothing to steal.
pub(crate) fn allow_origins(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "accept, content-type, authorization",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// What asks whether it may send such a request.
pub(crate) fn preflight<B>(request: &Request<B>) -> Option<Response<Body>> {
    (request.method() == Method::OPTIONS).then(|| Response::new(Body::empty()))
}

async fn health(context: &Context, query: &Query<'_>) -> Response<Body> {
    let serializable = query.pairs().any(|pair| pair == ("serializable", "true"));
    let problem = health_problem(context, serializable, query).await;
    let counter = match problem {
        None => &context.metrics.health_success,
        Some(_) => &context.metrics.health_failures,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    match problem {
        None => text(StatusCode::OK, TEXT, r#"{"health":"true","reason":""}"#),
        Some(reason) => {
            let mut json = String::from(r#"{"health":"false","reason":"#);
            push_string(&reason, &mut json);
            json.push_str("}\n");
            text(StatusCode::SERVICE_UNAVAILABLE, TEXT, json)
        }
    }
}

async fn health_problem(context: &Context, serializable: bool, query: &Query<'_>) -> Option<String> {
    let alarms = alarms::active(context).unwrap_or_default();
    let counted = alarms.iter().find(|alarm| !query.excludes(alarms::name(alarm)));
    if let Some(alarm) = counted {
        return Some(format!("ALARM {}", alarms::name(alarm)));
    }
    if !serializable && context.status.borrow().leader.is_none() {
        return Some("RAFT NO LEADER".to_owned());
    }
    let read = read(context, !serializable).await;
    read.err().map(|reason| format!("RANGE ERROR:{reason}"))
}

async fn read(context: &Context, linearizable: bool) -> Result<(), String> {
    if linearizable {
        if !context.status.borrow().serving {
            return Err("etcdserver: no leader".to_owned());
        }
        context
            .read_index()
            .await
            .map_err(|status| status.message().to_owned())?;
    }
    if let Some(problem) = context.status.borrow().fatal.clone() {
        return Err(problem);
    }
    context.keyspace(|_| ()).map_err(|status| status.message().to_owned())
}

async fn run_checks(context: &Context, checks: Vec<&'static str>, verbose: bool) -> Response<Body> {
    let (mut report, mut failed) = (String::new(), false);
    for check in checks {
        let result = match check {
            "serializable_read" => read(context, false).await,
            "linearizable_read" => read(context, true).await,
            "non_learner" => {
                let status = context.status.borrow();
                match status.learners.contains(&status.node_id) {
                    true => Err("not supported for learner".to_owned()),
                    false => Ok(()),
                }
            }
            // A node whose state differs from the others' fences itself, so one that answers has none.
            _ => Ok(()),
        };
        match result {
            Ok(()) => report.push_str(&format!("[+]{check} ok\n")),
            Err(reason) => {
                failed = true;
                report.push_str(&format!("[-]{check} failed: {reason}\n"));
            }
        }
    }
    if failed {
        report.push('\n');
        return text(StatusCode::SERVICE_UNAVAILABLE, TEXT, report);
    }
    if !verbose {
        report.clear();
    }
    report.push_str("ok\n");
    text(StatusCode::OK, TEXT, report)
}

fn text(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(text.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
