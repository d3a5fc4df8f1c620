//! Monitors: bodies, live state, pool, SDK configuration, connection test.

use quorate_machine::{FindingClass, Id, Vote};
use serde_json::{Value, json};

use crate::support::{App, DATABASE_PASSWORD, Transcript, monitor_body, pool_body, stable};

const PATH: &str = "/instances/default/monitors";

/// The body with one field set, by pointer.
fn with(mut body: Value, pointer: &str, value: Value) -> String {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let object = body
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("a parent");
    if value.is_null() {
        object.remove(name);
    } else {
        object.insert(name.to_owned(), value);
    }
    body.to_string()
}

#[tokio::test]
async fn bad_monitors_are_refused_field_by_field() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let mut transcript = Transcript::default();
    transcript.name(&application, "shop");
    let cases = [
        ("/mysql/password", Value::Null),
        ("/mysql/password", json!("")),
        ("/mysql/user", Value::Null),
        ("/mysql/dc1/address", json!("no port")),
        ("/mysql/dc2/address", json!("10.0.0.1:3306")),
        ("/mysql/dc2/adress", json!("10.0.0.9:3306")),
        ("/mysql/dc1/replicas", json!(["10.0.0.9"])),
        ("/timing/retry_interval_ms", json!(10)),
        ("/timing/retry_interval_ms", json!(-1)),
        ("/timing/monitor_timeout_ms", json!("long")),
        ("/timing/access_timeout_ms", json!(99_999_999_999_u64)),
        ("/fence_policy", json!("maybe")),
        ("/fence_policy", json!("require")),
        ("/application", json!("0123456789abcdef0123456789abcdef")),
        ("/application", json!(7)),
        ("/name", json!("with space")),
        ("/probing", json!("yes")),
        ("/mysql", Value::Null),
        ("/connection_pool", json!({"database": "a"})),
    ];
    for (pointer, value) in cases {
        let what = format!("{pointer} = {value}");
        let body = with(monitor_body(&application, "orders"), pointer, value);
        transcript.step(&what, &app.root("POST", PATH, &body).await);
    }
    let mut pool = pool_body();
    pool["dc2"]["source"]["address"] = json!("10.0.0.1:3306");
    let body = with(monitor_body(&application, "orders"), "/connection_pool", pool);
    transcript.step("pool with the same address twice", &app.root("POST", PATH, &body).await);
    let listed = app.root("GET", PATH, "").await;
    assert_eq!(listed.body, json!({"items": []}), "nothing was created");
    insta::assert_snapshot!(transcript.finish());
}

#[tokio::test]
async fn life_of_a_monitor() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let mut transcript = Transcript::default();
    let created = app
        .root("POST", PATH, &monitor_body(&application, "").to_string())
        .await;
    transcript.step("create", &created);
    let id = created.text("/id");
    transcript.name(&id, "monitor");
    let path = format!("{PATH}/{id}");
    let read = app.root("GET", &path, "").await;
    let name = read.text("/name");
    assert!(name.starts_with("mysql-") && name.len() == 16, "{name}");
    transcript.step(
        "SDK configuration without pool",
        &app.root("GET", &format!("{path}/sdk-configuration"), "").await,
    );
    transcript.step(
        "pool",
        &app.edit("PUT", &format!("{path}/connection-pool"), 1, &pool_body().to_string())
            .await,
    );
    transcript.step(
        "pool again",
        &app.edit("PUT", &format!("{path}/connection-pool"), 1, &pool_body().to_string())
            .await,
    );
    let sealed = app.handle.read(|state| {
        let monitor = state.monitor(&Id::parse(&id).expect("an id")).expect("created").clone();
        let secrets = monitor.spec.kind.expect("a kind").secrets();
        let (_, password) = secrets.into_iter().next().expect("a secret");
        password.expect("a password").bytes
    });
    let sealed = String::from_utf8_lossy(&sealed).into_owned();
    assert!(
        sealed.starts_with(&format!("{id}/password/1/")) && !sealed.contains(DATABASE_PASSWORD),
        "{sealed}"
    );
    let mut edit = monitor_body(&application, "");
    edit.as_object_mut()
        .expect("an object")
        .retain(|field, _| field != "application" && field != "name");
    edit["mysql"].as_object_mut().expect("an object").remove("password");
    edit["probing"] = json!(false);
    transcript.step("edit", &app.edit("PUT", &path, 2, &edit.to_string()).await);
    edit["name"] = json!("other");
    transcript.step("edit of the name", &app.edit("PUT", &path, 3, &edit.to_string()).await);
    let edited = app.root("GET", &path, "").await;
    assert_eq!(edited.body["probing"], false);
    assert_eq!(
        edited.body["mysql"]["password_set"], true,
        "an edit without password keeps it"
    );
    transcript.step(
        "filter by kind",
        &app.root("GET", &format!("{PATH}?kind=mysql"), "").await,
    );
    transcript.step(
        "unknown filter",
        &app.root("GET", &format!("{PATH}?color=red"), "").await,
    );
    transcript.step("bad id", &app.root("GET", &format!("{PATH}/xyz"), "").await);
    transcript.step("delete", &app.edit("DELETE", &path, 3, "").await);
    transcript.step("read after deletion", &app.root("GET", &path, "").await);
    insta::assert_snapshot!(transcript.finish());
}

#[tokio::test]
async fn live_state_and_sdk_configuration() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let id = app.monitor(&application, "orders").await;
    let path = format!("{PATH}/{id}");
    let up = (Vote::UpSteady, FindingClass::Ok, "");
    app.vote(&id, 1, 1, [up, up]).await;
    app.vote(
        &id,
        1,
        2,
        [
            (Vote::Down, FindingClass::Refused, "Connection refused (os error 111)"),
            up,
        ],
    )
    .await;
    let read = app.root("GET", &path, "").await;
    insta::assert_snapshot!("monitor_view", format!("{:#}", stable(&read.body)));
    let sdk = app.root("GET", &format!("{path}/sdk-configuration"), "").await;
    let yaml = sdk
        .text("/go_yaml")
        .replace(&id, "<monitor>")
        .replace(&application, "<application>");
    insta::assert_snapshot!(
        "sdk_configuration",
        format!("{yaml}\n{:#}", stable(&sdk.body["properties"]))
    );
    assert_eq!(sdk.body["warnings"], json!([]));
    let healthy = app.root("GET", &format!("{PATH}?state=healthy"), "").await;
    assert_eq!(healthy.body["items"].as_array().map(Vec::len), Some(1));
    let abnormal = app.root("GET", &format!("{PATH}?state=unconfigured"), "").await;
    assert_eq!(abnormal.body["items"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn connection_tests_report_each_address() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let id = app.monitor(&application, "orders").await;
    let mut transcript = Transcript::default();
    let path = format!("{PATH}/test-connection");
    let body = json!({"user": "probe", "password": DATABASE_PASSWORD, "monitoring_database": "orders",
        "addresses": ["10.0.0.1:3306", "10.0.0.2:1"]});
    let tested = app.root("POST", &path, &body.to_string()).await;
    transcript.step("test", &tested);
    for (pointer, value) in [
        ("/addresses", json!([])),
        ("/addresses", json!(["10.0.0.1:0"])),
        ("/addresses", json!(vec!["10.0.0.1:1"; 33])),
        ("/access_timeout_ms", json!(5)),
        ("/password", Value::Null),
    ] {
        let what = format!(
            "{pointer} = {}",
            if value.to_string().len() < 40 {
                value.to_string()
            } else {
                "…".to_owned()
            }
        );
        transcript.step(
            &what,
            &app.root("POST", &path, &with(body.clone(), pointer, value)).await,
        );
    }
    let mut elsewhere = monitor_body(&application, "refusing");
    elsewhere["mysql"]["dc2"]["address"] = json!("10.0.0.2:1");
    let refusing = app.root("POST", PATH, &elsewhere.to_string()).await;
    assert_eq!(refusing.line(), "201 -");
    let mut stored = body.clone();
    stored.as_object_mut().expect("an object").remove("password");
    stored["monitor"] = json!(refusing.text("/id"));
    let with_stored = app.root("POST", &path, &stored.to_string()).await;
    transcript.step("with the stored password", &with_stored);
    assert!(
        with_stored
            .text("/nodes/0/addresses/1/text")
            .contains("stored password: true")
    );
    stored["monitor"] = json!(id);
    transcript.step(
        "with the stored password at another server",
        &app.root("POST", &path, &stored.to_string()).await,
    );
    insta::assert_snapshot!(transcript.finish());
}

/// A monitor is saved once every node has reached every address (C6). Only one of the three nodes runs here.
#[tokio::test]
async fn a_failed_connection_test_keeps_a_monitor_from_being_saved() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let tested = |name: &str, dc2: &str| {
        let mut body = monitor_body(&application, name);
        body["mysql"]["dc2"]["address"] = json!(dc2);
        body.as_object_mut().expect("an object").remove("connection_test");
        body
    };
    let create = async |body: Value| app.root("POST", PATH, &body.to_string()).await;
    let silent = create(tested("orders", "10.0.0.2:1")).await;
    let refused = "[/mysql/dc2/address refused]";
    assert_eq!(
        silent.line(),
        format!("409 connection-test-failed {refused} [ no-report] [ no-report]")
    );
    for node in [2, 3] {
        app.remove_node(node).await;
    }
    let failed = create(tested("orders", "10.0.0.2:1")).await;
    assert_eq!(failed.line(), format!("409 connection-test-failed {refused}"));
    let told = failed.text("/errors/0/detail");
    assert!(
        told.contains("10.0.0.2:1") && told.contains("at tcp: Connection refused"),
        "{told}"
    );
    // What is wrong anyway is told before the test.
    let mut invalid = tested("orders", "10.0.0.2:1");
    invalid["mysql"]["dc1"]["address"] = json!("no port");
    let invalid = create(invalid).await.line();
    assert_eq!(invalid, "422 invalid-spec [/mysql/dc1/address invalid-address]");
    let created = create(tested("orders", "10.0.0.2:3306")).await;
    assert_eq!(created.line(), "201 -");
    let path = format!("{PATH}/{}", created.text("/id"));
    let again = create(tested("orders", "10.0.0.3:1")).await.line();
    assert_eq!(again, "409 duplicate-name");

    let edit = |dc2: &str| {
        let mut body = tested("", dc2);
        let fields = body.as_object_mut().expect("an object");
        fields.retain(|field, _| field != "application" && field != "name");
        body["mysql"].as_object_mut().expect("an object").remove("password");
        body
    };
    let save = async |generation: u64, body: &Value| app.edit("PUT", &path, generation, &body.to_string()).await.line();
    let mut same = edit("10.0.0.2:3306");
    same["probing"] = json!(false);
    assert_eq!(save(1, &same).await, "200 -", "nothing that is dialled changes");
    let mut moved = edit("10.0.0.2:1");
    let again = "422 secret-needed-again [/mysql/password needed-again]";
    assert_eq!(
        save(2, &moved).await,
        again,
        "the stored password is tried nowhere else"
    );
    moved["connection_test"] = json!({"override": true, "reason": "dc2 is being built"});
    assert_eq!(
        save(2, &moved).await,
        again,
        "and an override does not send it there either"
    );
    moved.as_object_mut().expect("an object").remove("connection_test");
    moved["mysql"]["tls"] = json!({"mode": "unverified"});
    moved["mysql"]["dc2"]["address"] = json!("10.0.0.2:3306");
    assert_eq!(save(2, &moved).await, again, "nor with another encryption");
    let mut moved = edit("10.0.0.2:1");
    moved["mysql"]["password"] = json!(DATABASE_PASSWORD);
    assert_eq!(save(2, &moved).await, format!("409 connection-test-failed {refused}"));
    moved["connection_test"] = json!({"override": true});
    assert_eq!(save(2, &moved).await, "422 test-override-reason-required");
    moved["connection_test"] = json!({"override": true, "reason": "dc2 is being built"});
    assert_eq!(save(2, &moved).await, "200 -");
    let mut password = edit("10.0.0.2:1");
    password["mysql"]["password"] = json!(DATABASE_PASSWORD);
    assert_eq!(
        save(3, &password).await,
        format!("409 connection-test-failed {refused}")
    );

    let audit = app.root("GET", "/audit", "").await;
    let records = audit.body["items"].as_array().expect("records");
    let of_code = |code: &str| records.iter().filter(|record| record["code"] == code).count();
    assert_eq!(of_code("override-connection-test"), 1, "{records:#?}");
    assert!(audit.body.to_string().contains("dc2 is being built"));
}
