//! Input that looks acceptable and is not, and limits that must not turn against their users.

use serde_json::{Value, json};

use crate::support::{App, ROOT_PASSWORD, monitor_body, pool_body};

const MONITORS: &str = "/instances/default/monitors";

#[tokio::test]
async fn an_array_is_no_object_however_deep() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let mut whole = monitor_body(&application, "orders");
    whole["connection_pool"] = pool_body();
    for pointer in [
        "/timing",
        "/mysql",
        "/mysql/dc1",
        "/connection_pool",
        "/connection_pool/dc1/source",
        "/connection_pool/dc1/replicas/0",
    ] {
        let mut body = whole.clone();
        *body.pointer_mut(pointer).expect("a field") = json!([]);
        let answer = app.root("POST", MONITORS, &body.to_string()).await;
        assert_eq!(answer.line(), format!("422 invalid-spec [{pointer} wrong-type]"));
    }
    let answer = app.root("POST", MONITORS, &whole.to_string()).await;
    assert_eq!(answer.line(), "201 -", "{}", answer.body);
}

#[tokio::test]
async fn nothing_unseen_gets_into_names_and_records() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let monitor = app.monitor(&application, "orders").await;
    for unseen in [
        "a\u{0}b",
        "a\nb",
        "a\u{202e}b",
        "a\u{61c}b",
        "a\u{200d}b",
        "a\u{e0041}b",
        "a\u{ad}b",
    ] {
        let mut whole = monitor_body(&application, "second");
        whole["connection_pool"] = pool_body();
        for (pointer, shown) in [
            ("/mysql/user", "/mysql/user"),
            ("/mysql/monitoring_database", "/mysql/monitoring_database"),
            ("/mysql/dc1/region", "/mysql/dc1/region"),
            ("/mysql/dc2/cloud", "/mysql/dc2/cloud"),
            (
                "/connection_pool/dc1/source/schema",
                "/connection_pool/dc1/source/schema",
            ),
        ] {
            let mut body = whole.clone();
            *body.pointer_mut(pointer).expect("a field") = json!(unseen);
            let answer = app.root("POST", MONITORS, &body.to_string()).await;
            assert!(
                answer.line().contains(&format!("[{shown} invalid-characters]")),
                "{unseen:?} {}",
                answer.body
            );
        }
        let switch = json!({"to": "dc2", "force": true, "reason": unseen}).to_string();
        let answer = app.root("POST", &format!("{MONITORS}/{monitor}/switch"), &switch).await;
        assert_eq!(
            answer.line(),
            "422 invalid-spec [/reason invalid-characters]",
            "{unseen:?}"
        );
        let comment = json!({"comment": unseen}).to_string();
        let answer = app
            .root("POST", &format!("{MONITORS}/{monitor}/acknowledge"), &comment)
            .await;
        assert_eq!(
            answer.line(),
            "422 invalid-spec [/comment invalid-characters]",
            "{unseen:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_is_not_resumed_from_rubbish() {
    let app = App::start().await;
    for bad in ["x", "-1", "1.5", "18446744073709551616", ""] {
        let headers = [("last-event-id", bad)];
        let answer = app.call("GET", "/api/v1/events/stream", &app.root, &headers, "").await;
        assert_eq!(answer.line(), "400 bad-last-event-id", "{bad:?}");
    }
}

#[tokio::test]
async fn nobody_locks_a_user_out_from_elsewhere() {
    let app = App::start().await;
    let login = async |source: [u8; 4], user: &str, password: &str| {
        let body = json!({"user": user, "password": password}).to_string();
        app.call_from(source, "POST", "/api/v1/login", "", &[], &body).await
    };
    let mut limited = 0;
    for _ in 0..40 {
        let answer = login([203, 0, 113, 1], "root", "guess").await;
        limited += usize::from(answer.status == 429);
    }
    assert!(limited > 0, "the guessing address is limited");
    let own = login([192, 0, 2, 9], "root", ROOT_PASSWORD).await;
    assert_eq!(
        own.line(),
        "200 -",
        "another address still logs in as the same user: {}",
        own.body
    );
}

#[tokio::test]
async fn a_token_ends_no_later_than_the_one_it_was_made_with() {
    let app = App::start().await;
    let body =
        |name: &str, seconds: i64| json!({"name": name, "role": "root", "expires_in_seconds": seconds}).to_string();
    let parent = app.root("POST", "/tokens", &body("parent", 3600)).await.text("/token");
    let with = async |body: String| app.call("POST", "/api/v1/tokens", &parent, &[], &body).await;
    let longer = with(body("longer", 366 * 24 * 3600)).await;
    assert_eq!(longer.line(), "422 invalid-spec [/expires_in_seconds out-of-range]");
    assert_eq!(with(body("shorter", 600)).await.line(), "201 -");
}

#[tokio::test]
async fn a_bound_token_sees_and_changes_its_applications_alone() {
    let app = App::start().await;
    let (shop, bank) = (app.application("shop").await, app.application("bank").await);
    let (orders, accounts) = (app.monitor(&shop, "orders").await, app.monitor(&bank, "accounts").await);
    let body = json!({"name": "ci", "role": "operator", "expires_in_seconds": 600, "applications": [shop]}).to_string();
    let created = app.root("POST", "/tokens", &body).await;
    let token = created.text("/token");
    let with = async |method: &str, path: &str, body: &str| {
        let headers = [("if-match", "\"1\"")];
        app.call(method, &format!("/api/v1{path}"), &token, &headers, body)
            .await
    };
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items");
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(names(&with("GET", MONITORS, "").await.body), ["orders"]);
    assert_eq!(
        names(&with("GET", "/instances/default/applications", "").await.body),
        ["shop"]
    );
    assert_eq!(
        with("GET", &format!("{MONITORS}/{accounts}"), "").await.line(),
        "404 not-found"
    );
    assert_eq!(
        with("DELETE", &format!("{MONITORS}/{accounts}"), "").await.line(),
        "404 not-found"
    );
    assert_eq!(
        with("POST", "/instances/default/applications", r#"{"name":"x"}"#)
            .await
            .line(),
        "403 outside-token-scope"
    );
    assert_eq!(
        with("PUT", "/users/root/password", r#"{"password":"a-new-password"}"#)
            .await
            .line(),
        "403 outside-token-scope"
    );
    assert_eq!(with("GET", "/users", "").await.line(), "403 outside-token-scope");
    assert_eq!(
        with("DELETE", &format!("{MONITORS}/{orders}"), "").await.line(),
        "204 -"
    );
    let listed = app.root("GET", "/tokens", "").await;
    assert_eq!(listed.body["items"][0]["applications"], json!([shop]));
    let unknown = json!({"name": "x", "role": "viewer", "expires_in_seconds": 600, "applications": ["0123456789abcdef0123456789abcdef", "y"]});
    assert_eq!(
        app.root("POST", "/tokens", &unknown.to_string()).await.line(),
        "422 invalid-spec [/applications/1 bad-id]"
    );
}
