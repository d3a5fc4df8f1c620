//! Servers of MongoDB's protocol: SecantusDB, which keeps its data in WiredTiger and presents itself as a replica set of one member.
//!
//! A genuine second member, and so a lag, is not to be had of it: two independent servers stand for two data centers.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mongodb::{
    Client,
    bson::{Document, doc},
    options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions},
};

use crate::{Account, ServerProcess, ServerUser, cache};

/// Bound of every command of an administrator.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(100);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const INSTALLATION: &str = "secantusdb-0.7.0b3";
const PROGRAM: &str = "bin/secantusd-py";

/// Name of the replica set that a server says it belongs to.
pub const REPLICA_SET: &str = "secantus";
/// Reads states and nothing else (`clusterMonitor`).
pub const MONITOR: Account = Account {
    user: "quorate_mon",
    password: "monitor-pw",
};
/// Reads and writes the database `orders`.
pub const APPLICATION: Account = Account {
    user: "orders_app",
    password: "orders-pw",
};
const ADMINISTRATOR: Account = Account {
    user: "root_of_tests",
    password: "administrator-pw",
};

/// Settings of one server.
#[derive(Clone, Debug)]
pub struct MongodbOptions {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Certificate and key, PEM: every connection is encrypted.
    pub tls: Option<(String, String)>,
}

/// One server with the accounts of this module. Dropping it kills the process and leaves the files.
#[derive(Debug)]
pub struct MongodbServer {
    directory: PathBuf,
    options: MongodbOptions,
    process: Option<ServerProcess>,
}

impl MongodbServer {
    /// Creates the files below `directory`, and the accounts; it does not run afterwards.
    ///
    /// # Errors
    /// The server is not installed or does not start.
    pub async fn init(directory: &Path, options: MongodbOptions, timeout: Duration) -> Result<Self> {
        // It runs as anybody, but out of an environment that only its owner can enter.
        ServerUser::own_self().create_directory(directory)?;
        if let Some((certificate, key)) = &options.tls {
            std::fs::write(directory.join("server.crt"), certificate)?;
            std::fs::write(directory.join("server.key"), key)?;
        }
        let mut server = Self {
            directory: directory.to_owned(),
            options,
            process: None,
        };
        server.launch(false)?;
        server.wait_ready(timeout).await?;
        for (account, role, database) in [
            (ADMINISTRATOR, "root", "admin"),
            (MONITOR, "clusterMonitor", "admin"),
            (APPLICATION, "readWrite", "orders"),
        ] {
            let user = doc! {
                "createUser": account.user, "pwd": account.password, "roles": [{ "role": role, "db": database }],
            };
            server.command_as(None, user).await?;
        }
        server.stop().await?;
        Ok(server)
    }

    /// Starts the process, which asks for logins, and returns at once; see [`Self::wait_ready`].
    ///
    /// # Errors
    /// It runs already, or the program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        self.launch(true)
    }

    fn launch(&mut self, logins: bool) -> Result<()> {
        let port = self.options.port;
        if self.process.as_mut().is_some_and(ServerProcess::is_alive) {
            bail!("the server on port {port} runs already");
        }
        let program = cache::installed(INSTALLATION, PROGRAM)?.join(PROGRAM);
        let mut command = ServerUser::own_self().command(&program)?;
        command
            .current_dir(&self.directory)
            .env("HOME", &self.directory)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .arg("--storage-path")
            .arg(self.directory.join("wt"))
            .args(["--cache-size", "64M", "--enable-test-commands", "--sync-on-commit"]);
        if logins {
            command.arg("--auth");
        }
        if self.options.tls.is_some() {
            command.arg("--tls-cert-file").arg(self.directory.join("server.crt"));
            command.arg("--tls-key-file").arg(self.directory.join("server.key"));
        }
        let name = format!("SecantusDB on port {port}");
        self.process = Some(ServerProcess::spawn(&name, command, &self.directory.join("log"))?);
        Ok(())
    }

    /// Waits until the server answers.
    ///
    /// # Errors
    /// The process ended (with the end of its log) or `timeout` passed.
    pub async fn wait_ready(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            self.process_mut()?.check_alive()?;
            let answer = self.command_as(None, doc! { "ping": 1 }).await;
            if answer.is_ok() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let log = self.process_mut()?.log_tail();
                bail!(
                    "{} not ready within {timeout:?} ({answer:?}); end of its log:\n{log}",
                    self.address()
                );
            }
            tokio::time::sleep(READY_POLL_INTERVAL).await;
        }
    }

    /// A command of the administrator in the database `admin`.
    ///
    /// # Errors
    /// The server refuses it or does not answer within 10 s.
    pub async fn command(&self, command: Document) -> Result<Document> {
        self.command_as(Some(ADMINISTRATOR), command).await
    }

    async fn command_as(&self, account: Option<Account>, command: Document) -> Result<Document> {
        let client = self.client(account)?;
        let name = command.keys().next().cloned().unwrap_or_default();
        let answer = client.database("admin").run_command(command).await;
        client.shutdown().immediate(true).await;
        answer.with_context(|| format!("{name} on {}", self.address()))
    }

    /// A client as applications have one, to this server alone.
    ///
    /// # Errors
    /// Its options are refused.
    pub fn client(&self, account: Option<Account>) -> Result<Client> {
        let address = ServerAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: Some(self.options.port),
        };
        let mut options = ClientOptions::default();
        options.hosts = vec![address];
        options.direct_connection = Some(true);
        options.server_selection_timeout = Some(COMMAND_TIMEOUT);
        options.connect_timeout = Some(COMMAND_TIMEOUT);
        options.credential = account.map(|account| {
            Credential::builder()
                .username(account.user.to_owned())
                .password(account.password.to_owned())
                .source("admin".to_owned())
                .build()
        });
        if self.options.tls.is_some() {
            let tls = TlsOptions::builder().allow_invalid_certificates(true).build();
            options.tls = Some(Tls::Enabled(tls));
        }
        Ok(Client::with_options(options)?)
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
    /// It does not run, or does not end in 20 s.
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

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.options.port)
    }

    fn process_mut(&mut self) -> Result<&mut ServerProcess> {
        let port = self.options.port;
        self.process
            .as_mut()
            .with_context(|| format!("the server on port {port} was never started"))
    }
}
