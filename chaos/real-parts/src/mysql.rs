//! Genuine MySQL 9 servers, which log in by `caching_sha2_password` only, alone or replicating.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mysql_async::{
    Conn, OptsBuilder,
    prelude::{FromRow, Queryable},
};

use crate::{Account, ServerProcess, ServerUser, cache};

/// Bound of every root statement: a paused server answers never.
const ROOT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(100);
const INSTALLATION: &str = "mysql-sid";
const PROGRAM: &str = "usr/sbin/mysqld";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Reads role and replication state only.
pub const MONITOR: Account = Account {
    user: "quorate_mon",
    password: "monitor-pw",
};

/// One server with a data directory of its own. Dropping it kills the process and leaves the files.
#[derive(Debug)]
pub struct MysqlServer {
    directory: PathBuf,
    port: u16,
    extra: Vec<String>,
    process: Option<ServerProcess>,
}

impl MysqlServer {
    /// Creates the data directory below `directory`; `extra` are further arguments of the server. Nothing runs yet.
    ///
    /// # Errors
    /// MySQL is not installed, or cannot initialise its data.
    pub fn init(directory: &Path, port: u16, extra: Vec<String>) -> Result<Self> {
        // It is told to run as whoever starts it: the cache may lie where nobody else can enter.
        ServerUser::own_self().create_directory(directory)?;
        let server = Self {
            directory: directory.to_owned(),
            port,
            extra,
            process: None,
        };
        let log = fs::File::create(directory.join("init.log"))?;
        let status = server
            .mysqld()?
            .arg("--initialize-insecure")
            .stderr(log.try_clone()?)
            .stdout(log)
            .status()
            .context("initialise MySQL's data")?;
        if !status.success() {
            let text = fs::read_to_string(directory.join("init.log")).unwrap_or_default();
            bail!("MySQL could not initialise its data ({status}): {text}");
        }
        Ok(server)
    }

    /// The program under its own loader, with what initialisation and service have in common.
    fn mysqld(&self) -> Result<Command> {
        let root = cache::installed(INSTALLATION, PROGRAM)?;
        let libraries = root.join(LIBRARIES);
        let mut command = ServerUser::own_self().command(&libraries.join("ld-linux-x86-64.so.2"))?;
        let directory = self.directory.display();
        command
            .arg("--library-path")
            .arg(&libraries)
            .arg(root.join(PROGRAM))
            .arg("--no-defaults")
            .arg(format!("--basedir={}", root.join("usr").display()))
            .arg(format!("--lc-messages-dir={}", root.join("usr/share/mysql").display()))
            .arg(format!("--datadir={directory}/data"))
            .args([
                "--secure-file-priv=NULL",
                "--innodb-redo-log-capacity=8M",
                "--innodb-buffer-pool-size=16M",
            ]);
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        Ok(command)
    }

    /// Starts the process and returns at once; see [`Self::wait_ready`].
    ///
    /// # Errors
    /// It runs already, or the program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let port = self.port;
        if self.process.as_mut().is_some_and(ServerProcess::is_alive) {
            bail!("MySQL on port {port} runs already");
        }
        let mut command = self.mysqld()?;
        command
            .arg(format!("--port={port}"))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}/pid", self.directory.display()))
            .arg(format!("--server-id={port}"))
            .args([
                "--bind-address=127.0.0.1",
                "--mysqlx=0",
                "--skip-name-resolve",
                "--log-bin=bin",
            ])
            .args([
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--performance-schema=OFF",
            ])
            .arg("--max-connections=40")
            .args(&self.extra);
        let name = format!("MySQL on port {port}");
        self.process = Some(ServerProcess::spawn(&name, command, &self.directory.join("log"))?);
        Ok(())
    }

    /// Waits until the server answers a query.
    ///
    /// # Errors
    /// The process ended (with the end of its log) or `timeout` passed.
    pub async fn wait_ready(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            self.process_mut()?.check_alive()?;
            if matches!(self.query_first::<u8>("SELECT 1").await, Ok(Some(1))) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let log = self.process_mut()?.log_tail();
                bail!(
                    "MySQL on port {} not ready within {timeout:?}; end of its log:\n{log}",
                    self.port
                );
            }
            tokio::time::sleep(READY_POLL_INTERVAL).await;
        }
    }

    /// Makes this server replicate from `source`, as `account` of it.
    ///
    /// # Errors
    /// A statement fails.
    pub async fn replicate_from(&self, source: &Self, account: Account) -> Result<()> {
        let change = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='{}', \
             SOURCE_PASSWORD='{}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1",
            source.port, account.user, account.password
        );
        self.exec(&[&change, "START REPLICA"]).await
    }

    /// Runs statements as root, one after the other on one connection.
    ///
    /// # Errors
    /// The first statement that fails, or 10 s passed.
    pub async fn exec(&self, statements: &[&str]) -> Result<()> {
        let work = async {
            let mut connection = self.root_connection().await?;
            for statement in statements {
                let done = connection.query_drop(*statement).await;
                done.with_context(|| format!("on port {}: {statement}", self.port))?;
            }
            connection.disconnect().await?;
            Ok(())
        };
        let done = tokio::time::timeout(ROOT_STATEMENT_TIMEOUT, work).await;
        done.with_context(|| format!("no answer to {statements:?}"))?
    }

    /// First row of a query as root.
    ///
    /// # Errors
    /// The query fails, the row is of another type, or 10 s passed.
    pub async fn query_first<T: FromRow + Send + 'static>(&self, query: &str) -> Result<Option<T>> {
        let work = async {
            let mut connection = self.root_connection().await?;
            let row = connection.query_first(query).await?;
            connection.disconnect().await?;
            Ok(row)
        };
        let done = tokio::time::timeout(ROOT_STATEMENT_TIMEOUT, work).await;
        done.with_context(|| format!("no answer to {query}"))?
    }

    async fn root_connection(&self) -> Result<Conn> {
        let options = OptsBuilder::default()
            .socket(Some(self.socket().display().to_string()))
            .user(Some("root"))
            .stmt_cache_size(0);
        Ok(Conn::new(options).await?)
    }

    /// SIGKILL: connections are refused when this returns.
    ///
    /// # Errors
    /// It was never started.
    pub fn kill(&mut self) -> Result<()> {
        self.process_mut()?.kill()
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("s.sock")
    }

    fn process_mut(&mut self) -> Result<&mut ServerProcess> {
        let port = self.port;
        self.process
            .as_mut()
            .with_context(|| format!("MySQL on port {port} was never started"))
    }
}
