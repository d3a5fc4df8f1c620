//! Names that are taken, edits of something else than was read, switches that have nothing to stand on.

use anyhow::{Context, Result};
use quorate_chaos::scenario::INSTANCE;
use reqwest::Method;
use serde_json::json;

use crate::{Scene, expect};

pub(crate) async fn edits(scene: &Scene<'_>) -> Result<()> {
    let (rest, path) = (&scene.cluster.rest, scene.monitor_path());
    let applications = format!("{INSTANCE}/applications");
    let again = rest.try_post(&applications, json!({"name": "shop"})).await?;
    expect("duplicate application", &again, 409, "duplicate-name", &[])?;
    let mut body = scene.good_monitor();
    body["name"] = json!("orders");
    let again = rest.try_post(&format!("{INSTANCE}/monitors"), body).await?;
    expect("duplicate monitor", &again, 409, "duplicate-name", &[])?;
    let mut body = scene.good_monitor();
    body["application"] = json!("0".repeat(32));
    let nowhere = rest.try_post(&format!("{INSTANCE}/monitors"), body).await?;
    expect("no such application", &nowhere, 422, "invalid-spec", &["/application"])?;
    let untested = scene.untested_monitor();
    let failed = rest.try_post(&format!("{INSTANCE}/monitors"), untested).await?;
    let from_each_node = ["/mysql/dc1/address", "/mysql/dc2/address"].repeat(3);
    let code = "connection-test-failed";
    expect("nothing listens there", &failed, 409, code, &from_each_node)?;
    let mut unexplained = scene.good_monitor();
    unexplained["connection_test"]["reason"] = json!(" ");
    let refused = rest.try_post(&format!("{INSTANCE}/monitors"), unexplained).await?;
    let code = "test-override-reason-required";
    expect("an override without a reason", &refused, 422, code, &[])?;

    let mut edit = scene.good_monitor();
    edit.as_object_mut()
        .context("a body")?
        .retain(|field, _| field != "application" && field != "name");
    let stale = rest.put_with_etag(&path, edit.clone(), Some("\"999\"".into())).await?;
    expect("stale ETag", &stale, 412, "generation-conflict", &[])?;
    let blind = rest.put_with_etag(&path, edit.clone(), None).await?;
    expect("no If-Match", &blind, 428, "if-match-required", &[])?;
    let malformed = rest.put_with_etag(&path, edit, Some("seven".into())).await?;
    expect("malformed If-Match", &malformed, 400, "bad-if-match", &[])?;
    let own = format!("{applications}/{}", scene.application);
    let owner = rest.request(Method::DELETE, &own, None, Some("\"1\"".into())).await?;
    expect("application with monitors", &owner, 409, "has-monitors", &[])
}

pub(crate) async fn switches(scene: &Scene<'_>) -> Result<()> {
    let (rest, path) = (&scene.cluster.rest, scene.monitor_path());
    let switch = format!("{path}/switch");
    let no_pool = rest.try_post(&switch, json!({"to": "dc2"})).await?;
    expect("nothing to switch", &no_pool, 409, "no-connection-pool", &[])?;
    let no_reason = rest.try_post(&switch, json!({"to": "dc2", "force": true})).await?;
    expect("forced without a reason", &no_reason, 422, "reason-required", &[])?;
    let nowhere = rest.try_post(&switch, json!({"to": "dc3"})).await?;
    expect("unknown data center", &nowhere, 422, "invalid-spec", &["/to"])?;
    let nothing = rest.try_post(&format!("{path}/acknowledge"), json!({})).await?;
    expect("nothing to acknowledge", &nothing, 409, "nothing-to-acknowledge", &[])
}

pub(crate) async fn pools_and_settings(scene: &Scene<'_>) -> Result<()> {
    let (rest, path) = (&scene.cluster.rest, scene.monitor_path());
    let pool = format!("{path}/connection-pool");
    let mut equal = Scene::good_pool();
    equal["dc2"]["source"]["address"] = json!("127.0.0.1:1");
    expect(
        "equal sides of a pool",
        &scene.try_edit(&pool, equal).await?,
        422,
        "invalid-spec",
        &["/dc2/source/address"],
    )?;
    let mut twice = Scene::good_pool();
    twice["dc2"]["source"]["name"] = json!("ds1");
    expect(
        "a name given twice",
        &scene.try_edit(&pool, twice).await?,
        422,
        "invalid-spec",
        &["/dc2/source/name"],
    )?;
    let settings = json!({"retry_interval_ms": 999, "monitor_timeout_ms": 10_000, "access_timeout_ms": 3000,
        "health_precision": 3});
    let answer = rest
        .put_with_etag(&format!("{INSTANCE}/kind-settings/mysql"), settings, None)
        .await?;
    expect(
        "global settings",
        &answer,
        422,
        "invalid-spec",
        &["/retry_interval_ms", "/health_precision"],
    )
}
