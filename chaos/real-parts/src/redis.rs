//! Redis servers: alone, as a pair, behind sentinels, or as a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use redis::{AsyncConnectionConfig, FromRedisValue, aio::MultiplexedConnection};

use crate::{Account, ServerProcess, ServerUser, find_program};

mod groups;

pub use groups::{MASTER_NAME, RedisCluster, RedisPair, RedisSentinels};

/// May do everything.
pub const ADMIN: Account = Account {
    user: "admin",
    password: "admin-pw",
};
/// Asks for life and role; sees no key.
pub const MONITOR: Account = Account {
    user: "quorate_mon",
    password: "monitor-pw",
};
/// Reads and writes keys that begin with `orders:`.
pub const APPLICATION: Account = Account {
    user: "orders_app",
    password: "orders-pw",
};
/// Carries the replication link.
pub const REPLICATION: Account = Account {
    user: "repl",
    password: "repl-pw",
};

/// Bound of every command of the administrator: a paused server answers never.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of one server.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Anybody may do everything without a login; else the accounts of this module exist and strangers may do nothing.
    pub passwordless: bool,
    /// Certificate and key (PEM files) with which it takes encrypted connections only.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Further arguments of the program.
    pub extra_arguments: Vec<String>,
}

impl RedisOptions {
    /// A server on `port`.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            passwordless: false,
            tls: None,
            extra_arguments: Vec::new(),
        }
    }

    /// The same as a replica of the server on `primary`.
    #[must_use]
    pub fn replica_of(mut self, primary: u16) -> Self {
        let arguments = ["--replicaof", "127.0.0.1", &primary.to_string()].map(str::to_owned);
        self.extra_arguments.extend(arguments);
        self
    }
}

/// One Redis server with a directory of its own. Dropping it kills the process and leaves the files.
#[derive(Debug)]
pub struct Redis {
    directory: PathBuf,
    user: ServerUser,
    options: RedisOptions,
    process: Option<ServerProcess>,
}

impl Redis {
    /// Creates the directory; nothing runs yet.
    ///
    /// # Errors
    /// The file system fails.
    pub fn init(directory: &Path, options: RedisOptions) -> Result<Self> {
        let user = ServerUser::current()?;
        user.create_directory(directory)?;
        let rule =
            |account: Account, rights: &str| format!("user {} on >{} {rights}\n", account.user, account.password);
        let mut rules = vec![
            rule(ADMIN, "~* &* +@all"),
            rule(
                MONITOR,
                "-@all +ping +info +role +hello +auth +config|get +cluster|info +cluster|nodes",
            ),
            rule(
                APPLICATION,
                "~orders:* -@all +@read +@write +ping +hello +auth +client|setname",
            ),
            rule(REPLICATION, "-@all +psync +replconf +ping"),
        ];
        rules.push(if options.passwordless {
            "user default on nopass ~* &* +@all\n".to_owned()
        } else {
            "user default off\n".to_owned()
        });
        fs::write(directory.join("users.acl"), rules.concat())?;
        Ok(Self {
            directory: directory.to_owned(),
            user,
            options,
            process: None,
        })
    }

    /// Starts the process and returns at once; see [`Self::wait_ready`].
    ///
    /// # Errors
    /// Redis is not installed, or it runs already.
    pub fn start(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(ServerProcess::is_alive) {
            bail!("the server on port {} runs already", self.options.port);
        }
        let RedisOptions {
            port,
            tls,
            extra_arguments,
            ..
        } = &self.options;
        let mut command = self.user.command(&find_program(&["redis-server"])?)?;
        command.current_dir(&self.directory);
        match tls {
            None => command.args(["--port", &port.to_string()]),
            Some((certificate, key)) => command
                .args([
                    "--port",
                    "0",
                    "--tls-port",
                    &port.to_string(),
                    "--tls-auth-clients",
                    "no",
                ])
                .arg("--tls-cert-file")
                .arg(certificate)
                .arg("--tls-key-file")
                .arg(key)
                .arg("--tls-ca-cert-file")
                .arg(certificate),
        };
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--daemonize",
                "no",
                "--appendonly",
                "no",
                "--save",
                "",
            ])
            .args([
                "--repl-diskless-sync-delay",
                "0",
                "--protected-mode",
                "no",
                "--enable-debug-command",
                "yes",
            ])
            .args(["--masteruser", REPLICATION.user, "--masterauth", REPLICATION.password])
            .arg("--dir")
            .arg(&self.directory)
            .arg("--aclfile")
            .arg(self.directory.join("users.acl"))
            .args(extra_arguments);
        let name = format!("Redis on port {port}");
        self.process = Some(ServerProcess::spawn(&name, command, &self.directory.join("log"))?);
        Ok(())
    }

    /// Waits until the server has begun to take connections and, without TLS, answers.
    ///
    /// # Errors
    /// The process ended (with the end of its log) or `timeout` passed.
    pub async fn wait_ready(&mut self, timeout: Duration) -> Result<()> {
        let encrypted = self.options.tls.is_some();
        self.wait_until("ready", timeout, async |server: &Self| {
            if encrypted {
                return Ok(tokio::net::TcpStream::connect(server.address()).await.is_ok());
            }
            Ok(server.admin::<String>(&["PING"]).await? == "PONG")
        })
        .await
    }

    /// Waits for a condition; an error counts as not yet.
    ///
    /// # Errors
    /// The process ended (with the end of its log) or `timeout` passed.
    pub async fn wait_until(
        &mut self,
        what: &str,
        timeout: Duration,
        holds: impl AsyncFn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            self.process_mut()?.check_alive()?;
            let found = holds(self).await;
            if matches!(found, Ok(true)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let log = self.process_mut()?.log_tail();
                bail!(
                    "{}: not {what} within {timeout:?} ({found:?}); end of its log:\n{log}",
                    self.address()
                );
            }
            tokio::time::sleep(READY_POLL_INTERVAL).await;
        }
    }

    /// SIGKILL: connections are refused when this returns.
    ///
    /// # Errors
    /// It was never started.
    pub fn kill(&mut self) -> Result<()> {
        self.process_mut()?.kill()
    }

    /// SIGTERM, then waits for an orderly end.
    ///
    /// # Errors
    /// It does not run, or does not end in 10 s.
    pub async fn stop(&mut self) -> Result<()> {
        self.process_mut()?.terminate(STOP_TIMEOUT).await?;
        Ok(())
    }

    /// SIGSTOP: a black hole that still accepts TCP connections.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&mut self) -> Result<()> {
        self.process_mut()?.pause()
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&mut self) -> Result<()> {
        self.process_mut()?.resume()
    }

    /// Where it keeps its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.options.port)
    }

    /// A connection of `account`; only without TLS.
    ///
    /// # Errors
    /// The login fails, or there is no answer within 10 s.
    pub async fn login(&self, account: Account) -> Result<MultiplexedConnection> {
        login(self.options.port, Some(account)).await
    }

    /// One command of the administrator.
    ///
    /// # Errors
    /// The server refuses it, the answer is of another type, or 10 s passed.
    pub async fn admin<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let work = async {
            let mut connection = self.login(ADMIN).await?;
            command(words)
                .query_async(&mut connection)
                .await
                .with_context(|| format!("{words:?}"))
        };
        let outcome = tokio::time::timeout(ADMIN_TIMEOUT, work).await;
        outcome.with_context(|| format!("{} does not answer {words:?}", self.address()))?
    }

    fn process_mut(&mut self) -> Result<&mut ServerProcess> {
        let port = self.options.port;
        self.process
            .as_mut()
            .with_context(|| format!("Redis on port {port} was never started"))
    }
}

fn command(words: &[&str]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

async fn login(port: u16, account: Option<Account>) -> Result<MultiplexedConnection> {
    let work = async {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ADMIN_TIMEOUT));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        if let Some(Account { user, password }) = account {
            let () = command(&["AUTH", user, password]).query_async(&mut connection).await?;
        }
        Ok(connection)
    };
    let outcome = tokio::time::timeout(ADMIN_TIMEOUT, work).await;
    outcome.with_context(|| format!("no answer to a login on port {port}"))?
}
