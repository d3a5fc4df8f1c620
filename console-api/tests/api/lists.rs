//! Lists in pages: cursors, limits, filters.

use serde_json::{Value, json};

use crate::support::App;

/// Every page of a list with two entries each: what `field` says of the entries.
async fn walk(app: &App, list: &str, field: &str) -> Vec<String> {
    let joint = if list.contains('?') { '&' } else { '?' };
    let mut seen = Vec::new();
    let mut path = format!("{list}{joint}limit=2");
    loop {
        let page = app.root("GET", &path, "").await;
        assert_eq!(page.line(), "200 -", "{path}: {}", page.body);
        let items = page.body["items"].as_array().expect("items").clone();
        assert!(items.len() <= 2);
        seen.extend(
            items
                .iter()
                .map(|item| item[field].as_str().expect("a field").to_owned()),
        );
        match page.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("{list}{joint}limit=2&cursor={cursor}"),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn every_list_comes_in_pages() {
    let app = App::start().await;
    let names = ["e", "a", "d", "b", "c"];
    let mut applications = Vec::new();
    for name in names {
        applications.push(app.application(name).await);
        let user = json!({"name": name, "role": "viewer", "password": "long-enough"}).to_string();
        assert_eq!(app.root("POST", "/users", &user).await.line(), "201 -");
        let token = json!({"name": name, "role": "viewer", "expires_in_seconds": 60}).to_string();
        assert_eq!(app.root("POST", "/tokens", &token).await.line(), "201 -");
        app.monitor(&applications[0], name).await;
    }
    for list in [
        "/instances/default/applications",
        "/instances/default/monitors",
        "/tokens",
    ] {
        assert_eq!(walk(&app, list, "name").await, names, "{list}: as they were created");
    }
    assert_eq!(walk(&app, "/users", "name").await, ["a", "b", "c", "d", "e", "root"]);
    for list in [
        "/modules",
        "/namespaces",
        "/instances",
        "/instances/default/kind-settings",
    ] {
        let page = app.root("GET", &format!("{list}?limit=1"), "").await;
        assert_eq!(page.body["items"].as_array().map(Vec::len), Some(1), "{list}");
    }
    let first = app.root("GET", "/instances/default/applications?limit=2", "").await;
    let cursor = first.text("/next_cursor");
    let gone = app
        .edit(
            "DELETE",
            &format!("/instances/default/applications/{}", applications[1]),
            1,
            "",
        )
        .await;
    assert_eq!(gone.line(), "204 -");
    let second = app
        .root(
            "GET",
            &format!("/instances/default/applications?limit=2&cursor={cursor}"),
            "",
        )
        .await;
    assert_eq!(
        second.body["items"][0]["name"], "d",
        "the entry that the cursor stands on is gone"
    );
    for (path, expected) in [
        (
            format!("/users?cursor={cursor}"),
            "422 invalid-spec [?cursor bad-parameter]",
        ),
        ("/users?cursor=x".to_owned(), "422 invalid-spec [?cursor bad-parameter]"),
        ("/users?limit=0".to_owned(), "422 invalid-spec [?limit out-of-range]"),
        ("/users?limit=501".to_owned(), "422 invalid-spec [?limit out-of-range]"),
        ("/users?limit=x".to_owned(), "422 invalid-spec [?limit bad-parameter]"),
        ("/users?page=2".to_owned(), "422 invalid-spec [?page unknown-parameter]"),
    ] {
        assert_eq!(app.root("GET", &path, "").await.line(), expected, "{path}");
    }
}

#[tokio::test]
async fn monitors_are_filtered_before_they_are_counted() {
    let app = App::start().await;
    let (shop, bank) = (app.application("shop").await, app.application("bank").await);
    for n in 0..3 {
        app.monitor(&shop, &format!("Shop-{n}")).await;
        app.monitor(&bank, &format!("bank-{n}")).await;
    }
    let list = "/instances/default/monitors";
    assert_eq!(
        walk(&app, &format!("{list}?application={bank}"), "name").await,
        ["bank-0", "bank-1", "bank-2"]
    );
    assert_eq!(
        walk(&app, &format!("{list}?name=shop-&active=dc1"), "name").await,
        ["Shop-0", "Shop-1", "Shop-2"]
    );
    let count = async |filter: &str| {
        let answer = app.root("GET", &format!("{list}?{filter}"), "").await;
        answer.body["items"]
            .as_array()
            .map_or_else(|| answer.line(), |items| items.len().to_string())
    };
    assert_eq!(count("kind=mysql&state=unconfigured&probing=true").await, "6");
    assert_eq!(count("state=abnormal").await, "0");
    assert_eq!(count("active=dc2").await, "0");
    assert_eq!(count("automatic_switch=false").await, "0");
    assert_eq!(count("withheld=true").await, "0");
    assert_eq!(count("needs_acknowledgement=false").await, "6");
    assert_eq!(count("state=sick").await, "422 invalid-spec [?state unknown-value]");
    assert_eq!(count("active=dc3").await, "422 invalid-spec [?active bad-parameter]");
    assert_eq!(
        count("probing=maybe").await,
        "422 invalid-spec [?probing bad-parameter]"
    );
    let page = app.root("GET", &format!("{list}?limit=1"), "").await;
    assert_eq!(
        page.body["items"][0]["dc1"]["votes"],
        Value::Array(Vec::new()),
        "with live state"
    );
}
