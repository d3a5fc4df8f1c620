//! Swagger UI, served from the binary.

use std::collections::BTreeSet;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::support::App;

#[tokio::test]
async fn the_page_and_its_files_come_from_here_alone() {
    let app = App::start_empty().await;
    let get = async |path: &str| {
        let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        let response = app.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        (parts, body.collect().await.expect("a body").to_bytes())
    };
    let (parts, page) = get("/api/docs").await;
    assert_eq!(
        (parts.status.as_u16(), &parts.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    let policy = parts.headers["content-security-policy"].to_str().expect("text");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
        "{policy}"
    );
    let page = String::from_utf8(page.to_vec()).expect("UTF-8");
    assert!(!page.contains("://"), "nothing from elsewhere: {page}");
    let linked: BTreeSet<&str> = page.split('"').filter(|text| text.starts_with("/api/docs/")).collect();
    assert_eq!(linked.len(), 3);
    for path in linked {
        let (parts, bytes) = get(path).await;
        assert_eq!(parts.status, 200, "{path}");
        assert_eq!(parts.headers["x-content-type-options"], "nosniff");
        let gzip = parts.headers.get("content-encoding").is_some();
        assert_eq!(gzip, bytes.starts_with(&[0x1f, 0x8b]), "{path} is what its headers say");
    }
    let (parts, _) = get("/api/docs/../../etc/passwd").await;
    assert_eq!(parts.status, 404);
    let (parts, _) = get("/api/docs/other.js").await;
    assert_eq!(
        (parts.status.as_u16(), &parts.headers["content-type"]),
        (404, &"application/problem+json".parse().unwrap())
    );
    let (parts, _) = get("/api/v1/openapi.json").await;
    assert_eq!(parts.status, 401, "the document itself needs a session");
}
