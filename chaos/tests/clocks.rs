//! One node's wall clock is an hour ahead: nothing that the cluster decides may notice.
//!
//! The clock is shifted by libfaketime (package `faketime`), for that process alone; its monotonic clock stays true.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::etcd::{Client, PutRequest};
use quorate_chaos::faults::{Signal, process_alive};
use quorate_chaos::harness::{Harness, all_see_active, events_of, eventually, is_active_of, step, throughout};
use quorate_chaos::kv;
use quorate_chaos::scenario::{Stage, Timing};
use quorate_chaos::watcher::Watcher;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const SWITCH_TIMEOUT: Duration = Duration::from_secs(20);
/// A second switch would come within it, and a lease that a wrong clock ends would be gone.
const QUIET_WINDOW: Duration = Duration::from_secs(4);
/// Time to live of the lease that must outlast the change of leader, and of the one that must end.
const LONG_LEASE_SECONDS: i64 = 60;
const SHORT_LEASE_SECONDS: i64 = 2;
const LEADER_ATTEMPTS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_ahead_decides_nothing() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let mut stage = step("both sides become healthy", harness.stage(Timing::FAST)).await?;
        let watchers = harness.watch_monitors().await?;
        let cluster = &mut harness.cluster;
        let node = cluster.leader(READY_TIMEOUT).await? % 3 + 1;
        step("one clock jumps ahead", shift(cluster, node)).await?;
        step("leases under a leader ahead of its time", leases(cluster, node)).await?;
        step("one failover", failover(&mut stage, &watchers)).await?;
        step("log in on every node", logins(cluster)).await
    };
    harness.run(test).await
}

async fn gone(cluster: &DevCluster, node: u64) -> Result<()> {
    let pid = cluster.pid(node)?;
    eventually("the node is gone", CALL_TIMEOUT, async || {
        Ok((!process_alive(pid)).then_some(()))
    })
    .await
}

async fn shift(cluster: &mut DevCluster, node: u64) -> Result<()> {
    let library = quorate_chaos::clocks::library()?;
    cluster.signal(node, Signal::Terminate)?;
    gone(cluster, node).await?;
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME", "+1h"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_RESET", "1"),
    ];
    cluster.restart_with(node, &environment).await?;
    cluster.wait_ready(node, READY_TIMEOUT).await?;
    let told = std::fs::read_to_string(&cluster.node(node)?.log)?;
    let last = told.lines().last().unwrap_or_default();
    let ahead = minutes_ahead(last).with_context(|| format!("no time in the line {last}"))?;
    ensure!(
        (55..=65).contains(&ahead),
        "the clock is {ahead} minutes ahead, not an hour: {last}"
    );
    Ok(())
}

/// Minutes that a line of the log (`…T21:39:12…`) is ahead of this program's clock.
fn minutes_ahead(line: &str) -> Option<u64> {
    let (_, time) = line.split_once('T').filter(|(_, rest)| rest.contains(':'))?;
    let hours: u64 = time.get(..2)?.parse().ok()?;
    let minutes: u64 = time.get(3..5)?.parse().ok()?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    let day = 24 * 60;
    Some((hours * 60 + minutes + day - now.as_secs() / 60 % day) % day)
}

async fn make_leader(cluster: &mut DevCluster, wanted: u64) -> Result<()> {
    for _ in 0..LEADER_ATTEMPTS {
        let leader = cluster.leader(READY_TIMEOUT).await?;
        if leader == wanted {
            return Ok(());
        }
        cluster.signal(leader, Signal::Kill)?;
        gone(cluster, leader).await?;
        cluster.leader(READY_TIMEOUT).await?;
        cluster.restart(leader).await?;
        cluster.wait_ready(leader, READY_TIMEOUT).await?;
    }
    bail!("node {wanted} never leads")
}

/// A lease granted under a leader with the right time goes on under one that is an hour ahead; a short one still ends.
async fn leases(cluster: &mut DevCluster, node: u64) -> Result<()> {
    let access = |cluster: &DevCluster| -> Result<_> { kv::as_root(&cluster.info, &cluster.node(node)?.kv) };
    let mut client = Client::connect(&access(cluster)?, CALL_TIMEOUT).await?;
    let long = client.lease_grant(LONG_LEASE_SECONDS).await?.id;
    client.put_with(leased("/clocks/long", long)).await?;
    make_leader(cluster, node).await?;
    let mut client = Client::connect(&access(cluster)?, CALL_TIMEOUT).await?;
    let short = client.lease_grant(SHORT_LEASE_SECONDS).await?.id;
    client.put_with(leased("/clocks/short", short)).await?;
    let mut reader = client.clone();
    eventually("the short lease ends", CALL_TIMEOUT, async || {
        Ok(reader.get("/clocks/short").await?.kvs.is_empty().then_some(()))
    })
    .await?;
    throughout("the long lease lives", QUIET_WINDOW, async || {
        ensure!(!client.get("/clocks/long").await?.kvs.is_empty(), "its key is gone");
        Ok(())
    })
    .await
}

fn leased(key: &str, lease: i64) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        lease,
        ..PutRequest::default()
    }
}

/// The leader is the node with the wrong clock: exactly one switch all the same.
async fn failover(stage: &mut Stage, watchers: &[(String, Watcher)]) -> Result<()> {
    stage.pair.dc1.kill()?;
    all_see_active(watchers, &stage.monitor, "dc2", 1, SWITCH_TIMEOUT).await?;
    throughout("no second switch", QUIET_WINDOW, async || {
        for (name, watcher) in watchers {
            let mut values: Vec<Option<String>> = events_of(watcher, &stage.monitor)
                .into_iter()
                .filter(|event| is_active_of(event, &stage.monitor))
                .map(|event| event.value)
                .collect();
            values.dedup();
            ensure!(values.len() <= 2, "{name} saw {values:?}");
        }
        Ok(())
    })
    .await
}

/// KV tokens and console sessions are good on every node, whatever its clock: passwords are checked, and a token carries
/// no time of another node.
async fn logins(cluster: &DevCluster) -> Result<()> {
    for node in &cluster.info.nodes {
        let mut client = Client::connect(&kv::as_root(&cluster.info, &node.kv)?, CALL_TIMEOUT).await?;
        client.put("/clocks/login", "v").await?;
        ensure!(cluster.rest.ready(&node.console).await, "{} is not ready", node.name);
    }
    Ok(())
}
