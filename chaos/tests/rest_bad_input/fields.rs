//! Fields of a new monitor, one wrong at a time.

use anyhow::Result;
use quorate_chaos::scenario::INSTANCE;
use serde_json::{Value, json};

use crate::{Scene, expect};

type Change = fn(&mut Value);

/// What is wrong, how the good body is changed, and the fields that the refusal names.
const CASES: [(&str, Change, &[&str]); 14] = [
    ("unknown field", |body| body["colour"] = json!("blue"), &["/colour"]),
    (
        "unknown field inside",
        |body| body["mysql"]["dc1"]["rack"] = json!(1),
        &["/mysql/dc1/rack"],
    ),
    ("wrong type", |body| body["probing"] = json!("yes"), &["/probing"]),
    (
        "number for text",
        |body| body["mysql"]["user"] = json!(7),
        &["/mysql/user"],
    ),
    (
        "negative time",
        |body| body["timing"]["retry_interval_ms"] = json!(-1),
        &["/timing/retry_interval_ms"],
    ),
    (
        "time too short",
        |body| body["timing"]["retry_interval_ms"] = json!(99),
        &["/timing/retry_interval_ms"],
    ),
    (
        "time too long",
        |body| body["timing"]["monitor_timeout_ms"] = json!(400_001),
        &["/timing/monitor_timeout_ms"],
    ),
    (
        "fast times without the fast profile",
        |body| body["timing"]["fast_profile"] = json!(false),
        &["/timing/retry_interval_ms", "/timing/access_timeout_ms"],
    ),
    (
        "address without a port",
        |body| body["mysql"]["dc1"]["address"] = json!("10.0.0.1"),
        &["/mysql/dc1/address"],
    ),
    (
        "address as URL",
        |body| body["mysql"]["dc1"]["address"] = json!("tcp://h:1"),
        &["/mysql/dc1/address"],
    ),
    (
        "port out of range",
        |body| body["mysql"]["dc2"]["address"] = json!("h:65536"),
        &["/mysql/dc2/address"],
    ),
    (
        "equal sides",
        |body| body["mysql"]["dc2"]["address"] = json!("127.0.0.1:3"),
        &["/mysql/dc2/address"],
    ),
    (
        "missing password",
        |body| drop(body["mysql"].as_object_mut().map(|o| o.remove("password"))),
        &["/mysql/password"],
    ),
    ("name with a slash", |body| body["name"] = json!("a/b"), &["/name"]),
];

pub(crate) async fn fields(scene: &Scene<'_>) -> Result<()> {
    let path = format!("{INSTANCE}/monitors");
    for (name, change, pointers) in CASES {
        let mut body = scene.good_monitor();
        change(&mut body);
        let answer = scene.cluster.rest.try_post(&path, body).await?;
        expect(name, &answer, 422, "invalid-spec", pointers)?;
    }
    let several = json!({"name": "", "description": "x".repeat(256)});
    let answer = scene
        .cluster
        .rest
        .try_post(&format!("{INSTANCE}/applications"), several)
        .await?;
    expect(
        "every problem at once",
        &answer,
        422,
        "invalid-spec",
        &["/name", "/description"],
    )
}
