//! Bad input through the real doors: the right refusal each time, nothing changed, no node dead.

mod doors;
mod edits;
mod fields;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::harness::{Harness, step};
use quorate_chaos::rest::Answer;
use quorate_chaos::scenario::{INSTANCE, Timing, create_application, create_monitor, monitor_body};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_and_changes_nothing() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let cluster = &harness.cluster;
        let scene = step("one application and one monitor", Scene::create(cluster)).await?;
        let before = scene.registry().await?;
        step("fields", fields::fields(&scene)).await?;
        step("edits", edits::edits(&scene)).await?;
        step("switches", edits::switches(&scene)).await?;
        step("pools and settings", edits::pools_and_settings(&scene)).await?;
        step("bodies", doors::bodies(&scene)).await?;
        step("callers", doors::callers(cluster)).await?;
        step("the KV endpoint", doors::kv_endpoint(cluster)).await?;
        step("noise on every port", doors::noise(cluster)).await?;
        let after = scene.registry().await?;
        ensure!(before == after, "something changed:\n{before}\n{after}");
        step("a quota overrun from two nodes at once", quota_overrun(&scene)).await?;
        every_node_serves(cluster).await
    };
    harness.run(test).await
}

/// What the cases are tried on.
struct Scene<'a> {
    cluster: &'a DevCluster,
    application: String,
    monitor: String,
}

impl<'a> Scene<'a> {
    async fn create(cluster: &'a DevCluster) -> Result<Self> {
        let application = create_application(&cluster.rest, "shop").await?;
        let body = monitor_body(&application, "orders", Timing::FAST, "127.0.0.1:1", "127.0.0.1:2");
        let monitor = create_monitor(&cluster.rest, body).await?;
        Ok(Self {
            cluster,
            application,
            monitor,
        })
    }

    /// A body that would be accepted, under another name than the monitor that is there.
    fn good_monitor(&self) -> Value {
        let mut body = self.untested_monitor();
        body["connection_test"] = json!({"override": true, "reason": "nothing listens there"});
        body
    }

    /// The same, but for its connection test.
    fn untested_monitor(&self) -> Value {
        monitor_body(&self.application, "another", Timing::FAST, "127.0.0.1:3", "127.0.0.1:4")
    }

    /// A body that would be accepted as the monitor's connection pool.
    fn good_pool() -> Value {
        let side =
            |name: &str, address: &str| json!({"source": {"name": name, "address": address, "schema": "orders"}});
        let (dc1, dc2) = (side("ds1", "127.0.0.1:1"), side("ds2", "127.0.0.1:2"));
        json!({"database": "orders", "routing": "single-read-write", "dc1": dc1, "dc2": dc2})
    }

    fn monitor_path(&self) -> String {
        format!("{INSTANCE}/monitors/{}", self.monitor)
    }

    async fn try_edit(&self, path: &str, body: Value) -> Result<Answer> {
        let etag = self
            .cluster
            .rest
            .request(Method::GET, &self.monitor_path(), None, None)
            .await?
            .etag;
        self.cluster.rest.put_with_etag(path, body, etag).await
    }

    /// Everything that a refusal must leave as it is; live state comes and goes by itself.
    async fn registry(&self) -> Result<Value> {
        let rest = &self.cluster.rest;
        let mut monitors = rest.get(&format!("{INSTANCE}/monitors")).await?;
        for monitor in monitors["items"].as_array_mut().context("items")? {
            for live in ["dc1", "dc2", "withheld"] {
                monitor[live] = Value::Null;
            }
        }
        Ok(json!({
            "applications": rest.get(&format!("{INSTANCE}/applications")).await?,
            "monitors": monitors,
            "quotas": rest.get("/quotas").await?,
            "settings": rest.get(&format!("{INSTANCE}/kind-settings")).await?,
            "users": rest.get("/users").await?,
        }))
    }
}

/// A refusal with its status, its stable code and, where single fields are meant, their pointers.
fn expect(name: &str, answer: &Answer, status: u16, code: &str, pointers: &[&str]) -> Result<()> {
    let errors = answer.body["errors"].as_array().into_iter().flatten();
    let found: Vec<&str> = errors.filter_map(|error| error["pointer"].as_str()).collect();
    let right = (answer.status, answer.code()) == (status, code) && found == pointers;
    ensure!(right, "{name}: expected {status} {code} {pointers:?}, got {answer:?}");
    let told = answer.body["detail"].as_str().is_some_and(|detail| !detail.is_empty());
    ensure!(
        told && answer.body["type"] == format!("urn:quorate:problem:{code}"),
        "{name}: no RFC 9457: {answer:?}"
    );
    Ok(())
}

/// Ten creations at once through two nodes with room for one: one is done, nine are refused.
async fn quota_overrun(scene: &Scene<'_>) -> Result<()> {
    let rest = &scene.cluster.rest;
    let path = format!("{INSTANCE}/applications");
    rest.put_with_etag("/quotas", json!({"applications_per_instance": 2}), None)
        .await?
        .success()?;
    let nodes = &scene.cluster.info.nodes;
    let creations = (0..10).map(|number| {
        let body = json!({"name": format!("crowd-{number}")}).to_string();
        rest.raw_post(&nodes[number % 2].console, &path, "application/json", body)
    });
    let answers = join_all(creations).await.into_iter().collect::<Result<Vec<_>>>()?;
    let (created, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    ensure!(created.len() == 1, "{} were created: {answers:?}", created.len());
    for answer in refused {
        expect("over the quota", answer, 409, "quota-exceeded", &[])?;
    }
    let list = rest.get(&path).await?;
    ensure!(list["items"].as_array().is_some_and(|items| items.len() == 2), "{list}");
    Ok(())
}

async fn every_node_serves(cluster: &DevCluster) -> Result<()> {
    for node in &cluster.info.nodes {
        ensure!(
            cluster.rest.ready(&node.console).await,
            "{} no longer serves",
            node.name
        );
    }
    Ok(())
}
