//! Applications: create, edit with ETags, delete.

use crate::support::{App, Transcript, stable};

const PATH: &str = "/instances/default/applications";

#[tokio::test]
async fn life_of_an_application() {
    let app = App::start().await;
    let mut transcript = Transcript::default();
    let created = app
        .root("POST", PATH, r#"{"name":"shop","description":"web shop"}"#)
        .await;
    transcript.step("create", &created);
    let id = created.text("/id");
    transcript.name(&id, "shop");
    let path = format!("{PATH}/{id}");
    assert!(created.headers["location"].to_str().expect("ASCII").ends_with(&id));
    let read = app.root("GET", &path, "").await;
    assert_eq!(read.headers["etag"], "\"1\"");
    transcript.step("read", &read);
    transcript.step(
        "read as it stands here",
        &app.root("GET", &format!("{path}?serializable=true"), "").await,
    );
    transcript.step(
        "unknown parameter",
        &app.root("GET", &format!("{path}?fast=true"), "").await,
    );
    transcript.step(
        "bad parameter",
        &app.root("GET", &format!("{path}?serializable=maybe"), "").await,
    );
    transcript.step("same name", &app.root("POST", PATH, r#"{"name":"shop"}"#).await);
    transcript.step("empty name", &app.root("POST", PATH, r#"{"name":""}"#).await);
    transcript.step("no name", &app.root("POST", PATH, "{}").await);
    transcript.step("wrong type", &app.root("POST", PATH, r#"{"name":7}"#).await);
    transcript.step(
        "other instance",
        &app.root("POST", "/instances/nope/applications", r#"{"name":"x"}"#)
            .await,
    );
    transcript.step(
        "edit without If-Match",
        &app.root("PUT", &path, r#"{"name":"store"}"#).await,
    );
    transcript.step("edit", &app.edit("PUT", &path, 1, r#"{"name":"store"}"#).await);
    transcript.step(
        "edit of the old generation",
        &app.edit("PUT", &path, 1, r#"{"name":"market"}"#).await,
    );
    let weak = app
        .call(
            "PUT",
            &format!("/api/v1{path}"),
            &app.root,
            &[("if-match", "W/\"1\"")],
            r#"{"name":"x"}"#,
        )
        .await;
    transcript.step("edit with a malformed ETag", &weak);
    transcript.step("delete of the old generation", &app.edit("DELETE", &path, 1, "").await);
    let monitor = app.monitor(&id, "orders").await;
    transcript.step("delete with monitors", &app.edit("DELETE", &path, 2, "").await);
    transcript.step(
        "delete the monitor",
        &app.edit("DELETE", &format!("/instances/default/monitors/{monitor}"), 1, "")
            .await,
    );
    transcript.step("delete", &app.edit("DELETE", &path, 2, "").await);
    transcript.step("read after deletion", &app.root("GET", &path, "").await);
    transcript.step(
        "edit after deletion",
        &app.edit("PUT", &path, 2, r#"{"name":"store"}"#).await,
    );
    insta::assert_snapshot!(transcript.finish());
    insta::assert_snapshot!("application_view", format!("{:#}", stable(&read.body)));
}

#[tokio::test]
async fn quotas_hold() {
    let app = App::start().await;
    let answer = app.root("PUT", "/quotas", r#"{"applications_per_instance":1}"#).await;
    assert_eq!(answer.line(), "204 -");
    app.application("one").await;
    let refused = app.root("POST", PATH, r#"{"name":"two"}"#).await;
    assert_eq!(refused.line(), "409 quota-exceeded");
    assert!(refused.text("/detail").contains("quota"), "{}", refused.body);
}
