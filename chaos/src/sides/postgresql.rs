//! Two PostgreSQL primaries. Nothing replicates between them: promoting a standby is a hook's part, not the switch's.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_real_parts::postgresql::{APPLICATION, MONITOR, PairKind, PostgresqlPair};
use serde_json::Value;

use super::{Sides, of_side, relational_pool, relational_section};
use crate::cluster::Credentials;
use crate::sdk::SdkConfiguration;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// What an application allows for one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);

/// The pair.
#[derive(Debug)]
pub struct PostgresqlSides(PostgresqlPair);

impl PostgresqlSides {
    /// Starts both servers.
    pub async fn start(directory: &Path) -> Result<Self> {
        let pair = PostgresqlPair::start(directory, PairKind::Independent).await;
        Ok(Self(pair.context("starting the PostgreSQL servers")?))
    }
}

impl Sides for PostgresqlSides {
    fn kind(&self) -> &'static str {
        "postgresql"
    }

    fn addresses(&self) -> [String; 2] {
        [self.0.dc1.address(), self.0.dc2.address()]
    }

    fn section(&self) -> Value {
        relational_section(MONITOR.user, MONITOR.password, self.addresses())
    }

    fn pool(&self) -> Option<Value> {
        Some(relational_pool(self.addresses()))
    }

    fn active_key(&self, configuration: &SdkConfiguration) -> String {
        configuration.key("status", "active")
    }

    fn application(&self) -> Credentials {
        Credentials {
            user: APPLICATION.user.to_owned(),
            password: APPLICATION.password.to_owned(),
        }
    }

    fn kill_dc1(&mut self) -> Result<()> {
        self.0.dc1.kill()
    }

    async fn start_dc1(&mut self) -> Result<()> {
        self.0.dc1.start()?;
        self.0.dc1.wait_ready(READY_TIMEOUT).await
    }

    fn pause_dc1(&mut self) -> Result<()> {
        self.0.dc1.pause()
    }

    async fn resume_dc1(&mut self) -> Result<()> {
        self.0.dc1.resume()?;
        self.0.dc1.wait_ready(READY_TIMEOUT).await
    }

    async fn write(&self, side: &str, number: i64) -> Result<()> {
        let server = of_side(&self.0.dc1, &self.0.dc2, side)?;
        let work = async {
            let client = server.login(APPLICATION, "orders").await?;
            let insert = format!("INSERT INTO orders (client, number) VALUES ('story', {number})");
            Ok(client.batch_execute(&insert).await?)
        };
        tokio::time::timeout(STATEMENT_TIMEOUT, work)
            .await
            .context("no answer")?
    }

    async fn numbers(&self, side: &str) -> Result<BTreeSet<i64>> {
        let server = of_side(&self.0.dc1, &self.0.dc2, side)?;
        let client = server.login(APPLICATION, "orders").await?;
        let rows = client.query("SELECT number FROM orders", &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
