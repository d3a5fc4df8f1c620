//! What 1,000 monitors of mixed kinds cost three nodes: ten times a full instance, few real servers behind them.
//!
//! One instance serves them all, with its quota of monitors raised by the administrator's route.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quorate_real_parts::api::{ApiServer, Behaviour};
use quorate_real_parts::mariadb::{self, MariaDbPair, PairOptions};
use quorate_real_parts::postgresql::{self, PairKind, PostgresqlPair};
use quorate_real_parts::redis::{self, RedisPair};
use serde_json::{Value, json};

use super::idle::{committed_index, wait_quiet};
use super::{Programs, cluster, directory};
use crate::accounting::{cpu_time, resident_kib};
use crate::cluster::DevCluster;
use crate::scenario::{INSTANCE, create_application, create_monitor};
use crate::sides::{MongodbSides, Sides};

/// Ten instances of 100.
pub const MONITORS: usize = 1000;
/// Applications that share them.
const APPLICATIONS: usize = 10;
const MEASURE: Duration = Duration::from_secs(60);
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(300);
/// Monitors asked for at a time.
const PAGE: usize = 500;
/// Promised at most, per node.
const CPU_PERCENT: f64 = 20.0;
const RESIDENT_MIB: f64 = 300.0;
/// Sessions that a database's account may have: the measurement is of the nodes, not of the servers' limits.
const SESSIONS: u32 = 4000;

/// The servers behind all monitors.
struct Servers {
    mysql: MariaDbPair,
    postgresql: PostgresqlPair,
    redis: RedisPair,
    mongodb: MongodbSides,
    api: [ApiServer; 2],
}

impl Servers {
    async fn start(directory: &Path) -> Result<Self> {
        let options = PairOptions {
            max_connections: SESSIONS,
            monitor_connections: SESSIONS,
            ..PairOptions::default()
        };
        let lines = [format!("max_connections = {SESSIONS}")];
        Ok(Self {
            mysql: MariaDbPair::start(&directory.join("mysql"), options).await?,
            postgresql: PostgresqlPair::start_with(&directory.join("postgresql"), PairKind::Independent, &lines)
                .await?,
            redis: RedisPair::start(&directory.join("redis"), false).await?,
            mongodb: MongodbSides::start(&directory.join("mongodb")).await?,
            api: [
                ApiServer::start(Behaviour::Status(200)).await?,
                ApiServer::start(Behaviour::Status(200)).await?,
            ],
        })
    }

    /// The body of monitor `number`: the kinds in turn.
    fn monitor(&self, application: &str, number: usize) -> Value {
        let (kind, section) = match number % 5 {
            0 => (
                "mysql",
                self.relational(mariadb::MONITOR, [self.mysql.dc1.address(), self.mysql.dc2.address()]),
            ),
            1 => {
                let addresses = [self.postgresql.dc1.address(), self.postgresql.dc2.address()];
                ("postgresql", self.relational(postgresql::MONITOR, addresses))
            }
            2 => ("redis", self.redis()),
            3 => ("mongodb", self.mongodb.section()),
            _ => ("api", self.api()),
        };
        let mut body = json!({"application": application, "name": format!("{kind}-{number}"), "probing": true});
        if kind == "api" {
            body["timing"] = json!({"retry_interval_ms": 3000});
        } else {
            body["automatic_switch"] = true.into();
        }
        body[kind] = section;
        body
    }

    fn relational(&self, account: quorate_real_parts::Account, [dc1, dc2]: [String; 2]) -> Value {
        let site = |address: String, region: &str| json!({"cloud": "private", "region": region, "address": address, "replicas": []});
        json!({
            "user": account.user,
            "password": account.password,
            "monitoring_database": "orders",
            "connecting_database": "orders",
            "dc1": site(dc1, "region-1"),
            "dc2": site(dc2, "region-2"),
        })
    }

    fn redis(&self) -> Value {
        let side = |address: String, region: &str| {
            json!({
                "cloud": "private", "region": region, "zones": [], "addresses": [address],
                "user": redis::MONITOR.user, "password": redis::MONITOR.password,
            })
        };
        json!({
            "mode": "normal", "routing": "single-read-write",
            "dc1": side(self.redis.dc1.address(), "region-1"),
            "dc2": side(self.redis.dc2.address(), "region-2"),
        })
    }

    fn api(&self) -> Value {
        let side = |server: &ApiServer| json!({"cloud": "private", "region": "r", "scheme": "http", "address": server.address(), "path": "/health"});
        json!({"successes": 1, "failures": 3, "dc1": side(&self.api[0]), "dc2": side(&self.api[1])})
    }
}

/// Creates the monitors, waits until all are healthy, and measures a minute.
///
/// # Errors
/// A server that does not start, or monitors that do not become healthy.
pub async fn run(programs: &Programs, monitors: usize) -> Result<()> {
    let directory = directory()?;
    let cluster = cluster(programs, &directory).await?;
    let servers = Servers::start(&directory.path().join("databases")).await?;
    let quota = json!({"monitors_per_instance": monitors});
    cluster.rest.put_with_etag("/quotas", quota, None).await?.success()?;
    let mut applications = Vec::new();
    for number in 0..APPLICATIONS {
        applications.push(create_application(&cluster.rest, &format!("many-{number}")).await?);
    }
    let started = Instant::now();
    for number in 0..monitors {
        let body = servers.monitor(&applications[number % APPLICATIONS], number);
        create_monitor(&cluster.rest, body).await?;
    }
    println!(
        "{monitors} monitors created in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    wait_all_healthy(&cluster, monitors, HEALTHY_TIMEOUT).await?;
    println!("all healthy after {:.1} s", started.elapsed().as_secs_f64());
    wait_quiet(&cluster, HEALTHY_TIMEOUT).await?;
    measure(&cluster, monitors).await?;
    sessions(&servers).await?;
    drop(servers);
    cluster.stop().await
}

async fn measure(cluster: &DevCluster, monitors: usize) -> Result<()> {
    let pids = cluster
        .info
        .nodes
        .iter()
        .map(|node| cluster.pid(node.id))
        .collect::<Result<Vec<_>>>()?;
    let before = pids.iter().map(|pid| cpu_time(&[*pid])).collect::<Result<Vec<_>>>()?;
    let (index, started) = (committed_index(cluster).await?, Instant::now());
    tokio::time::sleep(MEASURE).await;
    let elapsed = started.elapsed();
    let entries = committed_index(cluster).await? - index;
    println!(
        "{monitors} monitors (MySQL, PostgreSQL, Redis, MongoDB, API in turn), every 3000 ms, for {} s: {entries} log entries",
        elapsed.as_secs()
    );
    for ((node, pid), before) in cluster.info.nodes.iter().zip(&pids).zip(before) {
        let share = (cpu_time(&[*pid])? - before).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
        let resident = resident_kib(*pid)? as f64 / 1024.0;
        let kept = share <= CPU_PERCENT && resident <= RESIDENT_MIB;
        println!(
            "{}: {share:.1} % of one core (promised {CPU_PERCENT}), {resident:.0} MiB resident (promised {RESIDENT_MIB}){}",
            node.name,
            if kept { "" } else { ", **not kept**" }
        );
    }
    Ok(())
}

/// How many sessions the nodes hold at a server.
async fn sessions(servers: &Servers) -> Result<()> {
    let mysql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}'",
        mariadb::MONITOR.user
    );
    let of_mysql: Option<i64> = servers.mysql.dc1.query_first(&mysql).await?;
    let postgresql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
        postgresql::MONITOR.user
    );
    let of_postgresql = servers.postgresql.dc1.query_first(&postgresql).await?;
    println!(
        "sessions of the nodes at one server: MySQL {}, PostgreSQL {}",
        of_mysql.unwrap_or_default(),
        of_postgresql.unwrap_or_default()
    );
    Ok(())
}

/// Waits until this many monitors are healthy on both sides.
pub(super) async fn wait_all_healthy(cluster: &DevCluster, monitors: usize, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let healthy = healthy(cluster).await?;
        if healthy >= monitors {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{healthy} of {monitors} monitors became healthy within {timeout:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn healthy(cluster: &DevCluster) -> Result<usize> {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let page = format!("{INSTANCE}/monitors?limit={PAGE}{cursor}");
        let list = cluster.rest.get(&page).await?;
        let items = list["items"].as_array().context("no list of monitors")?;
        let is_healthy = |item: &&Value| item["dc1"]["state"] == "healthy" && item["dc2"]["state"] == "healthy";
        count += items.iter().filter(is_healthy).count();
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(count),
        }
    }
}
