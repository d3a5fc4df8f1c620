//! Pauses, maintenance windows, sites, switches of applications, the history of probes, exports.

use http::StatusCode;
use quorate_machine::{FindingClass, Vote};
use serde_json::{Value, json};

use crate::support::{App, Transcript, stable};

const UP: (Vote, FindingClass, &str) = (Vote::UpSteady, FindingClass::Ok, "");
const DOWN: (Vote, FindingClass, &str) = (Vote::Down, FindingClass::Refused, "connection refused");

#[tokio::test]
async fn a_pause_is_seen_everywhere_and_windows_come_and_go() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let id = app.monitor(&application, "orders").await;
    let path = format!("/instances/default/monitors/{id}");
    let mut transcript = Transcript::default();
    for (what, id) in [("application", &application), ("monitor", &id)] {
        transcript.name(id, what);
    }
    let put = async |path: &str, body: &str| app.root("PUT", path, body).await;
    transcript.step("no reason", &put("/switching", r#"{"paused":true}"#).await);
    transcript.step("pause", &put("/switching", r#"{"paused":true,"reason":"storm"}"#).await);
    let instance = "/instances/default/switching";
    transcript.step(
        "instance too",
        &put(instance, r#"{"paused":true,"reason":"too"}"#).await,
    );
    let cluster = app.root("GET", "/cluster", "").await;
    assert_eq!(cluster.body["pauses"][0]["reason"], "storm");
    assert_eq!(app.root("GET", &path, "").await.body["switching_held"], "paused");
    let read = app.root("GET", instance, "").await;
    let scopes = |view: &Value| view["pauses"].as_array().map_or(0, Vec::len);
    assert_eq!((read.body["paused"].as_bool(), scopes(&read.body)), (Some(true), 2));
    transcript.step("resume", &put("/switching", r#"{"paused":false}"#).await);
    transcript.step("resume the instance", &put(instance, r#"{"paused":false}"#).await);
    assert_eq!(app.root("GET", "/switching", "").await.body["paused"], false);

    let window = async |body: Value| app.root("POST", "/windows", &body.to_string()).await;
    let far = "2999-01-01T00:00:00Z";
    transcript.step("no end", &window(json!({"reason": "x"})).await);
    transcript.step(
        "an end that is none",
        &window(json!({"reason": "x", "end": "soon"})).await,
    );
    transcript.step("too long", &window(json!({"reason": "x", "end": far})).await);
    let both = json!({"reason": "x", "end": far, "monitor": id, "application": application});
    transcript.step("two scopes", &window(both).await);
    let unknown = json!({"reason": "x", "end": far, "monitor": "0".repeat(32)});
    transcript.step("unknown monitor", &window(unknown).await);
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let planned = window(json!({"reason": "patching", "end": end.to_string(), "monitor": id})).await;
    transcript.step("planned", &planned);
    assert_eq!(app.root("GET", &path, "").await.body["switching_held"], "maintenance");
    let listed = app.root("GET", "/windows", "").await;
    assert_eq!(
        (&listed.body["items"][0]["object"], &listed.body["items"][0]["open"]),
        (&json!(id), &json!(true))
    );
    let window_path = format!("/windows/{}", planned.text("/id"));
    transcript.step("deleted", &app.root("DELETE", &window_path, "").await);
    transcript.step("deleted again", &app.root("DELETE", &window_path, "").await);
    assert_eq!(app.root("GET", &path, "").await.body.get("switching_held"), None);
    insta::assert_snapshot!(transcript.finish());
}

#[tokio::test]
async fn sites_and_their_settings() {
    let app = App::start().await;
    let mut transcript = Transcript::default();
    let put = async |path: &str, body: &str| app.root("PUT", path, body).await;
    let settings = "/sites/settings";
    transcript.step("too short", &put(settings, r#"{"site_timeout_ms":10}"#).await);
    let bad = r#"{"targets":[{"site":"dc9","address":"gw:22"},{"site":"dc1","address":"nothing"}]}"#;
    transcript.step("bad targets", &put(settings, bad).await);
    let many: Vec<Value> = (1..=9)
        .map(|n| json!({"site": "dc1", "address": format!("10.0.0.{n}:22")}))
        .collect();
    transcript.step(
        "nine witnesses",
        &put(settings, &json!({"targets": many}).to_string()).await,
    );
    let switch = "/instances/default/site-switch";
    let on = put(switch, r#"{"on":true}"#).await;
    transcript.step("on", &on);
    let warnings = |view: &Value| view["warnings"].as_array().map_or(0, Vec::len);
    assert_eq!(
        (on.body["on"].as_bool(), warnings(&on.body)),
        (Some(true), 1),
        "{}",
        on.body
    );
    let witness =
        r#"{"targets":[{"site":"dc1","address":"10.0.0.254:22"},{"site":"public","address":"192.0.2.1:53"}]}"#;
    transcript.step("a witness", &put(settings, witness).await);
    assert_eq!(warnings(&app.root("GET", switch, "").await.body), 0);
    transcript.step(
        "no such node",
        &put("/cluster/nodes/9/maintenance", r#"{"on":true}"#).await,
    );
    transcript.step(
        "maintenance",
        &put("/cluster/nodes/3/maintenance", r#"{"on":true,"reason":"rack"}"#).await,
    );
    let sites = app.root("GET", "/sites", "").await;
    assert_eq!(sites.body["silent_nodes"], json!([2, 3]), "{}", sites.body);
    insta::assert_snapshot!("sites", format!("{:#}", stable(&sites.body)));
    insta::assert_snapshot!(transcript.finish());
}

#[tokio::test]
async fn an_application_switches_whole_or_says_what_it_left_out() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let well = app.monitor(&application, "well").await;
    let sick = app.monitor(&application, "sick").await;
    app.vote(&well, 1, 1, [UP, UP]).await;
    app.vote(&sick, 1, 2, [UP, DOWN]).await;
    let path = format!("/instances/default/applications/{application}/switch");
    let switch = async |body: Value| app.root("POST", &path, &body.to_string()).await;
    assert_eq!(switch(json!({"to": "dc2"})).await.line(), "409 target-abnormal");
    let preview = switch(json!({"to": "dc2", "dry_run": true})).await.body;
    assert_eq!(preview["allowed"], false, "{preview}");
    // The one node that answers knows one process.
    assert_eq!(preview["connected_processes"], 1, "{preview}");
    let partial = json!({"to": "dc2", "partial": true, "dry_run": true});
    assert_eq!(switch(partial).await.body["allowed"], true);
    let done = switch(json!({"to": "dc2", "partial": true, "reason": "drill"}))
        .await
        .body;
    assert_eq!(done["monitors"].as_array().map(Vec::len), Some(1), "{done}");
    assert_eq!(done["left_out"][0]["name"], "sick", "{done}");
    assert_eq!(done["left_out"][0]["refusal"]["code"], "target-abnormal", "{done}");
    let forced = json!({"to": "dc2", "force": true, "reason": "must"});
    assert_eq!(switch(forced).await.body["monitors"].as_array().map(Vec::len), Some(1));
    let back = switch(json!({"to": "dc1", "restore_readable": true})).await.body;
    assert_eq!(back["monitors"].as_array().map(Vec::len), Some(2), "{back}");
}

#[tokio::test]
async fn the_history_of_a_monitor_comes_in_pages() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let id = app.monitor(&application, "orders").await;
    app.vote(&id, 1, 1, [UP, UP]).await;
    app.vote(&id, 1, 2, [DOWN, UP]).await;
    let path = format!("/instances/default/monitors/{id}/history");
    let first = app.root("GET", &format!("{path}?limit=4"), "").await;
    let newest = &first.body["items"][0];
    assert_eq!(
        (&newest["vote"], &newest["finding"]),
        (&json!("down"), &json!("refused")),
        "{newest}"
    );
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.root("GET", &format!("{path}?limit=4{cursor}"), "").await.body;
        let items = page["items"].as_array().expect("items");
        seen.extend(items.iter().filter_map(|item| item["sequence"].as_u64()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    // Six votes at first, two states, three votes of the failure.
    assert_eq!(seen, (1..=11).rev().collect::<Vec<u64>>());
    assert_eq!(
        app.root("GET", &format!("{path}?limit=0"), "").await.line(),
        "422 invalid-spec [?limit out-of-range]"
    );
}

#[tokio::test]
async fn events_are_listed_by_time_and_exported() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let id = app.monitor(&application, "orders").await;
    app.vote(&id, 1, 1, [UP, DOWN]).await;
    let failed = app.root("GET", "/events?code=monitor-init-failed", "").await.body;
    let event = &failed["items"][0];
    assert_eq!(
        (&event["name"], &event["level_name"]),
        (&json!("Monitoring could not begin"), &json!("Minor"))
    );
    assert!(!event["impact"].as_str().unwrap_or_default().is_empty(), "{event}");
    assert!(!event["advice"].as_str().unwrap_or_default().is_empty(), "{event}");
    for nothing in ["since=2999-01-01T00:00:00Z", "until=2001-01-01T00:00:00Z"] {
        let empty = app.root("GET", &format!("/events?{nothing}"), "").await;
        assert_eq!(empty.body["items"], json!([]), "{nothing}");
    }
    assert_eq!(
        app.root("GET", "/events?until=x", "").await.line(),
        "422 invalid-spec [?until bad-parameter]"
    );
    let export = app.root("GET", "/events/export?code=monitor-started", "").await;
    assert_eq!(export.status, StatusCode::OK);
    assert_eq!(export.headers["content-type"], "text/csv; charset=utf-8");
    // Three lines of JSON are no JSON: the one event is.
    let lines = app
        .root("GET", "/events/export?format=jsonl&code=monitor-started", "")
        .await;
    assert_eq!(lines.headers["content-type"], "application/jsonl");
    assert_eq!(lines.body["code"], "monitor-started");
    let unknown = app.root("GET", "/events/export?format=xml", "").await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
}
