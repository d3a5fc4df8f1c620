//! What 100 monitors cost a cluster in which nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Programs, cluster, directory};
use crate::accounting::{cpu_time, resident_kib};
use crate::cluster::DevCluster;
use crate::scenario::{INSTANCE, Timing, create_application, create_monitor, monitor_body};
use quorate_real_parts::mariadb::{MariaDbPair, PairOptions};

const MONITORS: usize = 100;
const MEASURE: Duration = Duration::from_secs(60);
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(120);

/// Creates the monitors, waits until all are healthy, and measures a minute.
pub async fn run(programs: &Programs) -> Result<()> {
    let directory = directory()?;
    let cluster = cluster(programs, &directory).await?;
    let options = PairOptions {
        max_connections: 2000,
        monitor_connections: 1500,
        ..PairOptions::default()
    };
    let pair = MariaDbPair::start(&directory.path().join("databases"), options).await?;
    let application = create_application(&cluster.rest, "idle").await?;
    let timing = Timing {
        retry_interval_ms: 3000,
        monitor_timeout_ms: 10_000,
        access_timeout_ms: 3000,
    };
    for number in 0..MONITORS {
        let name = format!("idle-{number}");
        create_monitor(
            &cluster.rest,
            monitor_body(&application, &name, timing, &pair.dc1.address(), &pair.dc2.address()),
        )
        .await?;
    }
    wait_all_healthy(&cluster).await?;
    wait_quiet(&cluster, HEALTHY_TIMEOUT).await?;
    let pids = cluster
        .info
        .nodes
        .iter()
        .map(|node| cluster.pid(node.id))
        .collect::<Result<Vec<_>>>()?;
    let (index, started) = (committed_index(&cluster).await?, Instant::now());
    let before = pids.iter().map(|pid| cpu_time(&[*pid])).collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(MEASURE).await;
    let elapsed = started.elapsed();
    let entries = committed_index(&cluster).await? - index;
    println!(
        "{MONITORS} MySQL monitors, nothing happening for {} s: {entries} log entries",
        elapsed.as_secs()
    );
    for ((node, pid), before) in cluster.info.nodes.iter().zip(&pids).zip(before) {
        let share = (cpu_time(&[*pid])? - before).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
        println!(
            "{}: {share:.2} % of one core, {:.1} MiB resident",
            node.name,
            resident_kib(*pid)? as f64 / 1024.0
        );
    }
    drop(pair);
    cluster.stop().await
}

async fn wait_all_healthy(cluster: &DevCluster) -> Result<()> {
    let deadline = Instant::now() + HEALTHY_TIMEOUT;
    loop {
        let list = cluster.rest.get(&format!("{INSTANCE}/monitors")).await?;
        let items = list["items"].as_array().context("no list of monitors")?;
        let healthy =
            |item: &&serde_json::Value| item["dc1"]["state"] == "healthy" && item["dc2"]["state"] == "healthy";
        if items.iter().filter(healthy).count() >= MONITORS {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "not all monitors became healthy within {HEALTHY_TIMEOUT:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// After a start, votes still become steady; the minute begins once nothing has been logged for a while.
pub(super) async fn wait_quiet(cluster: &DevCluster, timeout: Duration) -> Result<()> {
    const QUIET: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + timeout;
    let (mut index, mut since) = (committed_index(cluster).await?, Instant::now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = committed_index(cluster).await?;
        if now != index {
            (index, since) = (now, Instant::now());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the log does not come to rest within {timeout:?}"
        );
    }
    Ok(())
}

/// Index of the last committed entry.
pub(super) async fn committed_index(cluster: &DevCluster) -> Result<u64> {
    let view = cluster.rest.get("/cluster").await?;
    let nodes = view["nodes"].as_array();
    let of_nodes = nodes
        .into_iter()
        .flatten()
        .filter_map(|node| node["committed_index"].as_u64())
        .max();
    view["committed_index"]
        .as_u64()
        .or(of_nodes)
        .with_context(|| format!("no committed index in {view}"))
}
