//! Bodies, callers and bytes that are none: what each door makes of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::etcd::{Client, ConnectOptions};
use quorate_chaos::kv;
use quorate_chaos::scenario::INSTANCE;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::{Scene, every_node_serves, expect};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn bodies(scene: &Scene<'_>) -> Result<()> {
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

pub(crate) async fn callers(cluster: &DevCluster) -> Result<()> {
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

pub(crate) async fn kv_endpoint(cluster: &DevCluster) -> Result<()> {
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
pub(crate) async fn noise(cluster: &DevCluster) -> Result<()> {
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
