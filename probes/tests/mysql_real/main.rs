//! The MySQL prober against real MariaDB servers and against what is none.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{
    Observation, Secret, Stage,
    mysql::{MysqlProber, MysqlTarget},
};
use quorate_real_parts::{
    PortBlock, ServerDirectory,
    mariadb::{MONITOR, MariaDb, MariaDbOptions},
};

mod canary;
mod faults;
mod logins;
mod paths;

const READY: Duration = Duration::from_secs(20);
/// Far above what a healthy server needs on a busy machine, so that its answers are not called slow.
const ACCESS_TIMEOUT: Duration = Duration::from_secs(4);
/// For servers that do not answer.
const SHORT_ACCESS_TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_millis(500);

/// A server with the monitoring account and database. Fields are dropped in order: the server first.
struct Fixture {
    server: MariaDb,
    _ports: PortBlock,
    _directory: ServerDirectory,
}

impl Fixture {
    async fn start() -> Result<Self> {
        Self::start_with(Vec::new()).await
    }

    async fn start_with(extra_lines: Vec<String>) -> Result<Self> {
        let directory = ServerDirectory::new()?;
        let ports = PortBlock::claim()?;
        let options = MariaDbOptions {
            extra_lines,
            ..MariaDbOptions::new(ports.port(0))
        };
        let mut server = MariaDb::init(&directory.path().join("server"), options).await?;
        server.start()?;
        server.wait_ready(READY).await?;
        let account = format!("CREATE USER {} IDENTIFIED BY '{}'", MONITOR.user, MONITOR.password);
        let grant = format!("GRANT SLAVE MONITOR ON *.* TO {}", MONITOR.user);
        let rights = format!("GRANT SELECT ON monitored.* TO {}", MONITOR.user);
        server
            .exec(&[&account, &grant, "CREATE DATABASE monitored", &rights])
            .await?;
        Ok(Self {
            server,
            _ports: ports,
            _directory: directory,
        })
    }

    fn target(&self) -> MysqlTarget {
        target(&self.server.address(), MONITOR.password, "monitored")
    }

    /// A counter of `SHOW GLOBAL STATUS`. Of `Connections`, the query's own one is included.
    async fn status(&self, name: &str) -> Result<u64> {
        let query = format!("SHOW GLOBAL STATUS LIKE '{name}'");
        let row: Option<(String, u64)> = self.server.query_first(&query).await?;
        Ok(row.context("a status row")?.1)
    }
}

fn target(address: &str, password: &str, database: &str) -> MysqlTarget {
    target_within(ACCESS_TIMEOUT, address, password, database)
}

fn target_within(access_timeout: Duration, address: &str, password: &str, database: &str) -> MysqlTarget {
    let password = Secret::new(password.to_owned());
    MysqlTarget::new(address, MONITOR.user, password, database, access_timeout).expect("a target")
}

/// One attempt, which must keep its bound.
async fn attempt(prober: &mut MysqlProber) -> Observation {
    attempt_within(ACCESS_TIMEOUT, prober).await
}

async fn attempt_within(access_timeout: Duration, prober: &mut MysqlProber) -> Observation {
    let started = Instant::now();
    let observation = prober.attempt().await.expect("an attempt is due");
    let took = started.elapsed();
    assert!(took < access_timeout + SLACK, "took {took:?}: {observation:?}");
    observation
}

fn found(observation: &Observation) -> (FindingClass, Stage, bool) {
    (observation.class, observation.stage, observation.fresh)
}

/// Moves the prober's clock; real input and output goes on with the real one.
async fn skip(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}
