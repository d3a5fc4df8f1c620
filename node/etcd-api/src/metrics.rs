//! What one port counts, and its page of metrics under the names that etcd's dashboards and alerts ask for.
//!
//! Numbers only: no key, user or client is named, because the page is for strangers as etcd's is (decision 41).

use std::collections::HashMap;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use quorate_kv::{Keyspace, RangeRequest};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::context::{Context, EMULATED_CLUSTER_VERSION, EMULATED_VERSION};
use crate::gateway::schema::methods;

/// gRPC codes.
const CODES: usize = 17;

/// Counters of one port.
pub(crate) struct Metrics {
    /// By path.
    calls: HashMap<String, Arc<Calls>>,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) health_success: AtomicU64,
    pub(crate) health_failures: AtomicU64,
    pub(crate) leader_changes: AtomicU64,
    proposals_pending: AtomicI64,
    proposals_failed: AtomicU64,
}

/// Counters of one method.
pub(crate) struct Calls {
    kind: &'static str,
    started: AtomicU64,
    handled: [AtomicU64; CODES],
}

impl Calls {
    pub(crate) fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, code: Code) {
        self.handled[code as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a proposal as pending while it lives.
pub(crate) struct Pending<'a>(&'a Metrics);

impl Pending<'_> {
    pub(crate) fn failed(&self) {
        self.0.proposals_failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.proposals_pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let calls = methods().into_iter().map(|(path, kind)| {
            let calls = Calls {
                kind,
                started: AtomicU64::new(0),
                handled: std::array::from_fn(|_| AtomicU64::new(0)),
            };
            (path, Arc::new(calls))
        });
        Metrics {
            calls: calls.collect(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            health_success: AtomicU64::new(0),
            health_failures: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
            proposals_pending: AtomicI64::new(0),
            proposals_failed: AtomicU64::new(0),
        }
    }
}

type Answer = Result<Response<Body>, std::convert::Infallible>;

impl Metrics {
    pub(crate) fn propose(&self) -> Pending<'_> {
        self.proposals_pending.fetch_add(1, Ordering::Relaxed);
        Pending(self)
    }

    /// Counters of a path, for who counts by itself.
    pub(crate) fn calls(&self, path: &[u8]) -> Option<Arc<Calls>> {
        std::str::from_utf8(path)
            .ok()
            .and_then(|path| self.calls.get(path))
            .cloned()
    }

    /// Counts a call of this path and what comes of it.
    pub(crate) fn count(&self, path: &str, answer: BoxFuture<'static, Answer>) -> Counted {
        let calls = self.calls.get(path).cloned();
        if let Some(calls) = &calls {
            calls.started();
        }
        Counted { answer, calls }
    }

    /// The page.
    pub(crate) fn page(&self, context: &Context) -> String {
        let mut page = Page(String::with_capacity(16 * 1024));
        self.server(context, &mut page);
        if let Ok(keyspace) = context.keyspace_view() {
            store(&keyspace, &mut page);
        }
        self.traffic(&mut page);
        process(&mut page);
        page.0
    }

    fn server(&self, context: &Context, page: &mut Page) {
        let status = context.status.borrow().clone();
        let flag = |value: bool| u64::from(value) as f64;
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        let leads = status.leader == Some(status.node_id);
        page.one(
            "gauge",
            "etcd_server_has_leader",
            "Whether a leader is known.",
            flag(status.leader.is_some()),
        );
        page.one(
            "gauge",
            "etcd_server_is_leader",
            "Whether this member leads.",
            flag(leads),
        );
        let learner = status.learners.contains(&status.node_id);
        page.one(
            "gauge",
            "etcd_server_is_learner",
            "Whether this member has no vote.",
            flag(learner),
        );
        let changes = load(&self.leader_changes);
        page.one(
            "counter",
            "etcd_server_leader_changes_seen_total",
            "Leader changes seen.",
            changes,
        );
        let (committed, applied) = (status.committed_index as f64, status.applied_index as f64);
        page.one(
            "gauge",
            "etcd_server_proposals_committed_total",
            "Entries committed.",
            committed,
        );
        page.one(
            "gauge",
            "etcd_server_proposals_applied_total",
            "Entries applied.",
            applied,
        );
        let pending = self.proposals_pending.load(Ordering::Relaxed) as f64;
        page.one(
            "gauge",
            "etcd_server_proposals_pending",
            "Proposals that wait for their outcome.",
            pending,
        );
        let failed = load(&self.proposals_failed);
        page.one(
            "counter",
            "etcd_server_proposals_failed_total",
            "Proposals without an outcome.",
            failed,
        );
        page.one(
            "counter",
            "etcd_server_health_success",
            "Health checks passed.",
            load(&self.health_success),
        );
        page.one(
            "counter",
            "etcd_server_health_failures",
            "Health checks failed.",
            load(&self.health_failures),
        );
        page.head("gauge", "etcd_server_version", "Version of etcd that is served.");
        page.line(
            "etcd_server_version",
            &format!("server_version=\"{EMULATED_VERSION}\""),
            1.0,
        );
        page.head("gauge", "etcd_cluster_version", "Cluster version that is served.");
        let short = EMULATED_CLUSTER_VERSION.rsplit_once('.').map_or("", |(short, _)| short);
        page.line("etcd_cluster_version", &format!("cluster_version=\"{short}\""), 1.0);
        page.head("gauge", "etcd_server_id", "Id of this member.");
        page.line("etcd_server_id", &format!("server_id=\"{:x}\"", context.member_id), 1.0);
        if let Some(expiry) = &context.certificate_expiry {
            let (help, seconds) = (
                "When the port's certificate ends, in seconds since 1970.",
                *expiry.borrow(),
            );
            page.one(
                "gauge",
                "quorate_kv_certificate_expiry_timestamp_seconds",
                help,
                seconds as f64,
            );
        }
    }

    fn traffic(&self, page: &mut Page) {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        let (received, sent) = (load(&self.received_bytes), load(&self.sent_bytes));
        let help = "Bytes that clients sent, framing included.";
        page.one(
            "counter",
            "etcd_network_client_grpc_received_bytes_total",
            help,
            received,
        );
        let help = "Bytes sent to clients, framing included.";
        page.one("counter", "etcd_network_client_grpc_sent_bytes_total", help, sent);
        let mut calls: Vec<_> = self.calls.iter().collect();
        calls.sort_by_key(|(path, _)| path.as_str());
        let labels = |path: &str, calls: &Calls| {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
            format!(
                "grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{}\"",
                calls.kind
            )
        };
        page.head("counter", "grpc_server_started_total", "Calls begun.");
        for (path, calls) in &calls {
            page.line("grpc_server_started_total", &labels(path, calls), load(&calls.started));
        }
        page.head("counter", "grpc_server_handled_total", "Calls ended, by code.");
        for (path, calls) in &calls {
            for (code, count) in calls.handled.iter().enumerate() {
                let count = load(count);
                if count > 0.0 {
                    let code = Code::from_i32(i32::try_from(code).unwrap_or_default());
                    // Go's names of the codes, which have one l.
                    let code = format!("{code:?}").replace("Cancelled", "Canceled").replace("Ok", "OK");
                    let labels = format!("grpc_code=\"{code}\",{}", labels(path, calls));
                    page.line("grpc_server_handled_total", &labels, count);
                }
            }
        }
    }
}

fn store(keyspace: &Keyspace, page: &mut Page) {
    let everything = RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        count_only: true,
        ..Default::default()
    };
    let keys = keyspace.range(&everything).map_or(0, |answer| answer.count);
    let size = keyspace.size_bytes() as f64;
    page.one("gauge", "etcd_mvcc_db_total_size_in_bytes", "Size of the store.", size);
    page.one(
        "gauge",
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Size of what is in use of it.",
        size,
    );
    page.one(
        "gauge",
        "etcd_server_quota_backend_bytes",
        "Largest size of the store.",
        keyspace.quota_bytes() as f64,
    );
    page.one("gauge", "etcd_debugging_mvcc_keys_total", "Keys.", keys as f64);
    page.one(
        "gauge",
        "etcd_debugging_mvcc_current_revision",
        "Present revision.",
        keyspace.revision() as f64,
    );
    let compacted = keyspace.compact_revision() as f64;
    page.one(
        "gauge",
        "etcd_debugging_mvcc_compact_revision",
        "Last compacted revision.",
        compacted,
    );
    page.one(
        "gauge",
        "etcd_debugging_auth_revision",
        "Revision of users and roles.",
        keyspace.auth_revision() as f64,
    );
    page.one(
        "gauge",
        "etcd_debugging_lease_granted",
        "Leases.",
        keyspace.leases().len() as f64,
    );
}

/// Memory, processor time and files of this process, from the kernel.
fn process(page: &mut Page) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = |index: usize| {
        statm
            .split_whitespace()
            .nth(index)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let size = rustix::param::page_size() as u64;
    if let (Some(virtual_pages), Some(resident_pages)) = (pages(0), pages(1)) {
        let resident = (resident_pages * size) as f64;
        page.one("gauge", "process_resident_memory_bytes", "Resident memory.", resident);
        page.one(
            "gauge",
            "process_virtual_memory_bytes",
            "Virtual memory.",
            (virtual_pages * size) as f64,
        );
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The process name, in parentheses, may hold blanks; the fields counted here come after it.
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace()
                .map(|text| text.parse().unwrap_or(0.0))
                .collect()
        })
        .unwrap_or_default();
    if let (Some(user), Some(system)) = (fields.get(11), fields.get(12)) {
        let seconds = (user + system) / rustix::param::clock_ticks_per_second() as f64;
        page.one("counter", "process_cpu_seconds_total", "Processor time used.", seconds);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        page.one("gauge", "process_open_fds", "Open files.", files.count() as f64);
    }
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        page.one("gauge", "process_max_fds", "Files that may be open.", limit as f64);
    }
}

/// Text in Prometheus' format.
struct Page(String);

impl Page {
    fn head(&mut self, kind: &str, name: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn one(&mut self, kind: &str, name: &str, help: &str, value: f64) {
        self.head(kind, name, help);
        self.line(name, "", value);
    }
}

/// The answer of a call that is counted.
pub(crate) struct Counted {
    answer: BoxFuture<'static, Answer>,
    calls: Option<Arc<Calls>>,
}

impl Future for Counted {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Answer> {
        let Poll::Ready(Ok(response)) = self.answer.as_mut().poll(context) else {
            return Poll::Pending;
        };
        let Some(calls) = self.calls.take() else {
            return Poll::Ready(Ok(response));
        };
        if let Some(status) = Status::from_header_map(response.headers()) {
            calls.ended(status.code());
            return Poll::Ready(Ok(response));
        }
        if calls.kind == "unary" {
            calls.ended(Code::Ok);
            return Poll::Ready(Ok(response));
        }
        Poll::Ready(Ok(response.map(|body| {
            Body::new(CountedStream {
                body,
                calls: Some(calls),
            })
        })))
    }
}

/// A call whose client went away before its answer.
impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(calls) = self.calls.take() {
            calls.ended(Code::Cancelled);
        }
    }
}

/// The body of a stream, whose code stands at its end.
struct CountedStream {
    body: Body,
    calls: Option<Arc<Calls>>,
}

impl CountedStream {
    fn ended(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(calls) = self.calls.take() {
            let status = trailers.and_then(Status::from_header_map);
            calls.ended(status.map_or(Code::Cancelled, |status| status.code()));
        }
    }
}

impl HttpBody for CountedStream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && frame.is_trailers()
        {
            self.ended(frame.trailers_ref());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        self.ended(None);
    }
}
