//! A client that behaves as the Go SDK of the multi-active service does, its quirks included.
//!
//! It logs in, reads the monitor's configuration once, follows the `active` key by a prefix watch from "now", and runs
//! statements on the data source that `active` names. What it shares with the real one: 1 s for dial, login and each
//! start-up read with no retry; no keep-alive and no leader demand; a cut stream resumes by revision, a cancelled watch
//! starts again from now after a second; only a PUT of the exact key counts; a data source that answered one of five
//! MySQL errors is left alone for 60 s while statements *report success* without reaching any server.

mod configuration;
mod follow;
mod redis;
mod statements;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;

pub use configuration::{DataSourceConfig, RouterConfig, SdkConfiguration};
pub use redis::{CommandOutcome, RedisCommand, RedisSdkClient};
pub use statements::{Statement, StatementOutcome};

use crate::etcd::{Client, ConnectOptions};

/// What the SDK allows for dial, login and each read at its start.
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// A change of `active` as the client took it over.
#[derive(Debug, Clone)]
pub struct ActiveChange {
    pub data_center: String,
    pub at: Instant,
    pub wall: SystemTime,
}

/// What statements and the watch share.
#[derive(Debug)]
struct Shared {
    active: Mutex<String>,
    changes: Mutex<Vec<ActiveChange>>,
    router: RouterConfig,
    sources: BTreeMap<String, statements::Source>,
    excluded_until: Mutex<BTreeMap<String, Instant>>,
    statements: Mutex<Vec<Statement>>,
}

/// One running application process.
#[derive(Debug)]
pub struct SdkClient {
    shared: Arc<Shared>,
    watch: JoinHandle<()>,
}

impl SdkClient {
    /// Starts as an application process does; fails where the real one would not come up.
    pub async fn start(configuration: &SdkConfiguration) -> Result<Self> {
        let mut failure = None;
        for index in 0..configuration.endpoints.len() {
            match Self::start_on(configuration, index).await {
                Ok(client) => return Ok(client),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.context("the configuration names no endpoint")?)
    }

    async fn start_on(configuration: &SdkConfiguration, index: usize) -> Result<Self> {
        let path = configuration.access_path(index);
        let mut client = Client::connect(&path, START_TIMEOUT).await?;
        let sources = read_json(&mut client, &configuration.key("conf", "datasource")).await?;
        let router = read_json(&mut client, &configuration.key("conf", "router")).await?;
        let router: RouterConfig = serde_json::from_value(router).context("router")?;
        let sources: BTreeMap<String, DataSourceConfig> = serde_json::from_value(sources).context("datasource")?;
        let active = read_text(&mut client, &configuration.key("status", "active")).await?;
        if !router.nodes.contains_key(&active) {
            bail!("active names {active:?}, which the router does not know");
        }
        let sources = sources
            .iter()
            .map(|(name, source)| Ok((name.clone(), statements::Source::new(source, configuration)?)))
            .collect::<Result<_>>()?;
        let shared = Arc::new(Shared {
            active: Mutex::new(active),
            changes: Mutex::default(),
            router,
            sources,
            excluded_until: Mutex::default(),
            statements: Mutex::default(),
        });
        let key = configuration.key("status", "active");
        let following = shared.clone();
        let take: follow::TakeOver = Arc::new(move |value| follow::take_over(&following, value));
        let watch = tokio::spawn(follow::follow_active(configuration.clone(), key, index, client, take));
        Ok(Self { shared, watch })
    }

    /// The data center that statements go to now.
    pub fn active(&self) -> String {
        self.shared.active.lock().expect("not poisoned").clone()
    }

    /// Every change of `active` taken over so far.
    pub fn changes(&self) -> Vec<ActiveChange> {
        self.shared.changes.lock().expect("not poisoned").clone()
    }

    /// Runs one statement on the active side's master, with the router's retries.
    pub async fn execute(&self, sql: &str) -> StatementOutcome {
        statements::execute(&self.shared, sql).await
    }

    /// Every statement so far.
    pub fn statements(&self) -> Vec<Statement> {
        self.shared.statements.lock().expect("not poisoned").clone()
    }

    /// Waits until the client has taken over `data_center`.
    pub async fn wait_active(&self, data_center: &str, timeout: Duration) -> Result<ActiveChange> {
        let deadline = Instant::now() + timeout;
        loop {
            let change = self
                .changes()
                .into_iter()
                .rev()
                .find(|change| change.data_center == data_center);
            if let Some(change) = change.filter(|_| self.active() == data_center) {
                return Ok(change);
            }
            if Instant::now() > deadline {
                bail!("the client is still at {} after {timeout:?}", self.active());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Statements that began after a change had been taken over and still ran on the side that was no longer active.
    pub fn misdirected(&self) -> Vec<Statement> {
        let changes = self.changes();
        self.statements()
            .into_iter()
            .filter(|statement| {
                let current = changes.iter().rev().find(|change| change.at <= statement.chosen_at);
                current.is_some_and(|change| change.data_center != statement.data_center)
            })
            .collect()
    }
}

impl Drop for SdkClient {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

async fn read_text(client: &mut Client, key: &str) -> Result<String> {
    let reply = tokio::time::timeout(START_TIMEOUT, client.get(key.to_owned()))
        .await
        .with_context(|| format!("{key}: no answer within {START_TIMEOUT:?}"))??;
    let kv = reply.kvs.first().with_context(|| format!("{key} does not exist"))?;
    Ok(String::from_utf8(kv.value.to_vec())?)
}

async fn read_json(client: &mut Client, key: &str) -> Result<serde_json::Value> {
    serde_json::from_str(&read_text(client, key).await?).with_context(|| format!("{key} is no JSON"))
}

/// A path with the same credentials at another endpoint.
fn path_at(configuration: &SdkConfiguration, index: usize) -> ConnectOptions {
    configuration.access_path(index % configuration.endpoints.len())
}
