//! Processes with the SDKs' relational and Redis parts, configured from what the API hands out, live through everything that
//! happens to Quorate: failover, switchback, the kill of the leading node, and the restart of all three.
//!
//! The same processes run from the beginning to the end; nothing restarts them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::faults::{Signal, process_alive};
use quorate_chaos::harness::{Harness, eventually, step};
use quorate_chaos::rest::RestClient;
use quorate_chaos::scenario::{Stage, Timing};
use quorate_chaos::sdk::{CommandOutcome, RedisSdkClient, SdkClient, StatementOutcome};
use quorate_chaos::sides::{self, RedisSides, Sides};
use serde_json::json;

const FOLLOW_TIMEOUT: Duration = Duration::from_secs(20);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_both_families_follow_whatever_happens() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let mut scene = step("both families run", Scene::build(harness)).await?;
        let clients = step("processes start", Clients::start(&harness.cluster, &scene)).await?;
        step("failover", failover(&harness.cluster.rest, &mut scene, &clients)).await?;
        step("switchback", scene.switch(&harness.cluster.rest, "dc1", &clients)).await?;
        step(
            "the leader is killed",
            node_killed(&mut harness.cluster, &scene, &clients),
        )
        .await?;
        step("all three restart", all_restart(&mut harness.cluster, &scene, &clients)).await?;
        clients.judge()
    };
    harness.run(test).await
}

struct Scene {
    mysql: Stage,
    redis: Stage<RedisSides>,
}

impl Scene {
    async fn build(harness: &Harness) -> Result<Self> {
        let directory = harness.directory.path().join("databases").join("redis");
        let redis = RedisSides::start(&directory).await?;
        Ok(Self {
            mysql: harness.stage(Timing::FAST).await?,
            redis: sides::build(&harness.cluster, redis, Timing::FAST).await?,
        })
    }

    /// Both monitors are switched by hand, and every process follows.
    async fn switch(&self, rest: &RestClient, to: &str, clients: &Clients) -> Result<()> {
        let extra = json!({"reason": "by hand", "acknowledge": true});
        let mut restoring = extra.clone();
        if to == "dc1" {
            restoring["restore_readable"] = json!(true);
        }
        eventually("both switches", SETTLE_TIMEOUT, async || {
            let mysql = self.mysql.view(rest).await?;
            if mysql["active"] != to {
                self.mysql.switch(rest, to, restoring.clone()).await?.success()?;
            }
            let redis = self.redis.view(rest).await?;
            if redis["active"] != to {
                self.redis.switch(rest, to, extra.clone()).await?.success()?;
            }
            Ok(Some(()))
        })
        .await?;
        clients.all_at(to).await
    }
}

/// One process of each family per node; each has another node first in its list.
struct Clients {
    relational: Vec<SdkClient>,
    redis: Vec<RedisSdkClient>,
}

impl Clients {
    async fn start(cluster: &DevCluster, scene: &Scene) -> Result<Self> {
        let of_mysql = scene.mysql.sdk_configuration(cluster).await?;
        let of_redis = scene.redis.configuration_for_sides(cluster).await?;
        ensure!(
            of_mysql.endpoints.len() == 3 && of_redis.endpoints == of_mysql.endpoints,
            "{of_mysql:?}"
        );
        let (mut relational, mut redis) = (Vec::new(), Vec::new());
        for index in 0..3 {
            let mut own = of_mysql.clone();
            own.endpoints.rotate_left(index);
            relational.push(SdkClient::start(&own).await?);
            let mut own = of_redis.clone();
            own.endpoints.rotate_left(index);
            redis.push(RedisSdkClient::start(&own).await?);
        }
        let clients = Self { relational, redis };
        clients.all_at("dc1").await?;
        Ok(clients)
    }

    /// Every process has taken the side over, and the next write of each is acknowledged there.
    async fn all_at(&self, side: &str) -> Result<()> {
        for (number, client) in self.relational.iter().enumerate() {
            eventually(
                &format!("relational process {number} at {side}"),
                FOLLOW_TIMEOUT,
                async || {
                    ensure!(client.active() == side, "it is at {}", client.active());
                    let insert = format!("INSERT INTO orders (client, number) VALUES ('follower-{number}', 0)");
                    let outcome = client.execute(&insert).await;
                    ensure!(outcome == StatementOutcome::Done, "{outcome:?}");
                    let last = client.statements().pop().context("a statement")?;
                    ensure!(last.data_center == side, "{last:?}");
                    Ok(Some(()))
                },
            )
            .await?;
        }
        for (number, client) in self.redis.iter().enumerate() {
            eventually(
                &format!("Redis process {number} at {side}"),
                FOLLOW_TIMEOUT,
                async || {
                    ensure!(client.active() == side, "it is at {}", client.active());
                    let outcome = client.set("orders:follower", side).await;
                    ensure!(outcome == CommandOutcome::Done, "{outcome:?}");
                    let last = client.commands().pop().context("a command")?;
                    ensure!(last.data_center == side, "{last:?}");
                    Ok(Some(()))
                },
            )
            .await?;
        }
        Ok(())
    }

    /// What was taken over, in order and each once, and nothing on a side that was no longer active.
    fn judge(&self) -> Result<()> {
        // Failover, switchback, without the leader, after the restart.
        let expected = ["dc2", "dc1", "dc2", "dc1"];
        let sides = |changes: Vec<quorate_chaos::sdk::ActiveChange>| -> Vec<String> {
            changes.into_iter().map(|change| change.data_center).collect()
        };
        for client in &self.relational {
            let seen = sides(client.changes());
            ensure!(seen == expected, "a relational process took over {seen:?}");
            let misdirected = client.misdirected();
            ensure!(misdirected.is_empty(), "{misdirected:?}");
        }
        for client in &self.redis {
            let seen = sides(client.changes());
            ensure!(seen == expected, "a Redis process took over {seen:?}");
            let misdirected = client.misdirected();
            ensure!(misdirected.is_empty(), "{misdirected:?}");
            let crashed = client
                .commands()
                .iter()
                .any(|command| command.outcome == CommandOutcome::Crashed);
            ensure!(!crashed, "`active` named a server that does not exist");
        }
        Ok(())
    }
}

async fn failover(rest: &RestClient, scene: &mut Scene, clients: &Clients) -> Result<()> {
    scene.mysql.pair.dc1.kill()?;
    scene.redis.pair.kill_dc1()?;
    clients.all_at("dc2").await?;
    scene.mysql.pair.dc1.start()?;
    scene.mysql.pair.dc1.wait_ready(SETTLE_TIMEOUT).await?;
    let pair = &scene.mysql.pair;
    pair.wait_caught_up(&pair.dc2, &pair.dc1, SETTLE_TIMEOUT).await?;
    scene.redis.pair.start_dc1().await?;
    scene
        .mysql
        .wait_sides(rest, "healthy", "healthy", SETTLE_TIMEOUT)
        .await?;
    scene
        .redis
        .wait_sides(rest, "healthy", "healthy", SETTLE_TIMEOUT)
        .await
        .map(drop)
}

/// A third of the processes lose their node, all of them the leader: nobody misses the switch.
async fn node_killed(cluster: &mut DevCluster, scene: &Scene, clients: &Clients) -> Result<()> {
    let leader = cluster.leader(SETTLE_TIMEOUT).await?;
    cluster.signal(leader, Signal::Kill)?;
    scene.switch(&cluster.rest, "dc2", clients).await?;
    cluster.restart(leader).await?;
    cluster.wait_ready(leader, SETTLE_TIMEOUT).await.map(drop)
}

/// While no node is there the processes stay where they are and write; afterwards they follow as before.
async fn all_restart(cluster: &mut DevCluster, scene: &Scene, clients: &Clients) -> Result<()> {
    let nodes: Vec<u64> = cluster.info.nodes.iter().map(|node| node.id).collect();
    for node in &nodes {
        cluster.signal(*node, Signal::Kill)?;
    }
    eventually("all three are gone", SETTLE_TIMEOUT, async || {
        let alive = nodes
            .iter()
            .filter(|node| cluster.pid(**node).is_ok_and(process_alive))
            .count();
        ensure!(alive == 0, "{alive} are alive");
        Ok(Some(()))
    })
    .await?;
    clients.all_at("dc2").await.context("without any node")?;
    for node in &nodes {
        cluster.restart(*node).await?;
    }
    for node in &nodes {
        cluster.wait_ready(*node, SETTLE_TIMEOUT).await?;
    }
    let rest = &cluster.rest;
    scene
        .mysql
        .wait_sides(rest, "healthy", "healthy", SETTLE_TIMEOUT)
        .await?;
    scene
        .redis
        .wait_sides(rest, "healthy", "healthy", SETTLE_TIMEOUT)
        .await?;
    scene.switch(rest, "dc1", clients).await
}
