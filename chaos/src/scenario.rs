//! The stage that failover scenarios share: a real MariaDB pair, an application, a monitor with its connection pool, and
//! the SDK configuration that the console hands out.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use quorate_real_parts::mariadb::{APPLICATION, MONITOR, MariaDbPair, PairOptions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Credentials, DevCluster};
use crate::rest::RestClient;
use crate::sdk::SdkConfiguration;

/// Timing of a monitor, milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub retry_interval_ms: u32,
    pub monitor_timeout_ms: u32,
    pub access_timeout_ms: u32,
}

impl Timing {
    /// The fast profile: failover in about a second.
    pub const FAST: Self = Self {
        retry_interval_ms: 300,
        monitor_timeout_ms: 1000,
        access_timeout_ms: 500,
    };
}

/// A monitor over a real pair.
#[derive(Debug)]
pub struct Stage<P = MariaDbPair> {
    pub pair: P,
    pub application: String,
    pub monitor: String,
    pub database: String,
}

/// Where the API keeps the objects of the first instance.
pub const INSTANCE: &str = "/instances/default";
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(30);

impl Stage {
    /// Starts the pair below `directory` and creates application, monitor and pool through the public API.
    pub async fn build(cluster: &DevCluster, directory: &Path, timing: Timing) -> Result<Self> {
        let options = PairOptions {
            monitor_connections: 60,
            ..PairOptions::default()
        };
        let pair = MariaDbPair::start(directory, options)
            .await
            .context("starting the MariaDB pair")?;
        let application = create_application(&cluster.rest, "shop").await?;
        let body = monitor_body(&application, "", timing, &pair.dc1.address(), &pair.dc2.address());
        let monitor = create_tested_monitor(&cluster.rest, body).await?;
        let stage = Self {
            pair,
            application,
            monitor,
            database: "orders".to_owned(),
        };
        save_pool(&cluster.rest, &stage).await?;
        stage
            .wait_sides(&cluster.rest, "healthy", "healthy", HEALTHY_TIMEOUT)
            .await?;
        Ok(stage)
    }

    /// What an operator copies for an application process.
    pub async fn sdk_configuration(&self, cluster: &DevCluster) -> Result<SdkConfiguration> {
        let handed_out = cluster.rest.get(&format!("{}/sdk-configuration", self.path())).await?;
        let database_user = Credentials {
            user: APPLICATION.user.to_owned(),
            password: APPLICATION.password.to_owned(),
        };
        SdkConfiguration::from_console(&handed_out, &cluster.info, database_user)
    }
}

impl<P> Stage<P> {
    /// Path of the monitor below `/api/v1`.
    pub fn path(&self) -> String {
        format!("{INSTANCE}/monitors/{}", self.monitor)
    }

    /// The monitor with its live state.
    pub async fn view(&self, rest: &RestClient) -> Result<Value> {
        rest.get(&self.path()).await
    }

    /// Waits until both sides have these states.
    pub async fn wait_sides(&self, rest: &RestClient, dc1: &str, dc2: &str, timeout: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            // While a node is lost, an answer may be an error; only the end of the time makes it one here.
            let view = self.view(rest).await;
            let state = |side: &str| view.as_ref().ok().and_then(|view| view[side]["state"].as_str());
            if state("dc1") == Some(dc1) && state("dc2") == Some(dc2) {
                return Ok(started.elapsed());
            }
            if started.elapsed() > timeout {
                bail!("the sides are not {dc1} / {dc2} after {timeout:?}: {view:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks for a switch by hand.
    pub async fn switch(&self, rest: &RestClient, to: &str, extra: Value) -> Result<crate::rest::Answer> {
        let mut body = json!({"to": to});
        if let (Some(body), Some(extra)) = (body.as_object_mut(), extra.as_object()) {
            body.extend(extra.clone());
        }
        rest.try_post(&format!("{}/switch", self.path()), body).await
    }
}

/// Creates an application and gives its id.
pub async fn create_application(rest: &RestClient, name: &str) -> Result<String> {
    let reply = rest
        .post(
            &format!("{INSTANCE}/applications"),
            json!({"name": name, "description": ""}),
        )
        .await?;
    id_of(&reply)
}

/// Creates a monitor and gives its id. The connection test is overridden: scenarios begin with servers that are down, slow
/// or cut off, and what they ask for is not the gate ([`create_tested_monitor`]).
pub async fn create_monitor(rest: &RestClient, mut body: Value) -> Result<String> {
    if body.get("connection_test").is_none() {
        body["connection_test"] = json!({"override": true, "reason": "a scenario whose servers may be down"});
    }
    create_tested_monitor(rest, body).await
}

/// Creates a monitor whose connection test every node has passed, as an operator does, and gives its id.
pub async fn create_tested_monitor(rest: &RestClient, body: Value) -> Result<String> {
    let reply = rest.post(&format!("{INSTANCE}/monitors"), body).await?;
    id_of(&reply)
}

/// A MySQL monitor's body; an empty name lets the appliance choose one.
pub fn monitor_body(application: &str, name: &str, timing: Timing, dc1: &str, dc2: &str) -> Value {
    let site =
        |address: &str, region: &str| json!({"cloud": "private", "region": region, "address": address, "replicas": []});
    let mut body = json!({
        "application": application,
        "probing": true,
        "automatic_switch": true,
        "timing": {
            "retry_interval_ms": timing.retry_interval_ms,
            "monitor_timeout_ms": timing.monitor_timeout_ms,
            "access_timeout_ms": timing.access_timeout_ms,
            "fast_profile": true,
        },
        "mysql": {
            "user": MONITOR.user,
            "password": MONITOR.password,
            "monitoring_database": "orders",
            "connecting_database": "orders",
            "dc1": site(dc1, "region-1"),
            "dc2": site(dc2, "region-2"),
        },
    });
    if !name.is_empty() {
        body["name"] = name.into();
    }
    body
}

/// Saves the connection pool of the stage's monitor: one data source per side.
pub async fn save_pool(rest: &RestClient, stage: &Stage) -> Result<()> {
    let side = |name: &str, address: String| json!({"source": {"name": name, "address": address, "schema": "orders"}, "replicas": [], "load_balance": "RANDOM"});
    let body = json!({
        "database": stage.database,
        "routing": "single-read-write",
        "dc1": side("ds1", stage.pair.dc1.address()),
        "dc2": side("ds2", stage.pair.dc2.address()),
    });
    // The pool is part of the monitor, whose ETag it goes by.
    let etag = rest.request(Method::GET, &stage.path(), None, None).await?.etag;
    let saved = rest
        .put_with_etag(&format!("{}/connection-pool", stage.path()), body, etag)
        .await?;
    saved.success().context("saving the connection pool").map(drop)
}

fn id_of(reply: &Value) -> Result<String> {
    reply["id"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no id in {reply}"))
}
