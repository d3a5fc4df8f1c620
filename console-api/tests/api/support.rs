//! A bootstrapped single-node cluster behind the router, and transcripts of requests to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use quorate_console_api::{
    AddressReport, ApiContext, ApiSettings, ConnectionTest, ConnectionTester, EdgeFuture, Sealer, SessionKey,
    StageReport, TlsFiles, hash_password, router,
};
use quorate_machine::{
    Bootstrap, Command, DataCenter, FindingClass, Id, NodeRecord, Principal, PrincipalKind, Proposal, RemoveNode,
    Reply, ReplyKind, ReportHealth, Sealed, Vote, VoteReport, WorkerSeen,
};
use quorate_raft::Handle;
use serde_json::Value;
use tower::ServiceExt;

use crate::lent::{OneLink, OneProcess, PlainKeys, TwoMeasures};

pub const ROOT_PASSWORD: &str = "root-password";
/// A monitor's password: it must never come out of the API.
pub const DATABASE_PASSWORD: &str = "hunter2-database";
const DEADLINE: Duration = Duration::from_secs(5);
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Seals by reversing, with the associated data in front: enough to see that nothing is stored as it came.
pub struct ReversingSealer;

impl Sealer for ReversingSealer {
    fn seal(&self, object: Id, field: &str, generation: u64, plain: &[u8]) -> Sealed {
        let mut bytes = format!("{object}/{field}/{generation}/").into_bytes();
        bytes.extend(plain.iter().rev());
        Sealed { bytes: bytes.into() }
    }
}

/// Refuses port 1 and accepts the rest.
struct PortTester;

impl ConnectionTester for PortTester {
    fn test(&self, test: ConnectionTest) -> EdgeFuture<Vec<AddressReport>> {
        let stored = test.stored.is_some() && test.typed.is_empty();
        let addresses = test.sides().into_iter().flat_map(|side| side.addresses);
        let reports = addresses.map(move |address| {
            let passed = !address.ends_with(":1");
            let (class, text) = if passed {
                ("ok", "")
            } else {
                ("refused", "Connection refused")
            };
            AddressReport {
                stages: vec![
                    StageReport::new("dns", "ok", "", 5),
                    StageReport::new("tcp", class, text, 9),
                ],
                text: if passed {
                    String::new()
                } else {
                    format!("Connection refused (stored password: {stored})")
                },
                class: if passed { "ok" } else { "refused" }.to_owned(),
                passed,
                address,
                elapsed_ms: 3,
            }
        });
        let reports: Vec<AddressReport> = reports.collect();
        Box::pin(async move { reports })
    }
}

pub struct App {
    pub router: Router,
    pub handle: Handle,
    pub context: ApiContext,
    /// Root's session.
    pub root: String,
    _directory: tempfile::TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn text(&self, pointer: &str) -> String {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("{pointer} in {}", self.body)).to_owned()
    }

    /// Status, code and the fields that are wrong, in one line.
    pub fn line(&self) -> String {
        let code = self
            .body
            .get("code")
            .and_then(Value::as_str)
            .filter(|_| self.status.as_u16() >= 400);
        let mut line = format!("{} {}", self.status.as_u16(), code.unwrap_or("-"));
        for error in self.body.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            line.push_str(&format!(" [{} {}]", part("pointer"), part("code")));
        }
        line
    }
}

impl App {
    /// A bootstrapped cluster with three members of which one runs, and root logged in.
    pub async fn start() -> App {
        let mut app = App::start_empty().await;
        app.system(1, Command::Bootstrap(Box::new(bootstrap()))).await;
        let term = || app.handle.read(|state| state.current_term());
        quorate_raft::testing::wait_until("the leader has announced itself", || term() > 0).await;
        for node in 1..=3 {
            let seen = WorkerSeen {
                node,
                incarnation: 1,
                term: term(),
            };
            app.system(1, Command::WorkerSeen(seen)).await;
        }
        app.root = app.login("root", ROOT_PASSWORD).await;
        app
    }

    /// A running node of a cluster that is not bootstrapped yet.
    pub async fn start_empty() -> App {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let handle = start_node(directory.path().to_owned()).await;
        let context = ApiContext::new(ApiSettings {
            handle: handle.clone(),
            session_key: SessionKey::new([7; 32]),
            sealer: Arc::new(ReversingSealer),
            instance_keys: Arc::new(PlainKeys),
            tester: Arc::new(PortTester),
            processes: Arc::new(OneProcess),
            links: Arc::new(OneLink),
            measures: Arc::new(TwoMeasures),
            tls_files: TlsFiles::default(),
            wall_clock: || jiff::Timestamp::now().as_millisecond(),
        });
        context.answer_nodes();
        App {
            router: router(context.clone()),
            handle,
            context,
            root: String::new(),
            _directory: directory,
        }
    }

    /// Carries out a command of a node.
    pub async fn system(&self, node: u64, command: Command) {
        let author = Principal {
            kind: Some(PrincipalKind::Node(node)),
            source: String::new(),
        };
        let proposal = Proposal {
            author: Some(author),
            command: Some(command),
        };
        let Reply { kind } = self.handle.propose(proposal, DEADLINE).await.expect("committed").reply;
        assert!(!matches!(kind, Some(ReplyKind::Refused(_))), "{kind:?}");
    }

    /// Takes a node out of the registry.
    pub async fn remove_node(&self, node: u64) {
        self.system(1, Command::RemoveNode(RemoveNode { node })).await;
    }

    /// Every node votes on both sides of a monitor.
    pub async fn vote(&self, monitor: &str, generation: u64, sequence: u64, votes: [(Vote, FindingClass, &str); 2]) {
        let monitor = Id::parse(monitor).expect("an id");
        for node in 1..=3 {
            let votes = DataCenter::ALL
                .iter()
                .zip(votes)
                .map(|(dc, (vote, class, text))| VoteReport {
                    monitor,
                    generation,
                    data_center: *dc as i32,
                    vote: vote as i32,
                    class: class as i32,
                    text: text.to_owned(),
                    never_logged_in: false,
                    age_ms: 5,
                    conditions: Vec::new(),
                });
            let report = ReportHealth {
                node,
                incarnation: 1,
                sequence,
                votes: votes.collect(),
                full: false,
            };
            self.system(node, Command::ReportHealth(report)).await;
        }
    }

    pub async fn login(&self, user: &str, password: &str) -> String {
        let body = serde_json::json!({"user": user, "password": password});
        let answer = self.call("POST", "/api/v1/login", "", &[], &body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.text("/session")
    }

    /// Sends a request as root; `path` is below `/api/v1`.
    pub async fn root(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call(method, &format!("/api/v1{path}"), &self.root, &[], body)
            .await
    }

    /// Sends an edit as root with the ETag of a generation.
    pub async fn edit(&self, method: &str, path: &str, generation: u64, body: &str) -> Answer {
        let if_match = format!("\"{generation}\"");
        self.call(
            method,
            &format!("/api/v1{path}"),
            &self.root,
            &[("if-match", &if_match)],
            body,
        )
        .await
    }

    /// Sends a request, again while a busy machine has cost the node its leadership for a moment: such a request was not
    /// carried out.
    pub async fn call(&self, method: &str, uri: &str, token: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = self.call_once(method, uri, token, headers, body).await;
            if !answer.line().starts_with("503 no-leader") || begun.elapsed() > DEADLINE {
                return answer;
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
    }

    /// Sends a request once.
    pub async fn call_once(
        &self,
        method: &str,
        uri: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.call_from([192, 0, 2, 7], method, uri, token, headers, body).await
    }

    /// Sends a request once, from an address.
    pub async fn call_from(
        &self,
        source: [u8; 4],
        method: &str,
        uri: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).expect("a request");
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from((source, 40000))));
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        assert!(
            !String::from_utf8_lossy(&bytes).contains(DATABASE_PASSWORD),
            "a password came out of {uri}"
        );
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// Creates an application and gives its id.
    pub async fn application(&self, name: &str) -> String {
        let body = serde_json::json!({"name": name}).to_string();
        let answer = self.root("POST", "/instances/default/applications", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.text("/id")
    }

    /// Creates a monitor with its pool and gives its id.
    pub async fn monitor(&self, application: &str, name: &str) -> String {
        let mut body = monitor_body(application, name);
        body["connection_pool"] = pool_body();
        let answer = self
            .root("POST", "/instances/default/monitors", &body.to_string())
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.text("/id")
    }
}

pub fn monitor_body(application: &str, name: &str) -> Value {
    serde_json::json!({
        "application": application,
        "name": name,
        "connection_test": {"override": true, "reason": "nothing listens at these addresses"},
        "timing": {"retry_interval_ms": 3000, "monitor_timeout_ms": 40000, "access_timeout_ms": 3000},
        "mysql": {
            "user": "probe", "password": DATABASE_PASSWORD, "monitoring_database": "orders",
            "dc1": {"cloud": "c", "region": "r1", "address": "10.0.0.1:3306"},
            "dc2": {"cloud": "c", "region": "r2", "address": "10.0.0.2:3306"},
        },
    })
}

pub fn pool_body() -> Value {
    serde_json::json!({
        "database": "orders", "routing": "single-read-write",
        "dc1": {"source": {"name": "ds1", "address": "10.0.0.1:3306", "schema": "orders"},
            "replicas": [{"name": "ds1-s0", "address": "10.0.0.3:3306", "schema": "orders"}]},
        "dc2": {"source": {"name": "ds2", "address": "10.0.0.2:3306", "schema": "orders"},
            "load_balance": "ROUND_ROBIN"},
    })
}

/// Ids, times and what else differs from run to run become placeholders.
pub fn stable(value: &Value) -> Value {
    const VARYING: [&str; 9] = [
        "sequence",
        "index",
        "time_ms",
        "began_ms",
        "cluster_time_ms",
        "token",
        "session",
        "source",
        "at",
    ];
    match value {
        Value::Object(fields) => {
            let stable_field = |(name, value): (&String, &Value)| {
                let varies = VARYING.contains(&name.as_str()) && !value.is_null() && !value.is_object();
                (
                    name.clone(),
                    if varies {
                        Value::from(format!("<{name}>"))
                    } else {
                        stable(value)
                    },
                )
            };
            Value::Object(fields.iter().map(stable_field).collect())
        }
        Value::Array(items) => items.iter().map(stable).collect(),
        Value::String(text) if Id::parse(text).is_some() => Value::from("<id>"),
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => Value::from("<time>"),
        other => other.clone(),
    }
}

fn bootstrap() -> Bootstrap {
    let id = |n: u128| Id::from_u128(n);
    let node = |n: u64| NodeRecord {
        id: n,
        name: format!("node-{n}"),
        zone: format!("az{n}"),
        peer: format!("10.0.1.{n}:2380"),
        kv: format!("10.0.1.{n}:2379"),
        console: format!("10.0.1.{n}:8443"),
        site: ["dc1", "dc2", "arbiter"][n as usize - 1].to_owned(),
        learner: false,
    };
    Bootstrap {
        cluster_id: id(1),
        nodes: (1..=3).map(node).collect(),
        module_id: id(2),
        namespace_id: id(3),
        instance_id: id(4),
        root_user_id: id(5),
        root_password_hash: hash_password(ROOT_PASSWORD),
        kv_root_password_hash: "$2b$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into(),
        kv_sdk_password_hash: "$2b$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into(),
        feature_points: quorate_machine::FEATURE_POINTS.map(str::to_owned).to_vec(),
    }
}

async fn start_node(directory: PathBuf) -> Handle {
    quorate_raft::testing::single_node(&directory).await
}

/// A transcript: one line per step, for a golden file.
#[derive(Default)]
pub struct Transcript {
    lines: Vec<String>,
    names: BTreeMap<String, String>,
}

impl Transcript {
    /// Ids are written as the names they are known by.
    pub fn name(&mut self, id: &str, name: &str) {
        self.names.insert(id.to_owned(), format!("<{name}>"));
    }

    pub fn step(&mut self, what: &str, answer: &Answer) {
        let mut line = format!("{what} -> {}", answer.line());
        for (id, name) in &self.names {
            line = line.replace(id, name);
        }
        self.lines.push(line);
    }

    pub fn finish(self) -> String {
        self.lines.join("\n")
    }
}
