//! Every kind of monitor through the API: creation, answer without secrets, edit, SDK configuration, connection test.

use quorate_machine::{FindingClass, Id, Vote};
use serde_json::{Value, json};

use crate::support::{App, DATABASE_PASSWORD, Transcript, pool_body, stable};

const PATH: &str = "/instances/default/monitors";

/// The section of a kind as a newcomer would write it.
fn section(kind: &str) -> Value {
    let login = |mut side: Value| {
        side["user"] = json!("watcher");
        side["password"] = json!(DATABASE_PASSWORD);
        side
    };
    let relational = |port: u16| {
        json!({
            "user": "probe", "password": DATABASE_PASSWORD, "monitoring_database": "orders",
            "tls": {"mode": "unverified"},
            "dc1": {"address": format!("10.0.0.1:{port}"), "replicas": [format!("10.0.0.3:{port}")]},
            "dc2": {"address": format!("10.0.0.2:{port}")},
        })
    };
    match kind {
        "mysql" => relational(3306),
        "postgresql" => relational(5432),
        "oracle" => relational(1521),
        "redis" => json!({
            "routing": "single-read-async-double-write",
            "dc1": {"zones": ["az1"], "addresses": ["10.0.0.1:6379"], "password": DATABASE_PASSWORD},
            "dc2": {"addresses": ["10.0.0.2:6379"], "passwordless": true},
        }),
        "mongodb" => json!({
            "user": "probe", "password": DATABASE_PASSWORD, "monitoring_database": "admin",
            "dc1": {"addresses": ["10.0.0.1:8635", "10.0.0.3:8635"]},
            "dc2": {"addresses": ["10.0.0.2:8635"]},
        }),
        "elasticsearch" => json!({
            "routing": "single-read-write",
            "dc1": login(json!({"addresses": ["10.0.0.1:9200", "10.0.0.3:9200"]})),
            "dc2": login(json!({"addresses": ["10.0.0.2:9200"]})),
        }),
        "api" => json!({
            "dc1": {"address": "10.0.0.1:443", "path": "/health", "headers": [
                {"name": "X-Plain", "value": "seen"},
                {"name": "Authorization", "value": DATABASE_PASSWORD, "secret": true},
            ]},
            "dc2": {"address": "10.0.0.2:80", "scheme": "http", "method": "POST", "expected_status": 204},
        }),
        other => panic!("no kind {other}"),
    }
}

const ALL: [&str; 7] = [
    "mysql",
    "postgresql",
    "oracle",
    "redis",
    "mongodb",
    "elasticsearch",
    "api",
];

/// Nothing listens at the addresses of these tests: saves leave the connection test out.
fn untested() -> Value {
    json!({"override": true, "reason": "nothing listens at these addresses"})
}

async fn create(app: &App, application: &str, kind: &str) -> String {
    let body = json!({"application": application, "connection_test": untested(), (kind): section(kind)});
    let created = app.root("POST", PATH, &body.to_string()).await;
    assert_eq!(created.line(), "201 -", "{kind}: {}", created.body);
    created.text("/id")
}

#[tokio::test]
async fn every_kind_is_created_read_and_edited_without_showing_a_secret() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let mut shown = String::new();
    for kind in ALL {
        let id = create(&app, &application, kind).await;
        let path = format!("{PATH}/{id}");
        let read = app.root("GET", &path, "").await;
        assert_eq!(read.body["kind"], kind);
        assert!(read.text("/name").starts_with(&format!("{kind}-")), "{}", read.body);
        assert!(!read.body.to_string().contains(DATABASE_PASSWORD), "{}", read.body);
        shown.push_str(&format!("{kind} {:#}\n", stable(&read.body[kind])));
        let secrets = |app: &App| {
            app.handle.read(|state| {
                let monitor = state.monitor(&Id::parse(&id).expect("an id")).expect("created");
                monitor.spec.kind.as_ref().expect("a kind").secrets()
            })
        };
        let before = secrets(&app);
        assert!(!before.is_empty() && before.iter().all(|(_, sealed)| sealed.is_some()));
        for (field, sealed) in &before {
            let sealed = String::from_utf8_lossy(&sealed.as_ref().expect("sealed").bytes).into_owned();
            assert!(sealed.starts_with(&format!("{id}/{field}/1/")), "{sealed}");
            assert!(!sealed.contains(DATABASE_PASSWORD), "{sealed}");
        }
        // What was read can be sent back: it changes nothing, secrets included.
        let edit = json!({"automatic_switch": false, (kind): read.body[kind]});
        let edited = app.edit("PUT", &path, 1, &edit.to_string()).await;
        assert_eq!(edited.line(), "200 -", "{kind}: {}", edited.body);
        assert_eq!(secrets(&app), before, "{kind}");
        let stale = app.edit("PUT", &path, 1, &edit.to_string()).await;
        assert_eq!(stale.line(), "412 generation-conflict", "{kind}");
        let other = if kind == "redis" { "api" } else { "redis" };
        let other = json!({(other): section(other)});
        let refused = app.edit("PUT", &path, 2, &other.to_string()).await;
        assert_eq!(refused.line(), "422 invalid-spec [/kind fixed]", "{kind}");
    }
    insta::assert_snapshot!(shown);
    for kind in ALL {
        let listed = app
            .root("GET", &format!("{PATH}?kind={kind}&state=unconfigured"), "")
            .await;
        assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(1), "{kind}");
        assert_eq!(listed.body["items"][0]["kind"], kind);
    }
    let nonsense = app.root("GET", &format!("{PATH}?kind=graph"), "").await;
    assert_eq!(nonsense.line(), "422 invalid-spec [?kind unknown-value]");
}

#[tokio::test]
async fn bad_sections_are_refused_field_by_field() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let headers: Vec<Value> = (0..51)
        .map(|n| json!({"name": format!("x-{n}"), "value": "v"}))
        .collect();
    let cases = [
        ("redis", "/routing", Value::Null),
        ("redis", "/routing", json!("local-read-write")),
        ("redis", "/mode", json!("master-slave")),
        ("redis", "/mode", json!("sentinel")),
        ("redis", "/dc1/addresses", json!(["10.0.0.1:1", "10.0.0.9:1"])),
        ("redis", "/dc1/addresses", json!(["http://10.0.0.1:1"])),
        ("redis", "/dc2/password", json!("x")),
        ("redis", "/dc1/password", Value::Null),
        ("redis", "/dc1/password", json!("p".repeat(513))),
        ("redis", "/dc1/adresses", json!([])),
        ("mongodb", "/dc2/addresses", json!(["10.0.0.3:8635"])),
        ("mongodb", "/dc1/addresses", json!([])),
        ("elasticsearch", "/dc1/scheme", json!("ftp")),
        ("elasticsearch", "/dc1/user", Value::Null),
        ("api", "/successes", json!(6)),
        ("api", "/failures", json!(2)),
        ("api", "/dc1/headers", json!(headers)),
        (
            "api",
            "/dc1/headers",
            json!([{"name": "x", "value": "a\r\nHost: evil", "secret": true}]),
        ),
        ("api", "/dc1/headers", json!([{"name": "x\r\ny", "value": "a"}])),
        ("api", "/dc1/path", json!("health")),
        ("api", "/dc1/expected_status", json!(99)),
        ("api", "/dc1/method", json!("get")),
        ("postgresql", "/database_is_sid", json!(true)),
        (
            "oracle",
            "/tls",
            json!({"mode": "verified", "ca_pem": "-----BEGIN PRIVATE KEY-----"}),
        ),
    ];
    let mut transcript = Transcript::default();
    for (kind, pointer, value) in cases {
        let mut body = section(kind);
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let object = body
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect("a parent");
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.to_owned(), value.clone());
        }
        let body = json!({"application": application, (kind): body});
        let shown: String = value.to_string().chars().take(60).collect();
        let answer = app.root("POST", PATH, &body.to_string()).await;
        transcript.step(&format!("{kind} {pointer} = {shown}"), &answer);
    }
    let both = json!({"application": application, "redis": section("redis"), "api": section("api")});
    transcript.step("two kinds", &app.root("POST", PATH, &both.to_string()).await);
    for (what, timing) in [
        ("redis access", json!({"access_timeout_ms": 3001})),
        ("api timeout", json!({"monitor_timeout_ms": 1000})),
        ("api interval", json!({"retry_interval_ms": 30001})),
    ] {
        let kind = what.split(' ').next().expect("a kind");
        let body = json!({"application": application, "timing": timing, (kind): section(kind)});
        transcript.step(what, &app.root("POST", PATH, &body.to_string()).await);
    }
    let pooled = json!({"application": application, "redis": section("redis"), "connection_pool": pool_body()});
    transcript.step("redis with a pool", &app.root("POST", PATH, &pooled.to_string()).await);
    let listed = app.root("GET", PATH, "").await;
    assert_eq!(listed.body, json!({"items": []}), "nothing was created");
    insta::assert_snapshot!(transcript.finish());
}

#[tokio::test]
async fn passwords_of_every_printable_character_and_chinese_names_are_taken() {
    let app = App::start().await;
    let application = app.application("商城").await;
    let printable: String = (' '..='~').collect();
    let mut body = section("redis");
    body["dc1"]["password"] = json!(printable);
    body["dc1"]["cloud"] = json!("华为云");
    body["dc1"]["zones"] = json!(["可用区一"]);
    let body = json!({"application": application, "connection_test": untested(), "redis": body});
    let created = app.root("POST", PATH, &body.to_string()).await;
    assert_eq!(created.line(), "201 -", "{}", created.body);
    let id = Id::parse(&created.text("/id")).expect("an id");
    let sealed = app.handle.read(|state| {
        let monitor = state.monitor(&id).expect("created");
        monitor.spec.kind.as_ref().expect("a kind").secrets()
    });
    let (_, sealed) = sealed.into_iter().next().expect("a secret");
    let sealed = String::from_utf8(sealed.expect("sealed").bytes.to_vec()).expect("text");
    let reversed: String = printable.chars().rev().collect();
    assert!(sealed.ends_with(&reversed), "{sealed}");
}

#[tokio::test]
async fn every_kind_with_an_active_side_has_an_sdk_configuration() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let mut shown = String::new();
    for kind in ALL {
        let id = create(&app, &application, kind).await;
        let path = format!("{PATH}/{id}");
        let early = app.root("GET", &format!("{path}/sdk-configuration"), "").await;
        let expected = match kind {
            "api" => "409 not-of-this-kind",
            "redis" | "elasticsearch" => "200 -",
            _ => "409 no-connection-pool",
        };
        assert_eq!(early.line(), expected, "{kind}");
        if kind == "api" {
            continue;
        }
        let mut pool = pool_body();
        if kind == "mongodb" {
            pool["dc1"] = json!({"source": {"name": "ds1", "address": "10.0.0.1:8635,10.0.0.3:8635", "schema": "orders"},
                "zones": ["az1"]});
            pool["dc2"].as_object_mut().expect("an object").remove("load_balance");
        }
        let saved = app
            .edit("PUT", &format!("{path}/connection-pool"), 1, &pool.to_string())
            .await;
        let expected = match kind {
            "redis" | "elasticsearch" => "422 not-of-this-kind",
            _ => "200 -",
        };
        assert_eq!(saved.line(), expected, "{kind}: {}", saved.body);
        let sdk = app.root("GET", &format!("{path}/sdk-configuration"), "").await;
        assert_eq!(sdk.line(), "200 -", "{kind}: {}", sdk.body);
        let named = |pointer: &str| {
            let text = sdk.body.pointer(pointer).and_then(Value::as_str).unwrap_or("absent\n");
            text.replace(&id, "<monitor>").replace(&application, "<application>")
        };
        shown.push_str(&format!("=== {kind}: Go\n{}", named("/go_yaml")));
        shown.push_str(&format!("=== {kind}: Java\n{}", named("/java_yaml")));
        shown.push_str(&format!("=== {kind}: properties\n{}", named("/java_properties")));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn connection_tests_take_the_section_of_any_kind() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let path = format!("{PATH}/test-connection");
    for kind in ALL {
        let tested = app
            .root("POST", &path, &json!({(kind): section(kind)}).to_string())
            .await;
        assert_eq!(tested.line(), "200 -", "{kind}: {}", tested.body);
        let of_first = tested.body["nodes"][0]["addresses"]
            .as_array()
            .expect("addresses")
            .clone();
        let addresses: Vec<&str> = of_first
            .iter()
            .filter_map(|report| report["address"].as_str())
            .collect();
        let expected = match kind {
            "redis" | "api" => 2,
            _ => 3,
        };
        assert_eq!(addresses.len(), expected, "{kind}: {addresses:?}");
        // A stored monitor as it stands, and with one secret typed anew.
        let id = create(&app, &application, kind).await;
        let stored = app.root("POST", &path, &json!({"monitor": id}).to_string()).await;
        assert_eq!(stored.line(), "200 -", "{kind}: {}", stored.body);
        assert_eq!(
            stored.body["nodes"][0]["addresses"].as_array().map(Vec::len),
            Some(expected)
        );
    }
    let mut other = section("redis");
    other["dc1"]["addresses"] = json!(["10.0.0.9:1"]);
    let body = json!({"application": application, "connection_test": untested(), "redis": other});
    let created = app.root("POST", PATH, &body.to_string()).await;
    assert_eq!(created.line(), "201 -", "{}", created.body);
    let id = created.text("/id");
    other["dc1"].as_object_mut().expect("an object").remove("password");
    let kept = app
        .root("POST", &path, &json!({"monitor": id, "redis": other}).to_string())
        .await;
    assert_eq!(
        kept.text("/nodes/0/addresses/0/text"),
        "Connection refused (stored password: true)"
    );
    let elsewhere = create(&app, &application, "redis").await;
    let refused = app
        .root(
            "POST",
            &path,
            &json!({"monitor": elsewhere, "redis": other}).to_string(),
        )
        .await;
    let again = "422 secret-needed-again [/redis/dc1/password needed-again]";
    assert_eq!(refused.line(), again);
    let alone = app.root("POST", &path, &json!({"redis": other}).to_string()).await;
    assert_eq!(alone.line(), "422 invalid-spec [/redis/dc1/password required]");
    let nothing = app.root("POST", &path, "{}").await;
    assert_eq!(nothing.line(), "422 invalid-spec [/addresses missing-field]");
}

#[tokio::test]
async fn api_monitors_are_no_part_of_a_switch() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let api = create(&app, &application, "api").await;
    let path = format!("/instances/default/applications/{application}/switch");
    let nothing = app.root("POST", &path, &json!({"to": "dc2"}).to_string()).await;
    assert_eq!(nothing.line(), "409 nothing-to-switch");
    let redis = create(&app, &application, "redis").await;
    let forced = json!({"to": "dc2", "force": true, "reason": "drill"});
    let switched = app.root("POST", &path, &forced.to_string()).await;
    assert_eq!(switched.line(), "200 -", "{}", switched.body);
    let read = app.root("GET", &format!("{PATH}/{redis}"), "").await;
    assert_eq!(read.body["active"], "dc2");
    let read = app.root("GET", &format!("{PATH}/{api}"), "").await;
    assert_eq!(read.body.get("active"), None);
    let single = app
        .root("POST", &format!("{PATH}/{api}/switch"), &forced.to_string())
        .await;
    assert_eq!(single.line(), "422 no-active-side");
    let flags = json!({"data_center": "dc1", "readable": true, "writable": true});
    let refused = app
        .root("PUT", &format!("{PATH}/{redis}/read-write"), &flags.to_string())
        .await;
    assert_eq!(refused.line(), "422 not-of-this-kind");
}

#[tokio::test]
async fn global_settings_hold_what_a_kind_has() {
    let app = App::start().await;
    let path = "/instances/default/kind-settings";
    let listed = app.root("GET", path, "").await;
    let kinds: Vec<&str> = listed.body["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| item["kind"].as_str())
        .collect();
    assert_eq!(kinds.len(), ALL.len(), "{kinds:?}");
    assert_eq!(
        listed.body["items"][0],
        json!({"kind": "api", "settings": {"health_precision": 1}, "defaults": {"health_precision": 1}})
    );
    let times = json!({"retry_interval_ms": 3000, "monitor_timeout_ms": 10000, "access_timeout_ms": 3000, "health_precision": 2});
    for (kind, body, expected) in [
        ("api", json!({"health_precision": 2}), "204 -"),
        (
            "api",
            times.clone(),
            "422 invalid-spec [/retry_interval_ms unsupported]",
        ),
        ("redis", times.clone(), "204 -"),
        (
            "redis",
            json!({"health_precision": 2}),
            "422 invalid-spec [/retry_interval_ms missing-field]",
        ),
        ("graph", times, "409 feature-disabled"),
    ] {
        let answer = app.root("PUT", &format!("{path}/{kind}"), &body.to_string()).await;
        assert_eq!(answer.line(), expected, "{kind} {body}");
    }
}

#[tokio::test]
async fn a_refused_login_says_how_long_the_source_may_stay_locked() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let refused = (Vote::Unknown, FindingClass::Auth, "401");
    let up = (Vote::UpSteady, FindingClass::Ok, "");
    for (kind, locks) in [("elasticsearch", true), ("mysql", false)] {
        let id = create(&app, &application, kind).await;
        let path = format!("{PATH}/{id}");
        let sides = async || {
            let read = app.root("GET", &path, "").await.body;
            ["dc1", "dc2"].map(|side| (read[side]["source_locked_until"].clone(), read[side]["notice"].clone()))
        };
        let sequence = if locks { 1 } else { 3 };
        app.vote(&id, 1, sequence, [refused, up]).await;
        let [(until, notice), at_dc2] = sides().await;
        assert_eq!(until.is_string(), locks, "{kind}: {until}");
        assert_eq!(at_dc2, (Value::Null, Value::Null), "{kind}");
        if locks {
            let time = until.as_str().and_then(|until| until.get(11..16)).expect("a time");
            assert!(notice.as_str().is_some_and(|notice| notice.contains(time)), "{notice}");
        }
        // The next votes are of logins that were let in.
        app.vote(&id, 1, sequence + 1, [up, up]).await;
        assert_eq!(sides().await, [(); 2].map(|()| (Value::Null, Value::Null)), "{kind}");
    }
}
