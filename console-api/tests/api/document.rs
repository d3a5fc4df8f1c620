//! The OpenAPI document and what every route has in common.

use quorate_console_api::document;
use serde_json::Value;

use crate::support::App;

/// Method and path of every operation.
fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(document()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut found = Vec::new();
    for (path, item) in &paths {
        let methods = item.as_object().expect("operations").keys();
        for method in methods.filter(|method| *method != "parameters") {
            found.push((method.to_uppercase(), path.clone()));
        }
    }
    found
}

#[test]
fn routes() {
    let lines: Vec<String> = operations()
        .iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn schemas() {
    let document = serde_json::to_value(document()).expect("JSON");
    let schemas = document["components"]["schemas"].as_object().expect("schemas").clone();
    let describe = |(name, schema): (&String, &Value)| {
        let fields = schema["properties"]
            .as_object()
            .map(|fields| fields.keys().cloned().collect::<Vec<_>>());
        format!("{name}: {}", fields.unwrap_or_default().join(" "))
    };
    let lines: Vec<String> = schemas.iter().map(describe).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// Handlers and document come from the same declarations; this finds a handler that is declared and mounted nowhere. That
/// every operation of the document is mounted is seen by asking each of them below.
#[test]
fn every_declared_handler_is_in_the_document() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let routes = std::fs::read_dir(sources.join("routes")).expect("the routes");
    let files = routes
        .map(|entry| entry.expect("a file").path())
        .chain([sources.join("openapi.rs")]);
    let declared: usize = files
        .map(|file| std::fs::read_to_string(file).expect("a source"))
        .map(|source| {
            source
                .lines()
                .filter(|line| line.starts_with("#[utoipa::path("))
                .count()
        })
        .sum();
    assert_eq!(operations().len(), declared);
    let openapi = std::fs::read_to_string(sources.join("openapi.rs")).expect("a source");
    assert!(
        !openapi.contains(".route("),
        "a route that is mounted by hand is in no document"
    );
}

#[tokio::test]
async fn every_route_but_login_needs_a_caller() {
    let app = App::start().await;
    let id = "0123456789abcdef0123456789abcdef";
    for (method, path) in operations() {
        if path.ends_with("/login") {
            continue;
        }
        let uri = path
            .replace("{instance}", "default")
            .replace("{application}", id)
            .replace("{monitor}", id)
            .replace("{token}", id)
            .replace("{user}", "root")
            .replace("{kind}", "mysql");
        for credential in ["", "qt1.unknown", "qs1.forged.tag", "rubbish"] {
            let answer = app.call(&method, &uri, credential, &[], "").await;
            assert_eq!(
                answer.line(),
                "401 unauthenticated",
                "{method} {uri} with {credential:?}"
            );
        }
        let answer = app.call("PATCH", &uri, &app.root, &[], "").await;
        assert_eq!(answer.line(), "405 method-not-allowed", "PATCH {uri}");
    }
}

#[tokio::test]
async fn bodies_are_checked_the_same_way_everywhere() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let monitor = app.monitor(&application, "orders").await;
    let document = serde_json::to_value(document()).expect("JSON");
    for (method, path) in operations() {
        if document["paths"][&path][method.to_lowercase()]
            .get("requestBody")
            .is_none()
        {
            continue;
        }
        let uri = path
            .replace("{instance}", "default")
            .replace("{application}", &application)
            .replace("{monitor}", &monitor)
            .replace("{user}", "root")
            .replace("{kind}", "mysql");
        let send = async |headers: &[(&str, &str)], body: &str| {
            let mut headers = headers.to_vec();
            headers.push(("if-match", "\"1\""));
            app.call(&method, &uri, &app.root, &headers, body).await.line()
        };
        assert_eq!(
            send(&[], r#"{"no_such_field":1}"#).await,
            "422 invalid-spec [/no_such_field unknown-field]",
            "{uri}"
        );
        assert_eq!(send(&[], "[1]").await.split(' ').next(), Some("422"), "{method} {uri}");
        assert_eq!(send(&[], "{").await, "400 bad-json", "{method} {uri}");
        assert_eq!(
            send(&[("content-type", "text/plain")], "{}").await,
            "415 unsupported-media-type",
            "{method} {uri}"
        );
        let large = format!("{{\"x\":\"{}\"}}", "x".repeat(256 * 1024));
        assert_eq!(send(&[], &large).await, "413 body-too-large", "{method} {uri}");
    }
}

#[tokio::test]
async fn unknown_routes_and_security_headers() {
    let app = App::start().await;
    let answer = app.root("GET", "/no-such-route", "").await;
    assert_eq!(answer.line(), "404 unknown-route");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let answer = app.root("GET", "/openapi.json", "").await;
    assert_eq!(answer.body["info"]["title"], "Quorate");
}
