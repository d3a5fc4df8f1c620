//! Two MariaDB servers that replicate from each other, as a bidirectional replication service would link them: a switch
//! there and back needs no promotion.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{MariaDb, MariaDbOptions};
pub use crate::Account;
use crate::PortBlock;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(20);

/// Reads role and replication state only (`SLAVE MONITOR`).
pub const MONITOR: Account = Account {
    user: "quorate_mon",
    password: "monitor-pw",
};
/// Reads and writes the database `orders`.
pub const APPLICATION: Account = Account {
    user: "orders_app",
    password: "orders-pw",
};
/// Carries the replication links.
pub const REPLICATION: Account = Account {
    user: "repl",
    password: "repl-pw",
};
/// Locks the application's account and ends its sessions.
pub const FENCE: Account = Account {
    user: "quorate_fence",
    password: "fence-pw",
};

/// Settings of a pair.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// Ports of dc1 and dc2; a free pair is claimed when absent.
    pub ports: Option<[u16; 2]>,
    /// `max_connections` of each server.
    pub max_connections: u32,
    /// Connections of the monitoring account on each server: four a node serve one monitor (kept, fresh, connection
    /// test), so raise it with the number of monitors.
    pub monitor_connections: u32,
    /// Further lines of the section `[mariadbd]` of both.
    pub extra_lines: Vec<String>,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            ports: None,
            max_connections: 100,
            monitor_connections: 12,
            extra_lines: Vec::new(),
        }
    }
}

/// A running pair with the accounts of this module and one table `orders.orders`. Dropping it kills both servers.
#[derive(Debug)]
pub struct MariaDbPair {
    /// The primary side.
    pub dc1: MariaDb,
    /// The standby side; writable too.
    pub dc2: MariaDb,
    _ports: Option<PortBlock>,
}

impl MariaDbPair {
    /// Creates and starts both servers below `directory`, links them and waits until dc2 has everything of dc1.
    ///
    /// # Errors
    /// MariaDB is not installed, or a step fails.
    pub async fn start(directory: &Path, options: PairOptions) -> Result<Self> {
        let (block, [port1, port2]) = match options.ports {
            Some(ports) => (None, ports),
            None => {
                let block = PortBlock::claim()?;
                let ports = [block.port(0), block.port(1)];
                (Some(block), ports)
            }
        };
        let side = |number: u32, port: u16| MariaDbOptions {
            server_id: number,
            gtid_domain_id: number,
            auto_increment_offset: number,
            max_connections: options.max_connections,
            extra_lines: options.extra_lines.clone(),
            ..MariaDbOptions::new(port)
        };
        let mut dc1 = MariaDb::init(&directory.join("dc1"), side(1, port1)).await?;
        let mut dc2 = MariaDb::init(&directory.join("dc2"), side(2, port2)).await?;
        dc1.start()?;
        dc2.start()?;
        dc1.wait_ready(READY_TIMEOUT).await?;
        dc2.wait_ready(READY_TIMEOUT).await?;

        // Accounts and tables are created once: replication carries them over.
        let statements = setup_statements(options.monitor_connections);
        dc1.exec(&statements.iter().map(String::as_str).collect::<Vec<_>>())
            .await?;
        let pair = Self {
            dc1,
            dc2,
            _ports: block,
        };
        replicate(&pair.dc1, &pair.dc2).await?;
        pair.wait_caught_up(&pair.dc1, &pair.dc2, CATCH_UP_TIMEOUT).await?;
        replicate(&pair.dc2, &pair.dc1).await?;
        pair.wait_caught_up(&pair.dc2, &pair.dc1, CATCH_UP_TIMEOUT).await?;
        Ok(pair)
    }

    /// Waits until `to` has applied everything that `from` holds now, compared by GTID position.
    ///
    /// # Errors
    /// `timeout` passed; the text carries the link's own error.
    pub async fn wait_caught_up(&self, from: &MariaDb, to: &MariaDb, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let position: String = from
            .query_first("SELECT @@gtid_current_pos")
            .await?
            .context("no GTID position")?;
        while Instant::now() < deadline {
            // At most a second at a time keeps within the bound of a root statement.
            let query = format!("SELECT MASTER_GTID_WAIT('{position}', 1)");
            if to.query_first::<i32>(&query).await? == Some(0) {
                return Ok(());
            }
        }
        let state: Option<mysql_async::Row> = to.query_first("SHOW REPLICA STATUS").await?;
        let error = state.and_then(|row| row.get::<String, _>("Last_Error"));
        bail!(
            "port {} has not reached {position} within {timeout:?}; error of its link: {error:?}",
            to.port()
        )
    }
}

fn setup_statements(monitor_connections: u32) -> Vec<String> {
    let create = |account: Account, limits: &str| {
        format!(
            "CREATE USER {}@'%' IDENTIFIED BY '{}' {limits}",
            account.user, account.password
        )
    };
    let grant = |rights: &str, account: Account| format!("GRANT {rights} TO {}@'%'", account.user);
    vec![
        create(REPLICATION, ""),
        grant("REPLICATION SLAVE ON *.*", REPLICATION),
        create(MONITOR, &format!("WITH MAX_USER_CONNECTIONS {monitor_connections}")),
        grant("SLAVE MONITOR ON *.*", MONITOR),
        create(APPLICATION, ""),
        create(FENCE, ""),
        grant("BINLOG ADMIN, CREATE USER, CONNECTION ADMIN ON *.*", FENCE),
        "CREATE DATABASE orders".to_owned(),
        grant("SELECT, INSERT, UPDATE, DELETE ON orders.*", APPLICATION),
        grant("SELECT ON orders.*", MONITOR),
        "CREATE TABLE orders.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, client VARCHAR(64) NOT NULL, \
         number BIGINT NOT NULL, created TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))"
            .to_owned(),
    ]
}

/// Makes `to` replicate from `from`.
async fn replicate(from: &MariaDb, to: &MariaDb) -> Result<()> {
    let change = format!(
        "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='{}', MASTER_PASSWORD='{}', \
         MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
        from.port(),
        REPLICATION.user,
        REPLICATION.password
    );
    to.exec(&[&change, "START SLAVE"]).await
}
