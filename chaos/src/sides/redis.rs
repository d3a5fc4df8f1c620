//! Two Redis masters, as the SDK's routing with asynchronous double writes has them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_real_parts::redis::{APPLICATION, MONITOR, RedisPair};
use serde_json::{Value, json};

use super::{Sides, of_side};
use crate::cluster::Credentials;
use crate::sdk::SdkConfiguration;

const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// What an application allows for one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
const PREFIX: &str = "orders:story:";

/// The pair.
#[derive(Debug)]
pub struct RedisSides(RedisPair);

impl RedisSides {
    /// Starts both servers.
    pub async fn start(directory: &Path) -> Result<Self> {
        Ok(Self(
            RedisPair::start(directory, false)
                .await
                .context("starting the Redis servers")?,
        ))
    }
}

impl Sides for RedisSides {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn addresses(&self) -> [String; 2] {
        [self.0.dc1.address(), self.0.dc2.address()]
    }

    fn section(&self) -> Value {
        let side = |address: &str, region: &str| {
            json!({
                "cloud": "private", "region": region, "zones": [], "addresses": [address],
                "user": MONITOR.user, "password": MONITOR.password,
            })
        };
        let [dc1, dc2] = self.addresses();
        json!({
            "mode": "normal",
            "routing": "single-read-async-double-write",
            "dc1": side(&dc1, "region-1"),
            "dc2": side(&dc2, "region-2"),
        })
    }

    fn pool(&self) -> Option<Value> {
        None
    }

    fn active_key(&self, configuration: &SdkConfiguration) -> String {
        configuration.redis_key("status", "active")
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
            let mut connection = server.login(APPLICATION).await?;
            let mut command = redis::cmd("SET");
            command.arg(format!("{PREFIX}{number}")).arg(number);
            Ok(command.query_async::<()>(&mut connection).await?)
        };
        tokio::time::timeout(COMMAND_TIMEOUT, work).await.context("no answer")?
    }

    async fn numbers(&self, side: &str) -> Result<BTreeSet<i64>> {
        let server = of_side(&self.0.dc1, &self.0.dc2, side)?;
        let keys: Vec<String> = server.admin(&["KEYS", &format!("{PREFIX}*")]).await?;
        let numbers = keys.iter().filter_map(|key| key.strip_prefix(PREFIX)?.parse().ok());
        Ok(numbers.collect())
    }
}
