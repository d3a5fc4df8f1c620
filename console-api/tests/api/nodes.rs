//! What is asked of every node: connection tests and connected processes. Two of the three nodes do not run here.

use serde_json::json;

use crate::support::{App, DATABASE_PASSWORD, stable};

#[tokio::test]
async fn every_node_reports_and_the_silent_ones_are_named() {
    let app = App::start().await;
    let path = "/instances/default/monitors/test-connection";
    let body = json!({"user": "probe", "password": DATABASE_PASSWORD, "monitoring_database": "orders",
        "addresses": ["10.0.0.1:3306", "10.0.0.2:1"]});
    let answer = app.root("POST", path, &body.to_string()).await;
    assert_eq!(answer.line(), "200 -", "{}", answer.body);
    insta::assert_snapshot!(format!("{:#}", stable(&answer.body)));
    for (field, value) in [
        ("user", json!("a\u{0}")),
        ("user", json!("")),
        ("monitoring_database", json!("\u{1b}[2J")),
    ] {
        let mut bad = body.clone();
        bad[field] = value;
        let answer = app.root("POST", path, &bad.to_string()).await;
        assert_eq!(answer.line(), format!("422 invalid-spec [/{field} invalid-characters]"));
    }
}

#[tokio::test]
async fn processes_are_listed_per_application() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let path = format!("/instances/default/applications/{application}/processes");
    let answer = app.root("GET", &path, "").await;
    assert_eq!(answer.line(), "200 -", "{}", answer.body);
    assert_eq!(answer.body["connected"], 1);
    assert_eq!(answer.body["quota"], 400);
    assert_eq!(answer.body["silent_nodes"], json!([2, 3]));
    assert_eq!(answer.body["items"][0]["node"], 1);
    assert_eq!(answer.body["items"][0]["since"], "2023-11-14T22:13:20.000Z");
    let nowhere = "/instances/default/applications/0123456789abcdef0123456789abcdef/processes";
    assert_eq!(app.root("GET", nowhere, "").await.line(), "404 not-found");
}
