//! Real servers of every kind fail over and back, and clients of the SDK's Redis part follow.
//!
//! One cluster serves both tests' steps of a kind; the steps are bounded in time by the harness, the failover by its own promise.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::demo::report::Report;
use quorate_chaos::demo::{story, watch_key};
use quorate_chaos::faults::Signal;
use quorate_chaos::harness::{Harness, eventually, step};
use quorate_chaos::scenario::{Stage, Timing};
use quorate_chaos::sdk::{CommandOutcome, RedisSdkClient};
use quorate_chaos::sides::{self, RedisSides, Sides};
use serde_json::json;

const SWITCH_TIMEOUT: Duration = Duration::from_secs(20);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(40);
/// Monitor timeout (1 s) and two attempts of the fast profile, ten times over: a busy machine is no excuse beyond that.
const FAILOVER_BOUND: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_each_kind_fails_over_and_back() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        for kind in sides::KINDS {
            let directory = harness.directory.path().join("databases").join(kind);
            let mut report = Report::default();
            let played = story::play(kind, &harness.cluster, &directory, &mut report);
            let outcome = step(kind, played).await?;
            let cause = &outcome.view["last_switch"]["cause"];
            ensure!(cause == "source-abnormal", "{kind}: switched because of {cause}");
            ensure!(outcome.timeline.total < FAILOVER_BOUND, "{kind}: {}", outcome.timeline);
            ensure!(
                outcome.switchback < FAILOVER_BOUND,
                "{kind}: switchback {:?}",
                outcome.switchback
            );
            let told = outcome.view["dc1"]["votes"].to_string();
            ensure!(told.contains("refused"), "{kind}: the finding is missing: {told}");
        }
        Ok(())
    };
    harness.run(test).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_clients_follow_failover_switchback_and_the_loss_of_a_node() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let directory = harness.directory.path().join("databases").join("redis");
        let redis = RedisSides::start(&directory).await?;
        let mut stage = step(
            "both sides become healthy",
            sides::build(&harness.cluster, redis, Timing::FAST),
        )
        .await?;
        let clients = step("clients start", clients(&harness.cluster, &stage)).await?;
        step("a killed server", killed(&harness.cluster, &mut stage, &clients)).await?;
        step("a killed node", node_killed(&mut harness.cluster, &stage, &clients)).await?;
        for client in &clients {
            let misdirected = client.misdirected();
            ensure!(
                misdirected.is_empty(),
                "commands on a side that was no longer active: {misdirected:?}"
            );
            let crashed = client
                .commands()
                .iter()
                .any(|command| command.outcome == CommandOutcome::Crashed);
            ensure!(!crashed, "`active` named a server that does not exist");
        }
        Ok(())
    };
    harness.run(test).await
}

/// One process per node; each has another node first in its list.
async fn clients(cluster: &DevCluster, stage: &Stage<RedisSides>) -> Result<Vec<RedisSdkClient>> {
    let configuration = stage.configuration_for_sides(cluster).await?;
    let watchers = watch_key(cluster, &configuration.redis_key("conf", "")).await?;
    let mut found = Vec::new();
    for (_, watcher) in &watchers {
        let servers = watcher
            .wait_for(SWITCH_TIMEOUT, |event| event.key.ends_with("/servers"))
            .await?;
        let value = servers.value.context("servers have a value")?;
        found.push(serde_json::from_str::<serde_json::Value>(&value)?);
    }
    let [dc1, dc2] = stage.pair.addresses();
    for servers in &found {
        let told = (
            &servers["dc1"]["hosts"],
            &servers["dc2"]["hosts"],
            &servers["dc1"]["type"],
        );
        ensure!(told == (&json!(dc1), &json!(dc2), &json!("normal")), "{servers}");
    }
    let mut clients = Vec::new();
    for index in 0..configuration.endpoints.len() {
        let mut own = configuration.clone();
        own.endpoints.rotate_left(index);
        clients.push(RedisSdkClient::start(&own).await?);
    }
    all_write(&clients, "dc1").await?;
    Ok(clients)
}

/// Every client is at this side and its writes are acknowledged there.
async fn all_write(clients: &[RedisSdkClient], side: &str) -> Result<()> {
    for client in clients {
        client.wait_active(side, SWITCH_TIMEOUT).await?;
        eventually("a write", SWITCH_TIMEOUT, async || {
            let outcome = client.set("orders:client", side).await;
            Ok((outcome == CommandOutcome::Done).then_some(()))
        })
        .await?;
        let last = client.commands().pop().context("a command")?;
        ensure!(last.data_center == side, "{last:?}");
    }
    Ok(())
}

async fn killed(cluster: &DevCluster, stage: &mut Stage<RedisSides>, clients: &[RedisSdkClient]) -> Result<()> {
    stage.pair.kill_dc1()?;
    all_write(clients, "dc2").await?;
    stage.pair.start_dc1().await?;
    stage
        .wait_sides(&cluster.rest, "healthy", "healthy", SETTLE_TIMEOUT)
        .await?;
    let extra = json!({"reason": "dc1 is back", "acknowledge": true});
    stage.switch(&cluster.rest, "dc1", extra).await?.success()?;
    all_write(clients, "dc1").await
}

/// The loss of a node breaks one client's watch; it goes on with the next node and misses no switch.
async fn node_killed(cluster: &mut DevCluster, stage: &Stage<RedisSides>, clients: &[RedisSdkClient]) -> Result<()> {
    cluster.signal(1, Signal::Kill)?;
    cluster.leader(SETTLE_TIMEOUT).await?;
    let switched = eventually("a switch with two nodes", SETTLE_TIMEOUT, async || {
        let answer = stage.switch(&cluster.rest, "dc2", json!({"reason": "drill"})).await?;
        Ok((answer.status < 300).then_some(()))
    });
    switched.await?;
    all_write(clients, "dc2").await?;
    cluster.restart(1).await?;
    cluster.wait_ready(1, SETTLE_TIMEOUT).await?;
    Ok(())
}
