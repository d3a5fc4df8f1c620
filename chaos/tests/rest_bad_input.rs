//! Bad input through the real doors: the right refusal each time, nothing changed, no node dead.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::etcd::{Client, ConnectOptions};
use quorate_chaos::harness::{Harness, step};
use quorate_chaos::kv;
use quorate_chaos::rest::Answer;
use quorate_chaos::scenario::{INSTANCE, Timing, create_application, create_monitor, monitor_body};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_and_changes_nothing() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let cluster = &harness.cluster;
        let scene = step("one application and one monitor", Scene::create(cluster)).await?;
        let before = scene.registry().await?;
        step("fields", fields(&scene)).await?;
        step("edits and switches", edits(&scene)).await?;
        step("bodies", bodies(&scene)).await?;
        step("callers", callers(cluster)).await?;
        step("the KV endpoint", kv_endpoint(cluster)).await?;
        step("noise on every port", noise(cluster)).await?;
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

async fn fields(scene: &Scene<'_>) -> Result<()> {
    type Change = fn(&mut Value);
    let cases: [(&str, Change, &[&str]); 14] = [
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
    let path = format!("{INSTANCE}/monitors");
    for (name, change, pointers) in cases {
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

async fn edits(scene: &Scene<'_>) -> Result<()> {
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
    expect("application with monitors", &owner, 409, "has-monitors", &[])?;

    let switch = format!("{path}/switch");
    let no_pool = rest.try_post(&switch, json!({"to": "dc2"})).await?;
    expect("nothing to switch", &no_pool, 409, "no-connection-pool", &[])?;
    let no_reason = rest.try_post(&switch, json!({"to": "dc2", "force": true})).await?;
    expect("forced without a reason", &no_reason, 422, "reason-required", &[])?;
    let nowhere = rest.try_post(&switch, json!({"to": "dc3"})).await?;
    expect("unknown data center", &nowhere, 422, "invalid-spec", &["/to"])?;
    let nothing = rest.try_post(&format!("{path}/acknowledge"), json!({})).await?;
    expect("nothing to acknowledge", &nothing, 409, "nothing-to-acknowledge", &[])?;

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

async fn bodies(scene: &Scene<'_>) -> Result<()> {
    let rest = &scene.cluster.rest;
    let path = format!("{INSTANCE}/applications");
    let oversized = json!({"name": "big", "description": "x".repeat(300 * 1024)});
    expect(
        "oversized",
        &rest.try_post(&path, oversized).await?,
        413,
        "body-too-large",
        &[],
    )?;
    let node = scene.cluster.info.nodes.first().context("a node")?;
    let raw = async |media: &str, body: &str| rest.raw_post(&node.console, &path, media, body).await;
    expect(
        "no JSON",
        &raw("application/json", "{\"name\":").await?,
        400,
        "bad-json",
        &[],
    )?;
    expect(
        "two values",
        &raw("application/json", "{} {}").await?,
        422,
        "invalid-spec",
        &["/name"],
    )?;
    expect(
        "other media type",
        &raw("text/plain", "{}").await?,
        415,
        "unsupported-media-type",
        &[],
    )?;
    let deep = format!("{{\"name\":{}", "[".repeat(100_000));
    let answer = raw("application/json", &deep).await?;
    expect("nested too deeply", &answer, 422, "invalid-spec", &["/name"])?;
    let unknown = rest.request(Method::GET, "/nowhere", None, None).await?;
    expect("unknown route", &unknown, 404, "unknown-route", &[])?;
    let method = rest.request(Method::DELETE, "/quotas", None, None).await?;
    ensure!(method.status == 405, "unknown method: {method:?}");
    let parameter = rest.request(Method::GET, "/events?limit=0", None, None).await?;
    expect("parameter out of range", &parameter, 422, "invalid-spec", &["?limit"])
}

async fn callers(cluster: &DevCluster) -> Result<()> {
    let rest = &cluster.rest;
    for node in &cluster.info.nodes {
        for (name, credential) in [
            ("no credential", ""),
            ("nonsense", "nonsense"),
            ("a made-up session", "cXVvcmF0ZQ.AAAA"),
        ] {
            let answer = rest
                .get_as(credential, &node.console, "/instances/default/applications")
                .await?;
            expect(name, &answer, 401, "unauthenticated", &[])?;
        }
    }
    let node = cluster.info.nodes.first().context("a node")?;
    // A user of its own: its attempts are limited, and root must still be able to log in.
    let attempt = json!({"user": "mallory", "password": "guess"}).to_string();
    let mut statuses = Vec::new();
    for _ in 0..25 {
        statuses.push(
            rest.raw_post(&node.console, "/login", "application/json", attempt.clone())
                .await?
                .status,
        );
    }
    ensure!(
        statuses.first() == Some(&401) && statuses.last() == Some(&429),
        "login attempts: {statuses:?}"
    );
    Ok(())
}

async fn kv_endpoint(cluster: &DevCluster) -> Result<()> {
    let node = cluster.info.nodes.first().context("a node")?;
    let root = kv::as_root(&cluster.info, &node.kv)?;
    let wrong = ConnectOptions {
        user: Some(("root".into(), "wrong".into())),
        ..root.clone()
    };
    let error = Client::connect(&wrong, CALL_TIMEOUT)
        .await
        .err()
        .context("a wrong password was accepted")?;
    let text = format!("{error:#}");
    ensure!(
        text.contains("etcdserver: authentication failed, invalid user ID or password"),
        "{text}"
    );

    let mut client = Client::connect(&root, CALL_TIMEOUT).await?;
    let cases = [
        (
            "empty key",
            client.put("", "v").await,
            Code::InvalidArgument,
            "etcdserver: key is not provided",
        ),
        (
            "reserved prefix",
            client.put("/mas-monitor/x", "v").await,
            Code::PermissionDenied,
            "etcdserver: permission denied",
        ),
        (
            "too large a value",
            client.put("/big", vec![b'x'; 1_700_000]).await,
            Code::InvalidArgument,
            "etcdserver: request is too large",
        ),
    ];
    for (name, answer, code, text) in cases {
        let status = answer.err().with_context(|| format!("{name} was accepted"))?;
        ensure!((status.code(), status.message()) == (code, text), "{name}: {status:?}");
    }
    let mut sdk = Client::connect(&kv::as_sdk(&cluster.info, &node.kv)?, CALL_TIMEOUT).await?;
    let status = sdk
        .put("/mine", "v")
        .await
        .err()
        .context("the SDKs' user may not write")?;
    ensure!(status.code() == Code::PermissionDenied, "{status:?}");
    let mut nobody = Client::connect(&ConnectOptions { user: None, ..root }, CALL_TIMEOUT).await?;
    let status = nobody.get("/mine").await.err().context("nobody may read")?;
    ensure!(status.message() == "etcdserver: user name is empty", "{status:?}");
    Ok(())
}

/// Bytes that are no protocol, on every port of every node; each connection is ended by the node, not by a bound of ours.
async fn noise(cluster: &DevCluster) -> Result<()> {
    for node in &cluster.info.nodes {
        let console = node.console.trim_start_matches("https://");
        for address in [&node.kv[..], &node.peer, console] {
            for bytes in [
                &b"GET / HTTP/9.9\r\n\r\n"[..],
                &[0x16, 3, 1, 0xff, 0xff, 7, 7, 7],
                &[0; 64],
                &[0xff; 64],
            ] {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(bytes).await?;
                stream.shutdown().await?;
                let mut answer = Vec::new();
                // A reset is an end as well.
                let ended = tokio::time::timeout(CALL_TIMEOUT, stream.read_to_end(&mut answer)).await;
                ensure!(
                    ended.is_ok(),
                    "{address} holds on to a connection that sent {bytes:02x?}"
                );
            }
        }
    }
    every_node_serves(cluster).await
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
