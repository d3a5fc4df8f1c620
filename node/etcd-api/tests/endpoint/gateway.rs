//! The JSON gateway: byte by byte as real etcd's, over a list of good and bad requests; streams; tokens; limits.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quorate_etcd_api::pb::etcdserverpb as pb;

use crate::http::{Answer, Stream, exchange, get, post};
use crate::real_etcd::RealEtcd;
use crate::support::{Node, ROOT_PASSWORD};

/// Requests whose answers are compared, in this order: later ones see what earlier ones wrote.
const REQUESTS: &[(&str, &str)] = &[
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy","prev_kv":true}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmF6","prevKv":true,"lease":0}"#),
    ("/v3/kv/put", r#"{"value":"YmF6"}"#),
    ("/v3/kv/put", r#"{"key":"YQ==","lease":"123456"}"#),
    ("/v3/kv/put", r#"{"key":"YQ==","ignore_value":true}"#),
    (
        "/v3/kv/range",
        r#"{"key":"Zm9v","rangeEnd":"AA==","limit":"5","sort_order":"DESCEND","sort_target":2}"#,
    ),
    ("/v3/kv/range", r#"{"key":"Zm9v","limit":"abc"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","limit":1.5}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","limit":1e0,"foo":{"a":[1,2,{}]}}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","limit":9223372036854775808}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","limit":" 1"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"-1"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"1000"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","sort_order":"BOGUS"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","sort_order":77}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","sort_order":true}"#),
    ("/v3/kv/range", r#"{"key":"*"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9-_w"}"#),
    ("/v3/kv/range", r#"{"key":"Zm8"}"#),
    ("/v3/kv/range", r#"{"key":"Zm8==="}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","key":"Zm9v"}"#),
    ("/v3/kv/range", r#"{"range_end":"Zm8=","rangeEnd":"Zm8="}"#),
    ("/v3/kv/range", r#"{"key":5}"#),
    ("/v3/kv/range", r#"{"key":null}"#),
    ("/v3/kv/range", r#"{"serializable":"true"}"#),
    ("/v3/kv/range", ""),
    ("/v3/kv/range", "  "),
    ("/v3/kv/range", "{"),
    ("/v3/kv/range", "{\"a"),
    ("/v3/kv/range", "[]"),
    ("/v3/kv/range", "5"),
    ("/v3/kv/range", "null"),
    ("/v3/kv/range", "hello"),
    ("/v3/kv/range", r#"{"key":"Zm9v"} trailing"#),
    ("/v3/kv/range", r#"{"key":"Zm9v",}"#),
    ("/v3/kv/range", r#"{"key" "Zm9v"}"#),
    ("/v3/kv/range", "{\n  \"key\": \"Zm9v\",\n  \"limit\": []\n}"),
    ("/v3/kv/range", r#"{"key":"Zm9v"}{"key":"Zm9v"}"#),
    ("/v3/kv/range", "{}"),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"VALUE","key":"Zm9v","value":"YmF6","result":"EQUAL"}],"success":[{"requestPut":{"key":"Zm9v","value":"eA=="}},{"request_range":{"key":"Zm9v"}},{"request_txn":{"success":[{"request_range":{"key":"eg=="}}]}}],"failure":[{"request_delete_range":{"key":"Zm9v"}}]}"#,
    ),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"VALUE","key":"Zm9v","value":"YmFy","version":1}]}"#,
    ),
    ("/v3/kv/txn", r#"{"compare":{}}"#),
    ("/v3/kv/txn", r#"{"compare":[null]}"#),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"MOD","key":"Zm9v","modRevision":"0","result":"GREATER"}]}"#,
    ),
    ("/v3/kv/txn", "{}"),
    ("/v3/kv/deleterange", r#"{"key":"Zm9v","prev_kv":true}"#),
    ("/v3/kv/deleterange", r#"{"key":"Zm9v"}"#),
    ("/v3/kv/compaction", r#"{"revision":"1000"}"#),
    ("/v3/kv/compaction", r#"{"revision":3}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"2"}"#),
    ("/v3/lease/grant", r#"{"TTL":"60","ID":"77"}"#),
    ("/v3/lease/grant", r#"{"TTL":"60","ID":"77"}"#),
    ("/v3/lease/grant", r#"{"TTL":"90000000001"}"#),
    ("/v3/lease/grant", r#"{"ID":"78","ttl":"60"}"#),
    ("/v3/kv/put", r#"{"key":"bGVhc2Vk","lease":"77"}"#),
    ("/v3/kv/lease/timetolive", r#"{"ID":"9"}"#),
    ("/v3/lease/keepalive", r#"{"ID":"77"}"#),
    ("/v3/lease/keepalive", r#"{"ID":"77"}{"ID":"79"}"#),
    ("/v3/lease/revoke", r#"{"ID":"9"}"#),
    ("/v3/kv/lease/revoke", r#"{"ID":"77"}"#),
    ("/v3/kv/lease/leases", "{}"),
    ("/v3/maintenance/alarm", r#"{"action":"GET"}"#),
    ("/v3/maintenance/defragment", "{}"),
    ("/v3/auth/authenticate", r#"{"name":"a","password":"b"}"#),
    ("/v3/auth/user/get", r#"{"name":"nobody"}"#),
    ("/v3/auth/role/get", r#"{"role":"nobody"}"#),
    ("/v3/auth/role/add", r#"{"name":"r\"<1>"}"#),
    (
        "/v3/auth/role/grant",
        r#"{"name":"r\"<1>","perm":{"permType":"READWRITE","key":"YQ==","rangeEnd":"Yg=="}}"#,
    ),
    ("/v3/auth/role/get", r#"{"role":"r\"<1>"}"#),
    ("/v3/auth/role/add", "{}"),
    ("/v3/nothing", "{}"),
    ("/v3/kv/range/", "{}"),
    ("/v3beta/kv/range", r#"{"key":"YQ=="}"#),
    ("/v3alpha/kv/range", "{}"),
    ("/nothing", "{}"),
];

/// A node without authentication, as a fresh etcd is.
pub async fn open_node() -> Node {
    let node = Node::start().await;
    let mut root = node.root().await;
    root.auth
        .auth_disable(pb::AuthDisableRequest {})
        .await
        .expect("disabled");
    node
}

/// The body without what differs between two clusters, and without etcd 3.5's `error`.
pub fn comparable(answer: Answer) -> (u16, String, String) {
    let mut body = answer.body;
    for name in ["cluster_id", "member_id", "raft_term"] {
        let mut rest = body.as_str();
        let mut out = String::new();
        let mark = format!("\"{name}\":\"");
        while let Some((before, after)) = rest.split_once(&mark) {
            out.push_str(before);
            out.push_str(&mark);
            rest = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
        }
        out.push_str(rest);
        body = out;
    }
    if body.starts_with("{\"error\":\"")
        && let Some((_, rest)) = body.split_once(",\"code\":")
    {
        body = format!("{{\"code\":{rest}");
    }
    (answer.status, answer.content_type, body)
}

#[tokio::test]
async fn answers_are_those_of_real_etcd() {
    let node = open_node().await;
    let etcd = RealEtcd::start().await;
    let mut different = Vec::new();
    for (path, body) in REQUESTS {
        let ours = comparable(post(node.address, path, body).await);
        let theirs = comparable(post(etcd.address, path, body).await);
        if ours != theirs {
            different.push(format!("{path} {body}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    for method in ["GET", "PUT", "DELETE"] {
        for path in ["/v3/kv/range", "/v3/nothing", "/nothing"] {
            let ours = comparable(exchange(node.address, method, path, "", "").await);
            let theirs = comparable(exchange(etcd.address, method, path, "", "").await);
            if ours != theirs {
                different.push(format!("{method} {path}\n  ours   {ours:?}\n  theirs {theirs:?}"));
            }
        }
    }
    assert!(
        different.is_empty(),
        "{} answers differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

#[tokio::test]
async fn pages_are_those_of_real_etcd() {
    let node = open_node().await;
    let etcd = RealEtcd::start().await;
    for path in [
        "/health",
        "/health?serializable=true",
        "/health?exclude=NOSPACE",
        "/version",
        "/livez",
        "/readyz",
        "/livez?verbose",
        "/livez/serializable_read",
        "/readyz/linearizable_read?verbose",
        "/readyz/nothing",
        "/livez?exclude=serializable_read&verbose",
        "/healthz",
    ] {
        for method in ["GET", "POST"] {
            let ours = exchange(node.address, method, path, "", "").await;
            let theirs = exchange(etcd.address, method, path, "", "").await;
            assert_eq!(
                (ours.status, ours.body),
                (theirs.status, theirs.body),
                "{method} {path}"
            );
        }
    }
    // etcd lists the checks in no order.
    let lines = async |address| {
        let body = get(address, "/readyz?verbose&exclude=non_learner").await.body;
        let mut lines: Vec<String> = body.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(node.address).await, lines(etcd.address).await);
    let preflight = exchange(node.address, "OPTIONS", "/v3/kv/range", "", "").await;
    assert_eq!(preflight.status, 200);
    assert!(
        preflight.headers.contains("access-control-allow-origin: *"),
        "{}",
        preflight.headers
    );
}

#[tokio::test]
async fn metrics_have_the_names_that_dashboards_ask_for() {
    let node = open_node().await;
    let etcd = RealEtcd::start().await;
    post(node.address, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#).await;
    post(node.address, "/v3/lease/revoke", r#"{"ID":"9"}"#).await;
    let (ours, theirs) = (get(node.address, "/metrics").await, get(etcd.address, "/metrics").await);
    assert!(
        ours.content_type.starts_with("text/plain; version=0.0.4"),
        "{}",
        ours.content_type
    );
    for name in [
        "etcd_server_has_leader",
        "etcd_server_is_leader",
        "etcd_server_leader_changes_seen_total",
        "etcd_server_proposals_committed_total",
        "etcd_server_proposals_applied_total",
        "etcd_server_proposals_pending",
        "etcd_server_proposals_failed_total",
        "etcd_server_quota_backend_bytes",
        "etcd_mvcc_db_total_size_in_bytes",
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "etcd_debugging_mvcc_keys_total",
        "etcd_debugging_mvcc_current_revision",
        "etcd_network_client_grpc_received_bytes_total",
        "etcd_network_client_grpc_sent_bytes_total",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
    ] {
        // Each with etcd's name and kind, and with a value.
        let kind = |page: &str| {
            page.lines()
                .find(|line| line.starts_with(&format!("# TYPE {name} ")))
                .map(str::to_owned)
        };
        assert_eq!(kind(&ours.body), kind(&theirs.body), "{name}");
        let value = ours
            .body
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        value.expect(name).parse::<f64>().expect("a number");
    }
    for line in [
        "etcd_server_has_leader 1",
        "etcd_debugging_mvcc_keys_total 1",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
        "grpc_server_handled_total{grpc_code=\"NotFound\",grpc_method=\"LeaseRevoke\",grpc_service=\"etcdserverpb.Lease\",grpc_type=\"unary\"} 1",
        "grpc_server_started_total{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0",
    ] {
        assert!(
            ours.body.lines().any(|found| found == line),
            "{line} is missing:\n{}",
            ours.body
        );
    }
}

#[tokio::test]
async fn a_watch_gives_lines_and_goes_on_after_its_last_request() {
    let node = open_node().await;
    let etcd = RealEtcd::start().await;
    for ends in [true, false] {
        let mut lines = Vec::new();
        for address in [node.address, etcd.address] {
            let create = r#"{"create_request":{"key":"dw==","prev_kv":true}} {"createRequest":{"key":"dw==","startRevision":"-1"}}"#;
            let mut watch = Stream::open(address, "POST", "/v3/watch", "", create, ends).await;
            assert_eq!(watch.status, 200);
            let mut seen = vec![watch.line().await, watch.line().await];
            post(address, "/v3/kv/put", r#"{"key":"dw==","value":"MQ=="}"#).await;
            seen.push(watch.line().await);
            let comparable = |line: String| {
                comparable(Answer {
                    status: 200,
                    content_type: String::new(),
                    headers: String::new(),
                    body: line,
                })
                .2
            };
            lines.push(seen.into_iter().map(comparable).collect::<Vec<_>>());
        }
        assert_eq!(lines[0], lines[1]);
    }
}

#[tokio::test]
async fn tokens_are_taken_from_headers_and_errors_have_three_members() {
    let node = Node::start().await;
    let range = r#"{"key":"a2V5"}"#;
    let refused = post(node.address, "/v3/kv/range", range).await;
    let text = "etcdserver: user name is empty";
    assert_eq!(
        refused.body,
        format!(r#"{{"error":"{text}","code":3,"message":"{text}"}}"#)
    );
    let login = format!(r#"{{"name":"root","password":"{ROOT_PASSWORD}"}}"#);
    let answer = post(node.address, "/v3/auth/authenticate", &login).await;
    let token = answer
        .body
        .split("\"token\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("token");
    for header in ["Authorization: ", "authorization: Bearer ", "Grpc-Metadata-Token: "] {
        let headers = format!("{header}{token}\r\n");
        let answer = exchange(node.address, "POST", "/v3/kv/range", &headers, range).await;
        assert_eq!(answer.status, 200, "{header}: {}", answer.body);
    }
    let forged = exchange(node.address, "POST", "/v3/kv/range", "Authorization: x\r\n", range).await;
    assert_eq!(forged.status, 401);
    assert!(
        forged
            .headers
            .contains("www-authenticate: etcdserver: invalid auth token"),
        "{}",
        forged.headers
    );
}

#[tokio::test]
async fn large_bodies_are_refused_and_small_ones_beside_them_are_not() {
    let node = open_node().await;
    let put = |bytes: usize| format!(r#"{{"key":"a2V5","value":"{}"}}"#, STANDARD.encode(vec![b'x'; bytes]));
    assert_eq!(post(node.address, "/v3/kv/put", &put(1_400_000)).await.status, 200);
    let refused = post(node.address, "/v3/kv/put", &put(1_600_000)).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(
        refused.body.contains("etcdserver: request is too large"),
        "{}",
        refused.body
    );
    let refused = post(node.address, "/v3/kv/put", &put(2_240_000)).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(post(node.address, "/v3/kv/put", &put(10)).await.status, 200);
}
