//! How failures of the consensus layer look.

use quorate_console_api::Problem;
use quorate_raft::CallError;

use crate::support::App;

#[test]
fn call_errors() {
    let all = [
        CallError::NoLeader,
        CallError::TimedOut,
        CallError::TimedOutLeaderLost,
        CallError::TooManyRequests,
        CallError::Stopped,
        CallError::Remote("no".to_owned()),
    ];
    let lines = all.map(|error| {
        let problem = Problem::from(error);
        format!(
            "{} {} ({:?}): {}",
            problem.status, problem.code, problem.retry_after_seconds, problem.detail
        )
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn a_stopped_node_says_so_and_still_shows_the_cluster() {
    let app = App::start().await;
    app.handle.shutdown().await;
    let send = async |method: &str, path: &str, body: &str| {
        app.call_once(method, &format!("/api/v1{path}"), &app.root, &[], body)
            .await
    };
    let answer = send("GET", "/instances/default/applications", "").await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
    let answer = send("POST", "/instances/default/applications", r#"{"name":"x"}"#).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    let answer = send("GET", "/instances/default/applications?serializable=true", "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = send("GET", "/cluster", "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn before_the_bootstrap_nobody_is_told_that_a_password_is_wrong() {
    let app = App::start_empty().await;
    let login = app
        .call(
            "POST",
            "/api/v1/login",
            "",
            &[],
            r#"{"user":"root","password":"right or wrong"}"#,
        )
        .await;
    assert_eq!(login.line(), "503 not-bootstrapped");
    let with_token = app.call("GET", "/api/v1/me", "qt1.whatever", &[], "").await;
    assert_eq!(with_token.line(), "503 not-bootstrapped");
}
