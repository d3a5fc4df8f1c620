//! The two real servers of a trial and the monitor over them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_real_parts::PortBlock;
use quorate_real_parts::mariadb::{MariaDb, MariaDbPair};
use quorate_real_parts::redis::{Redis, RedisOptions};
use serde_json::{Value, json};

use super::Database;
use super::acts::CATCH_UP_TIMEOUT;
use crate::cluster::DevCluster;
use crate::harness::eventually;
use crate::scenario::{Stage, Timing, create_application, create_monitor};

/// Rows say which server wrote them; the server's own value travels with the row to the other side.
const TABLE: &str = "CREATE TABLE orders.sdk_trial (id BIGINT AUTO_INCREMENT PRIMARY KEY, worker VARCHAR(64) NOT NULL, \
                     number BIGINT NOT NULL, server BIGINT NOT NULL)";
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const TIMING: Timing = Timing::FAST;

/// What was written: worker and number to the server that took it.
pub(super) type Written = BTreeMap<(String, i64), i64>;

/// Both servers of a trial; dropping them kills them.
pub(super) enum Servers {
    /// They replicate both ways.
    MariaDb(Box<MariaDbPair>),
    /// They know nothing of each other.
    Redis(Box<RedisServers>),
}

/// Two Redis servers that take anybody.
pub(super) struct RedisServers {
    dc1: Redis,
    dc2: Redis,
    _ports: PortBlock,
}

/// Starts both below `directory` and creates application, monitor and, where the kind has one, connection pool.
pub(super) async fn build(database: Database, cluster: &DevCluster, directory: &Path) -> Result<Stage<Servers>> {
    match database {
        Database::Mysql => {
            let stage = Stage::build(cluster, directory, TIMING).await?;
            stage.pair.dc1.exec(&[TABLE]).await?;
            Ok(Stage {
                pair: Servers::MariaDb(Box::new(stage.pair)),
                application: stage.application,
                monitor: stage.monitor,
                database: stage.database,
            })
        }
        Database::Redis => {
            let servers = RedisServers::start(directory).await?;
            let application = create_application(&cluster.rest, "shop").await?;
            let monitor = create_monitor(&cluster.rest, servers.monitor_body(&application)).await?;
            let stage = Stage {
                pair: Servers::Redis(Box::new(servers)),
                application,
                monitor,
                database: String::new(),
            };
            stage
                .wait_sides(&cluster.rest, "healthy", "healthy", READY_TIMEOUT)
                .await?;
            Ok(stage)
        }
    }
}

impl Servers {
    /// Whether everything acknowledged must be found in the end: it is replicated and on disk.
    pub(super) const fn replicate(&self) -> bool {
        matches!(self, Self::MariaDb(_))
    }

    /// SIGKILL for dc1's server.
    pub(super) fn kill_dc1(&mut self) -> Result<()> {
        match self {
            Self::MariaDb(pair) => pair.dc1.kill(),
            Self::Redis(servers) => servers.dc1.kill(),
        }
    }

    /// dc1's server again, ready for applications.
    pub(super) async fn return_dc1(&mut self) -> Result<()> {
        match self {
            Self::MariaDb(pair) => {
                pair.dc1.start()?;
                pair.dc1.wait_ready(READY_TIMEOUT).await
            }
            Self::Redis(servers) => {
                servers.dc1.start()?;
                servers.dc1.wait_ready(READY_TIMEOUT).await?;
                name(&servers.dc1, 1).await
            }
        }
    }

    /// Waits until each side has applied what the other one holds now, where they replicate.
    pub(super) async fn caught_up(&self) -> Result<()> {
        if let Self::MariaDb(pair) = self {
            pair.wait_caught_up(&pair.dc1, &pair.dc2, CATCH_UP_TIMEOUT).await?;
            pair.wait_caught_up(&pair.dc2, &pair.dc1, CATCH_UP_TIMEOUT).await?;
        }
        Ok(())
    }

    /// Everything that the applications wrote and that is still there.
    pub(super) async fn written(&self) -> Result<Written> {
        match self {
            // What was under way when a process ended is committed a moment later.
            Self::MariaDb(pair) => {
                eventually("both sides hold the same rows", CATCH_UP_TIMEOUT, async || {
                    self.caught_up().await?;
                    let rows = rows_of(&pair.dc1).await?;
                    Ok((rows == rows_of(&pair.dc2).await?).then_some(rows))
                })
                .await
            }
            Self::Redis(servers) => {
                let mut written = keys_of(&servers.dc1, 1).await?;
                written.extend(keys_of(&servers.dc2, 2).await?);
                Ok(written)
            }
        }
    }
}

impl RedisServers {
    async fn start(directory: &Path) -> Result<Self> {
        let ports = PortBlock::claim()?;
        let server = async |name_: &str, number: u16| {
            let options = RedisOptions {
                passwordless: true,
                ..RedisOptions::new(ports.port(number - 1))
            };
            let mut server = Redis::init(&directory.join(name_), options)?;
            server.start()?;
            server.wait_ready(READY_TIMEOUT).await?;
            name(&server, i64::from(number)).await?;
            anyhow::Ok(server)
        };
        let (dc1, dc2) = (server("dc1", 1).await?, server("dc2", 2).await?);
        Ok(Self {
            dc1,
            dc2,
            _ports: ports,
        })
    }

    fn monitor_body(&self, application: &str) -> Value {
        let side = |server: &Redis, region: &str| -> Value {
            json!({"cloud": "private", "region": region, "zones": ["az1"], "addresses": [server.address()], "passwordless": true})
        };
        json!({
            "application": application,
            "probing": true,
            "automatic_switch": true,
            "timing": {
                "retry_interval_ms": TIMING.retry_interval_ms,
                "monitor_timeout_ms": TIMING.monitor_timeout_ms,
                "access_timeout_ms": TIMING.access_timeout_ms,
                "fast_profile": true,
            },
            "redis": {
                "mode": "normal",
                "routing": "single-read-write",
                "dc1": side(&self.dc1, "region-1"),
                "dc2": side(&self.dc2, "region-2"),
            },
        })
    }
}

/// Lets a server say which one it is.
async fn name(server: &Redis, number: i64) -> Result<()> {
    server.admin(&["SET", "server", &number.to_string()]).await
}

async fn keys_of(server: &Redis, number: i64) -> Result<Written> {
    let keys: Vec<String> = server.admin(&["KEYS", "trial:*"]).await?;
    keys.iter()
        .map(|key| {
            let parsed = key.strip_prefix("trial:").and_then(|rest| rest.rsplit_once(':'));
            let (worker, count) = parsed.with_context(|| format!("the key {key}"))?;
            Ok(((worker.to_owned(), count.parse()?), number))
        })
        .collect()
}

async fn rows_of(server: &MariaDb) -> Result<Written> {
    use mysql_async::prelude::Queryable;
    let mut connection = server.root_connection().await?;
    let rows: Vec<(String, i64, i64)> = connection
        .query("SELECT worker, number, server FROM orders.sdk_trial")
        .await?;
    connection.disconnect().await?;
    Ok(rows
        .into_iter()
        .map(|(worker, number, server)| ((worker, number), server))
        .collect())
}
