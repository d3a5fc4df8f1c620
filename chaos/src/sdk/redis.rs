//! How the Redis part of the SDK behaves, its quirks included (contract: `dcs` keys).
//!
//! It reads `servers` and `route-algorithm` at its start, watches `active` **before** it gets it, and takes over whatever
//! `active` says, even a name that `servers` does not have: every command then crashes. With an asynchronous double write the
//! other side gets each write too, and nobody hears how that ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

use super::configuration::ServerConfig;
use super::{ActiveChange, START_TIMEOUT, SdkConfiguration, follow, read_json, read_text};
use crate::cluster::Credentials;
use crate::etcd::Client;

/// What an application allows for one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(2);

/// What the application was told of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    Done,
    Failed(String),
    /// The real process would have crashed: `active` names no server.
    Crashed,
}

/// One command as it was run.
#[derive(Debug, Clone)]
pub struct RedisCommand {
    pub data_center: String,
    /// When the server was chosen.
    pub chosen_at: Instant,
    pub outcome: CommandOutcome,
}

#[derive(Debug)]
struct Shared {
    active: Mutex<String>,
    changes: Mutex<Vec<ActiveChange>>,
    servers: BTreeMap<String, ServerConfig>,
    double_write: bool,
    account: Credentials,
    connections: Mutex<BTreeMap<String, Connection>>,
    commands: Mutex<Vec<RedisCommand>>,
}

#[derive(Clone)]
struct Connection(MultiplexedConnection);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// One running application process with the Redis SDK.
#[derive(Debug)]
pub struct RedisSdkClient {
    shared: Arc<Shared>,
    watch: JoinHandle<()>,
}

impl RedisSdkClient {
    /// Starts on the first endpoint that serves; fails where the real one would not come up with its remote configuration.
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
        let servers = read_json(&mut client, &configuration.redis_key("conf", "servers")).await?;
        let routing = read_text(&mut client, &configuration.redis_key("conf", "route-algorithm")).await?;
        let servers: BTreeMap<String, ServerConfig> = serde_json::from_value(servers).context("servers")?;
        if let Some((name, server)) = servers.iter().find(|(_, server)| server.arrangement != "normal") {
            bail!(
                "{name} is {}: this client speaks to single servers only",
                server.arrangement
            );
        }
        let shared = Arc::new(Shared {
            active: Mutex::default(),
            changes: Mutex::default(),
            servers,
            double_write: routing.ends_with("-async-double-write"),
            account: configuration.database_user.clone(),
            connections: Mutex::default(),
            commands: Mutex::default(),
        });
        let key = configuration.redis_key("status", "active");
        let following = shared.clone();
        let take: follow::TakeOver = Arc::new(move |value| following.take_over(value));
        // The watch first, then the read: nothing is missed between them.
        let watching = Client::connect(&path, START_TIMEOUT).await?;
        let watch = follow::follow_active(configuration.clone(), key.clone(), index, watching, take);
        let started = Self {
            shared: shared.clone(),
            watch: tokio::spawn(watch),
        };
        let active = read_text(&mut client, &key).await?;
        let mut present = shared.active.lock().expect("not poisoned");
        if present.is_empty() {
            *present = active;
        }
        drop(present);
        Ok(started)
    }

    /// The data center that commands go to now.
    pub fn active(&self) -> String {
        self.shared.active.lock().expect("not poisoned").clone()
    }

    /// Every change of `active` taken over so far.
    pub fn changes(&self) -> Vec<ActiveChange> {
        self.shared.changes.lock().expect("not poisoned").clone()
    }

    /// Every command so far.
    pub fn commands(&self) -> Vec<RedisCommand> {
        self.shared.commands.lock().expect("not poisoned").clone()
    }

    /// `SET key value` on the active side.
    pub async fn set(&self, key: &str, value: &str) -> CommandOutcome {
        let (data_center, chosen_at) = (self.active(), Instant::now());
        let outcome = match self.shared.servers.get(&data_center) {
            None => CommandOutcome::Crashed,
            Some(_) => {
                if self.shared.double_write {
                    self.write_elsewhere(&data_center, key, value);
                }
                let done = self.shared.set_on(&data_center, key, value).await;
                done.map_or_else(
                    |error| CommandOutcome::Failed(format!("{error:#}")),
                    |()| CommandOutcome::Done,
                )
            }
        };
        self.shared.commands.lock().expect("not poisoned").push(RedisCommand {
            data_center,
            chosen_at,
            outcome: outcome.clone(),
        });
        outcome
    }

    fn write_elsewhere(&self, active: &str, key: &str, value: &str) {
        for other in self.shared.servers.keys().filter(|name| *name != active) {
            let (shared, other) = (self.shared.clone(), other.clone());
            let (key, value) = (key.to_owned(), value.to_owned());
            tokio::spawn(async move {
                // Asynchronous double write: the application never hears of it.
                let _ = shared.set_on(&other, &key, &value).await;
            });
        }
    }

    /// Waits until the client has taken over `data_center`.
    pub async fn wait_active(&self, data_center: &str, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while self.active() != data_center {
            if Instant::now() > deadline {
                bail!("the client is still at {} after {timeout:?}", self.active());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Commands that began after a change had been taken over and still ran on the side that was no longer active.
    pub fn misdirected(&self) -> Vec<RedisCommand> {
        let changes = self.changes();
        let mut commands = self.commands();
        commands.retain(|command| {
            let current = changes.iter().rev().find(|change| change.at <= command.chosen_at);
            current.is_some_and(|change| change.data_center != command.data_center)
        });
        commands
    }
}

impl Drop for RedisSdkClient {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Shared {
    /// The Redis SDK takes over any name.
    fn take_over(&self, value: &str) {
        let mut active = self.active.lock().expect("not poisoned");
        if *active == value {
            return;
        }
        value.clone_into(&mut active);
        self.changes.lock().expect("not poisoned").push(ActiveChange {
            data_center: value.to_owned(),
            at: Instant::now(),
            wall: SystemTime::now(),
        });
    }

    async fn set_on(&self, data_center: &str, key: &str, value: &str) -> Result<()> {
        let outcome = tokio::time::timeout(COMMAND_TIMEOUT, async {
            let mut connection = self.connection(data_center).await?;
            let mut command = redis::cmd("SET");
            command.arg(key).arg(value);
            Ok(command.query_async::<()>(&mut connection).await?)
        });
        let outcome = outcome.await.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer")));
        if outcome.is_err() {
            self.connections.lock().expect("not poisoned").remove(data_center);
        }
        outcome
    }

    async fn connection(&self, data_center: &str) -> Result<MultiplexedConnection> {
        if let Some(kept) = self.connections.lock().expect("not poisoned").get(data_center) {
            return Ok(kept.0.clone());
        }
        let server = self.servers.get(data_center).context("no such server")?;
        let client = redis::Client::open(format!("redis://{}/", server.hosts))?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(COMMAND_TIMEOUT));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut login = redis::cmd("AUTH");
        login.arg(&self.account.user).arg(&self.account.password);
        let () = login.query_async(&mut connection).await?;
        let mut connections = self.connections.lock().expect("not poisoned");
        connections.insert(data_center.to_owned(), Connection(connection.clone()));
        Ok(connection)
    }
}
