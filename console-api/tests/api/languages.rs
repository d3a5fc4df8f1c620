//! The same answers in both languages of the catalogue.

use serde_json::json;

use crate::support::App;

const CHINESE: (&str, &str) = ("accept-language", "zh-CN,zh;q=0.9,en;q=0.8");

/// True if there is a Chinese character in the text.
fn is_chinese(text: &str) -> bool {
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

#[tokio::test]
async fn problems_events_and_audit_records_speak_the_language_of_the_request() {
    let app = App::start().await;
    let application = app.application("shop").await;
    app.monitor(&application, "orders").await;
    let requests = [
        ("GET", "/api/v1/no-such-route", ""),
        ("PATCH", "/api/v1/me", ""),
        ("GET", "/api/v1/instances/nope", ""),
        ("POST", "/api/v1/instances/default/applications", "{"),
        ("POST", "/api/v1/instances/default/applications", r#"{"name":"shop"}"#),
        ("POST", "/api/v1/instances/default/applications", r#"{"name":""}"#),
        ("POST", "/api/v1/instances/default/applications", r#"{"color":1}"#),
        ("GET", "/api/v1/events?limit=0", ""),
        ("GET", "/api/v1/events?color=red", ""),
        ("POST", "/api/v1/login", r#"{"user":"root","password":"wrong"}"#),
    ];
    for (method, uri, body) in requests {
        let english = app.call(method, uri, &app.root, &[], body).await;
        let chinese = app.call(method, uri, &app.root, &[CHINESE], body).await;
        assert_eq!(
            chinese.line(),
            english.line(),
            "{uri}: codes are the same in every language"
        );
        assert_eq!(
            (&english.headers["content-language"], &english.headers["vary"]),
            (&"en-US".parse().unwrap(), &"accept-language".parse().unwrap())
        );
        assert_eq!(chinese.headers["content-language"], "zh-CN");
        for pointer in ["/title", "/detail"] {
            assert!(
                is_chinese(&chinese.text(pointer)),
                "{method} {uri} {pointer}: {}",
                chinese.body
            );
            assert!(
                !is_chinese(&english.text(pointer)),
                "{method} {uri} {pointer}: {}",
                english.body
            );
        }
        for error in chinese.body["errors"].as_array().into_iter().flatten() {
            assert!(is_chinese(error["detail"].as_str().expect("a detail")), "{error}");
        }
    }
    for path in ["/api/v1/events", "/api/v1/audit"] {
        let english = app.call("GET", path, &app.root, &[], "").await;
        let chinese = app.call("GET", path, &app.root, &[CHINESE], "").await;
        let texts = |answer: &crate::support::Answer| -> Vec<String> {
            let items = answer.body["items"].as_array().expect("items");
            items
                .iter()
                .map(|item| item["text"].as_str().expect("a text").to_owned())
                .collect()
        };
        assert!(texts(&chinese).iter().all(|text| is_chinese(text)), "{}", chinese.body);
        assert!(!texts(&english).iter().any(|text| is_chinese(text)), "{}", english.body);
    }
}

#[tokio::test]
async fn without_a_credential_the_language_is_known_as_well() {
    let app = App::start().await;
    let answer = app
        .call("GET", "/api/v1/me", "", &[("accept-language", "en;q=0, *")], "")
        .await;
    assert_eq!(answer.line(), "401 unauthenticated");
    assert!(is_chinese(&answer.text("/detail")), "{}", answer.body);
    let refused = app
        .call("GET", "/api/v1/me", "", &[("accept-language", "zz;q=x, ;")], "")
        .await;
    assert!(!is_chinese(&refused.text("/detail")), "what is no language is English");
    let body = json!({"user": "root", "password": "x".repeat(600)}).to_string();
    let answer = app.call("POST", "/api/v1/login", "", &[CHINESE], &body).await;
    assert!(is_chinese(&answer.text("/detail")), "{}", answer.body);
}
