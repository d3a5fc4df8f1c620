//! A MariaDB pair that replicates both ways.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use quorate_real_parts::mariadb::{APPLICATION, MONITOR, MariaDbPair, PairOptions};
use serde_json::Value;

use super::{Sides, of_side, relational_pool, relational_section};
use crate::cluster::Credentials;
use crate::sdk::SdkConfiguration;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// What an application allows for one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Client name of these rows.
const CLIENT: &str = "story";

/// The pair.
#[derive(Debug)]
pub struct MysqlSides(MariaDbPair);

impl MysqlSides {
    /// Starts both servers.
    ///
    /// # Errors
    /// MariaDB is not installed or does not start.
    pub async fn start(directory: &Path) -> Result<Self> {
        let options = PairOptions {
            monitor_connections: 60,
            ..PairOptions::default()
        };
        let pair = MariaDbPair::start(directory, options).await;
        Ok(Self(pair.context("starting the MariaDB pair")?))
    }

    /// dc1 answers and has what dc2 has.
    async fn settled(&mut self) -> Result<()> {
        self.0.dc1.wait_ready(READY_TIMEOUT).await?;
        self.0.wait_caught_up(&self.0.dc2, &self.0.dc1, READY_TIMEOUT).await
    }
}

impl Sides for MysqlSides {
    fn kind(&self) -> &'static str {
        "mysql"
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
        self.settled().await
    }

    fn pause_dc1(&mut self) -> Result<()> {
        self.0.dc1.pause()
    }

    async fn resume_dc1(&mut self) -> Result<()> {
        self.0.dc1.resume()?;
        self.settled().await
    }

    async fn write(&self, side: &str, number: i64) -> Result<()> {
        let server = of_side(&self.0.dc1, &self.0.dc2, side)?;
        let work = async {
            let options = OptsBuilder::default()
                .ip_or_hostname("127.0.0.1")
                .tcp_port(server.port())
                .user(Some(APPLICATION.user))
                .pass(Some(APPLICATION.password))
                .db_name(Some("orders"));
            let mut connection = Conn::new(options).await?;
            let insert = format!("INSERT INTO orders (client, number) VALUES ('{CLIENT}', {number})");
            connection.query_drop(insert).await?;
            Ok(connection.disconnect().await?)
        };
        tokio::time::timeout(STATEMENT_TIMEOUT, work)
            .await
            .context("no answer")?
    }

    async fn numbers(&self, side: &str) -> Result<BTreeSet<i64>> {
        let server = of_side(&self.0.dc1, &self.0.dc2, side)?;
        let mut connection = server.root_connection().await?;
        let select = format!("SELECT number FROM orders.orders WHERE client = '{CLIENT}'");
        let numbers: Vec<i64> = connection.query(select).await?;
        connection.disconnect().await?;
        Ok(numbers.into_iter().collect())
    }
}
