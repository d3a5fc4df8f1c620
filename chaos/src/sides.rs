//! The two sides of a monitor of any kind, as a story needs them: what to tell the appliance, how to fail dc1 and bring it
//! back, and what an application does there.
//!
//! A further kind is a further file with one implementation of [`Sides`] and a line in [`with_sides`]; the story of
//! [`crate::demo`] and its test need no change. MySQL has a richer story of its own; its sides here are for measurements.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cluster::{Credentials, DevCluster};
use crate::rest::RestClient;
use crate::scenario::{INSTANCE, Stage, Timing, create_application, create_tested_monitor};
use crate::sdk::SdkConfiguration;

mod elasticsearch;
mod mongodb;
mod mysql;
mod postgresql;
mod redis;

pub use elasticsearch::ElasticsearchSides;
pub use mongodb::MongodbSides;
pub use mysql::MysqlSides;
pub use postgresql::PostgresqlSides;
pub use redis::RedisSides;

const HEALTHY_TIMEOUT: Duration = Duration::from_secs(30);

/// Both sides of one kind.
pub trait Sides: Send + Sync + 'static {
    /// Feature point, for example `redis`.
    fn kind(&self) -> &'static str;

    /// `host:port` of dc1 and dc2.
    fn addresses(&self) -> [String; 2];

    /// The kind's section of a monitor's body.
    fn section(&self) -> Value;

    /// The body of the connection pool, for kinds that have one.
    fn pool(&self) -> Option<Value>;

    /// Key of the monitor's active side.
    fn active_key(&self, configuration: &SdkConfiguration) -> String;

    /// The application's account.
    fn application(&self) -> Credentials;

    /// dc1's server is killed: it refuses from now on.
    fn kill_dc1(&mut self) -> Result<()>;

    /// dc1's server comes back; returns when it answers.
    fn start_dc1(&mut self) -> impl Future<Output = Result<()>>;

    /// dc1's server is stopped (SIGSTOP): it accepts connections and never answers.
    fn pause_dc1(&mut self) -> Result<()>;

    /// Ends a pause; returns when the server answers.
    fn resume_dc1(&mut self) -> impl Future<Output = Result<()>>;

    /// An application's write of a number to a side (`dc1`, `dc2`); `Ok` when the server acknowledged it.
    fn write(&self, side: &str, number: i64) -> impl Future<Output = Result<()>> + Send;

    /// The numbers that a side holds.
    fn numbers(&self, side: &str) -> impl Future<Output = Result<BTreeSet<i64>>> + Send;
}

/// Addresses of a side as the sections of several kinds spell them.
fn site(address: &str, region: &str) -> Value {
    json!({"cloud": "private", "region": region, "address": address, "replicas": []})
}

/// The section of a relational kind.
fn relational_section(user: &str, password: &str, [dc1, dc2]: [String; 2]) -> Value {
    json!({
        "user": user,
        "password": password,
        "monitoring_database": "orders",
        "connecting_database": "orders",
        "dc1": site(&dc1, "region-1"),
        "dc2": site(&dc2, "region-2"),
    })
}

/// The connection pool of a relational kind.
fn relational_pool([dc1, dc2]: [String; 2]) -> Value {
    let side = |name: &str, address: String| {
        let source = json!({"name": name, "address": address, "schema": "orders"});
        json!({"source": source, "replicas": [], "load_balance": "RANDOM"})
    };
    json!({
        "database": "orders",
        "routing": "single-read-write",
        "dc1": side("ds1", dc1),
        "dc2": side("ds2", dc2),
    })
}

/// Where the server of a side is.
fn of_side<'a, T>(dc1: &'a T, dc2: &'a T, side: &str) -> Result<&'a T> {
    match side {
        "dc1" => Ok(dc1),
        "dc2" => Ok(dc2),
        other => bail!("there is no side {other:?}"),
    }
}

/// Creates application, monitor and pool for running sides, and waits until both are healthy.
pub async fn build<S: Sides>(cluster: &DevCluster, sides: S, timing: Timing) -> Result<Stage<S>> {
    let rest = &cluster.rest;
    let application = create_application(rest, &format!("shop-{}", sides.kind())).await?;
    let monitor = create_tested_monitor(rest, body(&application, &sides, timing)).await?;
    let stage = Stage {
        pair: sides,
        application,
        monitor,
        database: "orders".to_owned(),
    };
    if let Some(pool) = stage.pair.pool() {
        let etag = rest
            .request(reqwest::Method::GET, &stage.path(), None, None)
            .await?
            .etag;
        let path = format!("{}/connection-pool", stage.path());
        rest.put_with_etag(&path, pool, etag)
            .await?
            .success()
            .context("saving the connection pool")?;
    }
    stage.wait_sides(rest, "healthy", "healthy", HEALTHY_TIMEOUT).await?;
    Ok(stage)
}

/// The body of a new monitor over these sides.
pub fn body<S: Sides>(application: &str, sides: &S, timing: Timing) -> Value {
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
    });
    body[sides.kind()] = sides.section();
    body
}

impl<S: Sides> Stage<S> {
    /// What an operator copies for an application process.
    pub async fn configuration_for_sides(&self, cluster: &DevCluster) -> Result<SdkConfiguration> {
        let handed_out = cluster.rest.get(&format!("{}/sdk-configuration", self.path())).await?;
        SdkConfiguration::from_console(&handed_out, &cluster.info, self.pair.application())
    }
}

/// Waits until an event of this code tells of the monitor.
pub async fn wait_event(rest: &RestClient, code: &str, monitor: &str, timeout: Duration) -> Result<Value> {
    let deadline = Instant::now() + timeout;
    loop {
        let events = rest.get(&format!("/events?code={code}&monitor={monitor}")).await?;
        if let Some(event) = events["items"].as_array().and_then(|items| items.first()) {
            return Ok(event.clone());
        }
        if Instant::now() > deadline {
            bail!("no event {code} of {INSTANCE}/monitors/{monitor} within {timeout:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What is done with the sides of a kind that is known by name only.
pub trait WithSides {
    /// Called once with the running sides.
    fn call<S: Sides>(self, sides: S) -> impl Future<Output = Result<()>>;
}

/// Kinds that the story is told on, in the order of the catalogue.
pub const KINDS: [&str; 4] = ["postgresql", "redis", "mongodb", "elasticsearch"];

/// Starts the sides of `kind` below `directory` and hands them over.
///
/// # Errors
/// The kind has none here, or a server does not start.
pub async fn with_sides(kind: &str, directory: &Path, work: impl WithSides) -> Result<()> {
    match kind {
        "mysql" => work.call(MysqlSides::start(directory).await?).await,
        "postgresql" => work.call(PostgresqlSides::start(directory).await?).await,
        "redis" => work.call(RedisSides::start(directory).await?).await,
        "mongodb" => work.call(MongodbSides::start(directory).await?).await,
        "elasticsearch" => work.call(ElasticsearchSides::start(directory).await?).await,
        other => bail!("there are no sides of {other:?}; there are mysql, {}", KINDS.join(", ")),
    }
}
