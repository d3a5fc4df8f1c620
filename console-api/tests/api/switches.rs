//! Switches by hand: preview, refusal, force, batch, acknowledgement, read/write state.

use quorate_machine::{FindingClass, Vote};
use serde_json::json;

use crate::support::{App, Transcript, stable};

const PATH: &str = "/instances/default/monitors";
const UP: (Vote, FindingClass, &str) = (Vote::UpSteady, FindingClass::Ok, "");

#[tokio::test]
async fn a_monitor_is_switched_and_back() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let id = app.monitor(&application, "orders").await;
    let path = format!("{PATH}/{id}");
    let mut transcript = Transcript::default();
    transcript.name(&id, "monitor");
    let switch = format!("{path}/switch");
    transcript.step(
        "target never healthy",
        &app.root("POST", &switch, r#"{"to":"dc2"}"#).await,
    );
    transcript.step(
        "force without reason",
        &app.root("POST", &switch, r#"{"to":"dc2","force":true}"#).await,
    );
    app.vote(&id, 1, 1, [UP, UP]).await;
    let preview = app.root("POST", &switch, r#"{"to":"dc2","dry_run":true}"#).await;
    transcript.step("dry run", &preview);
    let there = app
        .root("POST", &switch, r#"{"to":"dc2","reason":"maintenance"}"#)
        .await;
    transcript.step("switch", &there);
    transcript.step("switch again", &app.root("POST", &switch, r#"{"to":"dc2"}"#).await);
    let again = app.root("POST", &switch, r#"{"to":"dc2","dry_run":true}"#).await;
    transcript.step("dry run of the same", &again);
    assert_eq!(again.body["allowed"], false);
    transcript.step("unknown side", &app.root("POST", &switch, r#"{"to":"dc3"}"#).await);
    transcript.step(
        "switch back",
        &app.root("POST", &switch, r#"{"to":"dc1","restore_readable":true}"#)
            .await,
    );
    transcript.step(
        "nothing to acknowledge",
        &app.root("POST", &format!("{path}/acknowledge"), "{}").await,
    );
    let read_write = r#"{"data_center":"dc2","readable":false,"writable":true}"#;
    transcript.step(
        "read/write state",
        &app.root("PUT", &format!("{path}/read-write"), read_write).await,
    );
    let read = app.root("GET", &path, "").await;
    assert_eq!((&read.body["active"], &read.body["epoch"]), (&json!("dc1"), &json!(2)));
    assert_eq!(read.body["dc2"]["readable"], false);
    insta::assert_snapshot!(transcript.finish());
    insta::assert_snapshot!(
        "switch_views",
        format!(
            "{:#}\n{:#}\n{:#}",
            stable(&preview.body),
            stable(&there.body),
            stable(&again.body)
        )
    );
}

#[tokio::test]
async fn a_batch_is_one_revision_or_nothing() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let (one, two) = (
        app.monitor(&application, "one").await,
        app.monitor(&application, "two").await,
    );
    let mut transcript = Transcript::default();
    let body = |monitors: &[&str]| json!({"to": "dc2", "monitors": monitors}).to_string();
    let path = format!("{PATH}/switch");
    app.vote(&one, 1, 1, [UP, UP]).await;
    transcript.step(
        "one of two healthy",
        &app.root("POST", &path, &body(&[&one, &two])).await,
    );
    let read = app.root("GET", &format!("{PATH}/{one}"), "").await;
    assert_eq!(read.body["active"], "dc1", "a refused batch changes nothing");
    app.vote(&two, 1, 2, [UP, UP]).await;
    transcript.step("none named", &app.root("POST", &path, &body(&[])).await);
    transcript.step("bad id", &app.root("POST", &path, &body(&[&one, "x"])).await);
    transcript.step(
        "unknown id",
        &app.root("POST", &path, &body(&["0123456789abcdef0123456789abcdef"]))
            .await,
    );
    transcript.step("same twice", &app.root("POST", &path, &body(&[&one, &one])).await);
    let of_application = format!("/instances/default/applications/{application}/switch");
    let switched = app.root("POST", &of_application, r#"{"to":"dc2"}"#).await;
    transcript.step("whole application", &switched);
    assert_eq!(switched.body["monitors"].as_array().map(Vec::len), Some(2));
    transcript.step(
        "whole application again",
        &app.root("POST", &of_application, r#"{"to":"dc2"}"#).await,
    );
    let empty = app.application("empty").await;
    let of_empty = format!("/instances/default/applications/{empty}/switch");
    transcript.step(
        "application without monitors",
        &app.root("POST", &of_empty, r#"{"to":"dc2"}"#).await,
    );
    insta::assert_snapshot!(transcript.finish());
}
