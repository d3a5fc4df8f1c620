//! Login, users and tokens.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use quorate_console_api::behind_login;
use serde_json::json;
use tower::ServiceExt;

use crate::support::{App, ROOT_PASSWORD, Transcript, stable};

#[tokio::test]
async fn login_tells_nothing_apart_and_is_limited() {
    let app = App::start().await;
    let mut transcript = Transcript::default();
    let login = async |user: &str, password: &str| {
        let body = json!({"user": user, "password": password}).to_string();
        app.call("POST", "/api/v1/login", "", &[], &body).await
    };
    transcript.step("wrong password", &login("root", "wrong").await);
    transcript.step("unknown user", &login("nobody", "wrong").await);
    transcript.step("very long password", &login("root", &"x".repeat(600)).await);
    transcript.step("right password", &login("root", ROOT_PASSWORD).await);
    let mut limited = login("guest", "wrong").await;
    for _ in 0..40 {
        if limited.status == 429 {
            break;
        }
        limited = login("guest", "wrong").await;
    }
    transcript.step("many attempts for one user", &limited);
    assert!(limited.headers.contains_key("retry-after"));
    insta::assert_snapshot!(transcript.finish());
}

#[tokio::test]
async fn pages_behind_the_login_need_a_session_or_a_token() {
    let app = App::start().await;
    let body = json!({"name": "scraper", "role": "viewer", "expires_in_seconds": 3600}).to_string();
    let created = app.root("POST", "/tokens", &body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let pages = Router::new().route("/numbers", get(|| async { "42" }));
    let routes = app.router.clone().merge(behind_login(&app.context, pages));
    let ask = async |path: &str, credential: &str| {
        let mut request = Request::builder().uri(path);
        if !credential.is_empty() {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        let request = request.body(Body::empty()).expect("a request");
        routes.clone().oneshot(request).await.expect("infallible")
    };
    let refused = ask("/numbers", "").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let token = created.text("/token");
    let credentials: [(&str, u16); 3] = [("nonsense", 401), (&app.root, 200), (&token, 200)];
    for (credential, status) in credentials {
        let answer = ask("/numbers", credential).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["cache-control"], "no-store");
    }
    assert_eq!(ask("/elsewhere", "").await.status(), 404);
}

#[tokio::test]
async fn users_and_roles() {
    let app = App::start().await;
    let mut transcript = Transcript::default();
    let user =
        |name: &str, role: &str, password: &str| json!({"name": name, "role": role, "password": password}).to_string();
    transcript.step(
        "create",
        &app.root("POST", "/users", &user("ada", "operator", "ada-password"))
            .await,
    );
    transcript.step(
        "twice",
        &app.root("POST", "/users", &user("ada", "operator", "ada-password"))
            .await,
    );
    transcript.step(
        "short password",
        &app.root("POST", "/users", &user("bob", "viewer", "short")).await,
    );
    transcript.step(
        "a second root",
        &app.root("POST", "/users", &user("bob", "root", "bob-password")).await,
    );
    transcript.step(
        "unknown role",
        &app.root("POST", "/users", &user("bob", "king", "bob-password")).await,
    );
    let ada = app.login("ada", "ada-password").await;
    let as_ada =
        async |method: &str, path: &str, body: &str| app.call(method, &format!("/api/v1{path}"), &ada, &[], body).await;
    transcript.step(
        "ada creates a user",
        &as_ada("POST", "/users", &user("eve", "viewer", "eve-password")).await,
    );
    transcript.step("ada lists users", &as_ada("GET", "/users", "").await);
    transcript.step(
        "ada sets quotas",
        &as_ada("PUT", "/quotas", r#"{"monitors_per_instance":7}"#).await,
    );
    let of_root = app.application("of-root").await;
    transcript.name(&of_root, "of-root");
    let path = format!("/instances/default/applications/{of_root}");
    transcript.step("ada reads root's application", &as_ada("GET", &path, "").await);
    let own = as_ada("POST", "/instances/default/applications", r#"{"name":"of-ada"}"#).await;
    transcript.step("ada creates an application", &own);
    let listed = as_ada("GET", "/instances/default/applications", "").await;
    assert_eq!(
        listed.body["items"].as_array().map(Vec::len),
        Some(1),
        "{}",
        listed.body
    );
    transcript.step(
        "ada changes her password",
        &as_ada("PUT", "/users/ada/password", r#"{"password":"another-one"}"#).await,
    );
    transcript.step("ada's old session", &as_ada("GET", "/me", "").await);
    insta::assert_snapshot!(transcript.finish());
}

#[tokio::test]
async fn tokens_are_shown_once_and_can_be_revoked() {
    let app = App::start().await;
    let mut transcript = Transcript::default();
    let body = json!({"name": "ci", "role": "viewer", "expires_in_seconds": 3600}).to_string();
    let created = app.root("POST", "/tokens", &body).await;
    transcript.step("create", &created);
    let (id, token) = (created.text("/id"), created.text("/token"));
    let with_token = async |method: &str, path: &str, body: &str| {
        app.call(method, &format!("/api/v1{path}"), &token, &[], body).await
    };
    let me = with_token("GET", "/me", "").await;
    transcript.step("use", &me);
    transcript.step(
        "a viewer's token creates",
        &with_token("POST", "/instances/default/applications", r#"{"name":"x"}"#).await,
    );
    let listed = app.root("GET", "/tokens", "").await;
    assert!(!listed.body.to_string().contains(&token));
    transcript.step("revoke", &app.root("DELETE", &format!("/tokens/{id}"), "").await);
    transcript.step("use after revoking", &with_token("GET", "/me", "").await);
    transcript.step("revoke again", &app.root("DELETE", &format!("/tokens/{id}"), "").await);
    let forever = json!({"name": "ci", "role": "viewer", "expires_in_seconds": 1e9 as i64}).to_string();
    transcript.step("too long a life", &app.root("POST", "/tokens", &forever).await);
    insta::assert_snapshot!(transcript.finish());
    insta::assert_snapshot!(
        "token_views",
        format!("{:#}\n{:#}", stable(&me.body), stable(&listed.body))
    );
}

#[tokio::test]
async fn settings_and_registry() {
    let app = App::start().await;
    let mut transcript = Transcript::default();
    let settings = json!({"retry_interval_ms": 3000, "monitor_timeout_ms": 10000, "access_timeout_ms": 3000, "health_precision": 2});
    let path = "/instances/default/kind-settings/mysql";
    transcript.step("set", &app.root("PUT", path, &settings.to_string()).await);
    let mut bad = settings.clone();
    bad["health_precision"] = json!(3);
    transcript.step("precision 3", &app.root("PUT", path, &bad.to_string()).await);
    bad["health_precision"] = json!(-1);
    transcript.step("precision -1", &app.root("PUT", path, &bad.to_string()).await);
    transcript.step(
        "unknown kind",
        &app.root("PUT", "/instances/default/kind-settings/cobol", &settings.to_string())
            .await,
    );
    transcript.step(
        "unknown instance",
        &app.root("GET", "/instances/nope/kind-settings", "").await,
    );
    transcript.step(
        "quotas",
        &app.root("PUT", "/quotas", r#"{"monitors_per_instance":2}"#).await,
    );
    insta::assert_snapshot!(transcript.finish());
    let mut views = String::new();
    for path in [
        "/modules",
        "/namespaces",
        "/instances",
        "/instances/default",
        "/instances/default/connection",
        "/quotas",
        "/instances/default/kind-settings",
    ] {
        let answer = app.root("GET", path, "").await;
        views.push_str(&format!("{path} {:#}\n", stable(&answer.body)));
    }
    insta::assert_snapshot!("registry_views", views);
    let cluster = app.root("GET", "/cluster", "").await;
    assert_eq!(
        cluster.body["nodes"].as_array().map(Vec::len),
        Some(3),
        "{}",
        cluster.body
    );
    assert_eq!(cluster.body["serving"], true);
}

#[tokio::test]
async fn the_quota_of_a_keyspace_has_bounds_and_is_audited() {
    let app = App::start().await;
    let path = "/instances/default/quota";
    let read = app.root("GET", path, "").await;
    assert_eq!(read.body["quota_bytes"], 2_u64 << 30, "{}", read.body);
    assert_eq!(read.body["full"], false, "{}", read.body);
    let mut transcript = Transcript::default();
    let set = async |bytes: &str| app.root("PUT", path, &format!(r#"{{"quota_bytes":{bytes}}}"#)).await;
    for bytes in [
        "1048575",
        "1048576",
        "4294967296",
        "8589934592",
        "8589934593",
        "-1",
        "0.5",
        "\"1\"",
    ] {
        transcript.step(bytes, &set(bytes).await);
    }
    transcript.step("nothing", &app.root("PUT", path, "{}").await);
    transcript.step(
        "unknown instance",
        &app.root("PUT", "/instances/nope/quota", r#"{"quota_bytes":1048576}"#)
            .await,
    );
    let user = json!({"name": "ada", "role": "operator", "password": "ada-password"}).to_string();
    app.root("POST", "/users", &user).await;
    let ada = app.login("ada", "ada-password").await;
    let body = r#"{"quota_bytes":1048576}"#;
    let refused = app.call("PUT", &format!("/api/v1{path}"), &ada, &[], body).await;
    transcript.step("an operator", &refused);
    insta::assert_snapshot!(transcript.finish());
    let read = app.root("GET", path, "").await;
    assert_eq!(read.body["quota_bytes"], 8_u64 << 30, "{}", read.body);
    let audit = app.root("GET", "/audit?limit=100", "").await.body.to_string();
    assert_eq!(audit.matches("\"set-keyspace-quota\"").count(), 6, "{audit}");
    assert_eq!(audit.matches("\"refused\"").count(), 3, "{audit}");
}

#[tokio::test]
async fn a_token_sets_no_password() {
    let app = App::start().await;
    let body = json!({"name": "ci", "role": "root", "expires_in_seconds": 3600}).to_string();
    let token = app.root("POST", "/tokens", &body).await.text("/token");
    let user = json!({"name": "ada", "role": "operator", "password": "ada-password"}).to_string();
    let refused = app.call("POST", "/api/v1/users", &token, &[], &user).await;
    assert_eq!(refused.line(), "403 permission-denied", "a user comes with a password");
    app.root("POST", "/users", &user).await;
    for user in ["root", "ada"] {
        let path = format!("/api/v1/users/{user}/password");
        let refused = app
            .call("PUT", &path, &token, &[], r#"{"password":"another-one"}"#)
            .await;
        assert_eq!(refused.line(), "403 permission-denied", "{user}");
    }
    app.login("ada", "ada-password").await;
}

#[tokio::test]
async fn no_request_fills_the_audit_log() {
    let app = App::start().await;
    let body = json!({"user": "a".repeat(200_000), "password": "12345678"}).to_string();
    let refused = app.root("PUT", "/instances/default/kv-password", &body).await;
    assert!(refused.line().starts_with('4'), "{}", refused.line());
    let audit = app.root("GET", "/audit?limit=10", "").await.body.to_string();
    assert!(audit.len() < 20_000, "{} bytes", audit.len());
}

#[tokio::test]
async fn new_passwords_keep_nobody_from_logging_in() {
    let app = App::start().await;
    let user = json!({"name": "eve", "role": "viewer", "password": "eve-password"}).to_string();
    app.root("POST", "/users", &user).await;
    let eve = app.login("eve", "eve-password").await;
    let flood = (0..200).map(|_| {
        app.call(
            "PUT",
            "/api/v1/users/root/password",
            &eve,
            &[],
            r#"{"password":"aaaaaaaa"}"#,
        )
    });
    let flood = futures_util::future::join_all(flood);
    let (refused, _session) = tokio::join!(flood, app.login("root", crate::support::ROOT_PASSWORD));
    let busy = refused.iter().filter(|answer| answer.line() == "503 busy").count();
    let denied = refused
        .iter()
        .filter(|answer| answer.line() == "403 permission-denied")
        .count();
    assert_eq!(busy + denied, refused.len());
    assert!(busy > 0 && denied > 0, "{busy} busy, {denied} denied");
}

#[tokio::test]
async fn a_login_takes_a_small_body() {
    let app = App::start().await;
    let body = json!({"user": "root", "password": "x".repeat(8_000)}).to_string();
    let refused = app.call("POST", "/api/v1/login", "", &[], &body).await;
    assert_eq!(refused.line(), "413 body-too-large", "{}", refused.body);
    assert!(refused.body.to_string().contains("4096"), "{}", refused.body);
}

#[tokio::test]
async fn a_token_of_one_application_reads_no_record_of_another() {
    let app = App::start().await;
    let (shop, other) = (app.application("shop").await, app.application("other").await);
    let monitors = (app.monitor(&shop, "orders").await, app.monitor(&other, "stock").await);
    let body = json!({"name": "ci", "role": "operator", "applications": [shop], "expires_in_seconds": 3600});
    let token = app.root("POST", "/tokens", &body.to_string()).await.text("/token");
    let read = app.call("GET", "/api/v1/audit?limit=500", &token, &[], "").await;
    assert_eq!(read.line(), "200 -", "{}", read.body);
    let objects: Vec<&str> = read.body["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| item["object"].as_str())
        .collect();
    assert!(
        objects.contains(&shop.as_str()) && objects.contains(&monitors.0.as_str()),
        "{objects:?}"
    );
    assert!(
        objects.iter().all(|object| *object == shop || *object == monitors.0),
        "{objects:?}"
    );
    let all = app.root("GET", "/audit?limit=500", "").await.body["items"]
        .as_array()
        .map(Vec::len);
    assert!(all > Some(objects.len()), "{all:?}");
}
