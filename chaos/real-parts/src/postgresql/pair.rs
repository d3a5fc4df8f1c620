//! Two PostgreSQL servers, one per data center.

use std::{path::Path, time::Duration};

use anyhow::Result;

use super::{Postgresql, PostgresqlOptions, REPLICATION};
use crate::{Account, PortBlock};

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads role and replication state, no table.
pub const MONITOR: Account = Account {
    user: "quorate_mon",
    password: "monitor-pw",
};
/// Reads and writes the table `orders` of the database `orders`.
pub const APPLICATION: Account = Account {
    user: "orders_app",
    password: "orders-pw",
};

/// How the two sides are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairKind {
    /// dc2 is a streaming standby of dc1.
    Standby,
    /// Both are primaries, and nothing is replicated: what a replication service would do is nobody's part here.
    Independent,
}

/// A running pair with the accounts of this module and a database `orders`. Dropping it kills both servers.
#[derive(Debug)]
pub struct PostgresqlPair {
    /// The primary side.
    pub dc1: Postgresql,
    /// The other side.
    pub dc2: Postgresql,
    _ports: PortBlock,
}

impl PostgresqlPair {
    /// Creates and starts both servers below `directory`.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or a step fails.
    pub async fn start(directory: &Path, kind: PairKind) -> Result<Self> {
        Self::start_with(directory, kind, &[]).await
    }

    /// The same with further lines of both servers' `postgresql.conf`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(directory: &Path, kind: PairKind, extra_lines: &[String]) -> Result<Self> {
        let ports = PortBlock::claim()?;
        let [one, two] = [0, 1].map(|index| PostgresqlOptions {
            extra_lines: extra_lines.to_vec(),
            ..PostgresqlOptions::new(ports.port(index))
        });
        let mut dc1 = Postgresql::init(&directory.join("dc1"), one).await?;
        dc1.start()?;
        dc1.wait_ready(READY_TIMEOUT).await?;
        prepare(&dc1).await?;
        let directory = directory.join("dc2");
        let mut dc2 = match kind {
            PairKind::Standby => Postgresql::standby_of(&dc1, &directory, two).await?,
            PairKind::Independent => Postgresql::init(&directory, two).await?,
        };
        dc2.start()?;
        dc2.wait_ready(READY_TIMEOUT).await?;
        if kind == PairKind::Independent {
            prepare(&dc2).await?;
        }
        Ok(Self {
            dc1,
            dc2,
            _ports: ports,
        })
    }
}

/// Accounts, database and table.
async fn prepare(server: &Postgresql) -> Result<()> {
    let create = |account: Account, rights: &str| {
        let Account { user, password } = account;
        format!("CREATE ROLE {user} LOGIN PASSWORD '{password}' {rights}")
    };
    let accounts = [
        create(REPLICATION, "REPLICATION"),
        create(MONITOR, ""),
        create(APPLICATION, ""),
        format!("GRANT pg_monitor TO {}", MONITOR.user),
        "CREATE DATABASE orders".to_owned(),
    ];
    server.exec(&accounts.each_ref().map(String::as_str)).await?;
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO {}", APPLICATION.user);
    let table = "CREATE TABLE orders (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, client TEXT NOT NULL, \
        number BIGINT NOT NULL, created TIMESTAMPTZ NOT NULL DEFAULT now())";
    let sequence = format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}", APPLICATION.user);
    server.exec_in("orders", &[table, &grant, &sequence]).await
}
