//! Batch deletion of monitors.

use serde_json::json;

use crate::support::App;

const DELETE: &str = "/instances/default/monitors/delete";

#[tokio::test]
async fn what_may_go_goes_in_one_revision_and_the_rest_says_why() {
    let app = App::start().await;
    let application = app.application("shop").await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(app.monitor(&application, name).await);
    }
    let nobody = "0123456789abcdef0123456789abcdef";
    let item = |id: &str, generation: u64| json!({"id": id, "generation": generation});
    let body = json!({"monitors": [item(&ids[0], 1), item(&ids[1], 7), item(nobody, 1), item(&ids[2], 1)]});
    let answer = app.root("POST", DELETE, &body.to_string()).await;
    assert_eq!(answer.line(), "200 -", "{}", answer.body);
    assert_eq!(answer.body["complete"], false);
    let items = answer.body["items"].as_array().expect("items");
    let outcome: Vec<String> = items
        .iter()
        .map(|item| {
            item["problem"]["code"]
                .as_str()
                .map_or_else(|| item["deleted"].to_string(), str::to_owned)
        })
        .collect();
    assert_eq!(outcome, ["true", "generation-conflict", "not-found", "true"]);
    let revision = answer.body["revision"].as_i64().expect("a revision");
    let instance = app
        .handle
        .read(|state| state.default_instance().expect("bootstrapped").meta.id);
    let now = app
        .handle
        .read(|state| state.keyspace(&instance).expect("a keyspace").revision());
    assert_eq!(now, revision, "one revision for both");
    let left = app.root("GET", "/instances/default/monitors", "").await;
    assert_eq!(left.body["items"].as_array().map(Vec::len), Some(1));
    for (body, expected) in [
        (json!({"monitors": []}), "422 invalid-spec [/monitors out-of-range]"),
        (
            json!({"monitors": [item("x", 1)]}),
            "422 invalid-spec [/monitors/0/id bad-id]",
        ),
        (
            json!({"monitors": [item(nobody, 0)]}),
            "422 invalid-spec [/monitors/0/generation out-of-range]",
        ),
        (
            json!({"monitors": [item(nobody, 1), item(nobody, 1)]}),
            "422 invalid-batch",
        ),
    ] {
        assert_eq!(app.root("POST", DELETE, &body.to_string()).await.line(), expected);
    }
    let rest = json!({"monitors": [item(&ids[1], 1)]}).to_string();
    assert_eq!(app.root("POST", DELETE, &rest).await.body["complete"], true);
}
