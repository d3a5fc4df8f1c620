//! Events, audit records and streams.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::support::{App, Transcript, stable};

/// Longest wait for a frame of a stream.
const FRAME_DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn audit_pages_hang_together() {
    let app = App::start().await;
    for n in 0..5 {
        app.application(&format!("app-{n}")).await;
    }
    app.root("POST", "/instances/default/applications", r#"{"name":"app-0"}"#)
        .await;
    let mut seen = Vec::new();
    let mut path = "/audit?limit=2&actor=user:root".to_owned();
    loop {
        let page = app.root("GET", &path, "").await;
        assert_eq!(page.line(), "200 -", "{}", page.body);
        for item in page.body["items"].as_array().expect("items") {
            let refused = item["refused"].as_str().unwrap_or("-");
            seen.push(format!("{} {refused}", item["code"].as_str().expect("a code")));
        }
        match page.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/audit?limit=2&actor=user:root&cursor={cursor}"),
            None => break,
        }
    }
    insta::assert_snapshot!(seen.join("\n"));
    let last = app.root("GET", "/audit?limit=1", "").await;
    assert_eq!(last.body["items"][0]["source"], "192.0.2.7");
    insta::assert_snapshot!("audit_view", format!("{:#}", stable(&last.body["items"])));
}

#[tokio::test]
async fn pages_are_bounded() {
    let app = App::start().await;
    let mut transcript = Transcript::default();
    for path in [
        "/events?limit=0",
        "/events?limit=501",
        "/events?cursor=x",
        "/audit?since=yesterday",
        "/audit?level=major",
        "/events?limit=500&since=2026-01-01T00:00:00Z",
    ] {
        transcript.step(path, &app.root("GET", path, "").await);
    }
    insta::assert_snapshot!(transcript.finish());
    let events = app.root("GET", "/events?code=cluster-bootstrapped", "").await;
    insta::assert_snapshot!("event_view", format!("{:#}", stable(&events.body)));
}

/// Opens a stream and gives its body.
async fn open(app: &App, path: &str, last_event_id: Option<u64>) -> Body {
    let mut request = Request::builder()
        .uri(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {}", app.root));
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let response = app
        .router
        .clone()
        .oneshot(request.body(Body::empty()).expect("a request"))
        .await
        .expect("infallible");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body()
}

/// The next piece of a stream that is no comment; `None` at its end.
async fn frame(body: &mut Body) -> Option<String> {
    loop {
        let frame = tokio::time::timeout(FRAME_DEADLINE, body.frame())
            .await
            .expect("a frame in time")?;
        let text = String::from_utf8(frame.expect("no error").into_data().expect("data").to_vec()).expect("UTF-8");
        if !text.starts_with(':') {
            return Some(text);
        }
    }
}

#[tokio::test]
async fn events_resume_after_the_last_one_seen() {
    let app = App::start().await;
    let mut all = open(&app, "/events/stream?after=0", None).await;
    let first = frame(&mut all).await.expect("an event");
    assert!(first.contains("id: 1\n") && first.contains("event: event\n"), "{first}");
    let second = frame(&mut all).await.expect("an event");
    assert!(second.contains("id: 2\n"), "{second}");
    assert!(format!("{first}{second}").contains("cluster-bootstrapped"));
    let mut resumed = open(&app, "/events/stream?after=0", Some(1)).await;
    assert_eq!(frame(&mut resumed).await, Some(second));
    let mut beyond = open(&app, "/events/stream", Some(u64::MAX)).await;
    app.context.end_streams();
    assert_eq!(
        frame(&mut beyond).await,
        None,
        "nothing comes after the greatest number"
    );
    while frame(&mut all).await.is_some() {}
}

#[tokio::test]
async fn monitors_are_followed_live() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let mut stream = open(&app, "/instances/default/monitors/stream", None).await;
    let id = app.monitor(&application, "orders").await;
    let created = frame(&mut stream).await.expect("a change");
    assert!(
        created.contains("event: monitor\n") && created.contains(&id),
        "{created}"
    );
    let deleted = app
        .edit("DELETE", &format!("/instances/default/monitors/{id}"), 1, "")
        .await;
    assert_eq!(deleted.line(), "204 -");
    let gone = frame(&mut stream).await.expect("a change");
    assert!(
        gone.contains("event: monitor-deleted\n") && gone.contains(&id),
        "{gone}"
    );
    let changed = app
        .root("PUT", "/users/root/password", r#"{"password":"a-new-password"}"#)
        .await;
    assert_eq!(changed.line(), "204 -");
    assert_eq!(frame(&mut stream).await, None, "a stream ends with its session");
}
