//! MariaDB servers, alone or as a pair that replicates both ways.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mysql_async::{
    Conn, OptsBuilder,
    prelude::{FromRow, Queryable},
};

use crate::{ServerProcess, ServerUser, find_program};

mod pair;
mod template;

pub use pair::{APPLICATION, Account, FENCE, MONITOR, MariaDbPair, PairOptions, REPLICATION};

/// Bound of every root statement: a paused server answers never.
const ROOT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(50);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest path of a Unix socket (`sun_path`, less the terminator).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Settings of one server.
#[derive(Clone, Debug)]
pub struct MariaDbOptions {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// `server_id`, unique within a replicating group.
    pub server_id: u32,
    /// GTID domain of this server's own writes.
    pub gtid_domain_id: u32,
    /// Offset (1 or 2) of `AUTO_INCREMENT` values, which step by two, so that both sides of a pair can insert.
    pub auto_increment_offset: u32,
    /// `max_connections`.
    pub max_connections: u32,
    /// Further lines of the section `[mariadbd]`.
    pub extra_lines: Vec<String>,
}

impl MariaDbOptions {
    /// A single server on `port`.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            server_id: 1,
            gtid_domain_id: 1,
            auto_increment_offset: 1,
            max_connections: 40,
            extra_lines: Vec::new(),
        }
    }
}

/// One MariaDB server with a data directory of its own. Dropping it kills the process and leaves the files.
#[derive(Debug)]
pub struct MariaDb {
    directory: PathBuf,
    user: ServerUser,
    options: MariaDbOptions,
    process: Option<ServerProcess>,
}

impl MariaDb {
    /// Creates data directory and configuration below `directory`; nothing runs yet.
    ///
    /// # Errors
    /// MariaDB is not installed, `directory` holds a server already, or the file system fails.
    pub async fn init(directory: &Path, options: MariaDbOptions) -> Result<Self> {
        let user = ServerUser::current()?;
        user.create_directory(directory)?;
        let server = Self {
            directory: directory.to_owned(),
            user,
            options,
            process: None,
        };
        if server.socket().as_os_str().len() > MAX_SOCKET_PATH_BYTES {
            bail!("{} is too long a path for a Unix socket", server.socket().display());
        }
        if server.data_directory().exists() {
            bail!("{} exists already", server.data_directory().display());
        }
        template::copy_to(&user, &server.data_directory()).await?;
        fs::write(server.configuration_file(), server.configuration())?;
        Ok(server)
    }

    /// Starts the process and returns at once; see [`Self::wait_ready`].
    ///
    /// # Errors
    /// It runs already, or the program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(ServerProcess::is_alive) {
            bail!("the server on port {} runs already", self.options.port);
        }
        let mut command = self.user.command(&find_program(&["mariadbd", "mysqld"])?)?;
        command.arg(format!("--defaults-file={}", self.configuration_file().display()));
        let name = format!("MariaDB on port {}", self.options.port);
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
            let answer = self.query_first::<u8>("SELECT 1").await;
            if matches!(answer, Ok(Some(1))) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let log = self.process_mut()?.log_tail();
                bail!(
                    "MariaDB on port {} not ready within {timeout:?}; end of its log:\n{log}",
                    self.options.port
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

    /// Stops a running server, starts it again and waits until it answers.
    ///
    /// # Errors
    /// As [`Self::stop`], [`Self::start`] and [`Self::wait_ready`].
    pub async fn restart(&mut self, timeout: Duration) -> Result<()> {
        if self.process.as_mut().is_some_and(ServerProcess::is_alive) {
            self.stop().await?;
        }
        self.start()?;
        self.wait_ready(timeout).await
    }

    /// Process id of the server, if it was started.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ServerProcess::pid)
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.options.port)
    }

    /// A connection as the database's root, over the Unix socket. Root has one connection beyond `max_connections`.
    ///
    /// # Errors
    /// The server does not answer within 10 s.
    pub async fn root_connection(&self) -> Result<Conn> {
        let options = OptsBuilder::default()
            .socket(Some(self.socket().display().to_string()))
            .user(Some("root"))
            .stmt_cache_size(0);
        let connection = tokio::time::timeout(ROOT_STATEMENT_TIMEOUT, Conn::new(options));
        Ok(connection.await.context("root login: no answer")??)
    }

    /// Runs statements as root, one after the other on one connection.
    ///
    /// # Errors
    /// The first statement that fails, or 10 s passed.
    pub async fn exec(&self, statements: &[&str]) -> Result<()> {
        let work = async {
            let mut connection = self.root_connection().await?;
            for statement in statements {
                connection
                    .query_drop(*statement)
                    .await
                    .with_context(|| format!("on port {}: {statement}", self.options.port))?;
            }
            connection.disconnect().await?;
            Ok(())
        };
        tokio::time::timeout(ROOT_STATEMENT_TIMEOUT, work)
            .await
            .with_context(|| format!("no answer to {statements:?}"))?
    }

    /// First row of a query as root.
    ///
    /// # Errors
    /// The query fails, the row is of another type, or 10 s passed.
    pub async fn query_first<T: FromRow + Send + 'static>(&self, query: &str) -> Result<Option<T>> {
        let work = async {
            let mut connection = self.root_connection().await?;
            let row = connection
                .query_first(query)
                .await
                .with_context(|| format!("on port {}: {query}", self.options.port))?;
            connection.disconnect().await?;
            Ok(row)
        };
        tokio::time::timeout(ROOT_STATEMENT_TIMEOUT, work)
            .await
            .with_context(|| format!("no answer to {query}"))?
    }

    fn process_mut(&mut self) -> Result<&mut ServerProcess> {
        let port = self.options.port;
        self.process
            .as_mut()
            .with_context(|| format!("MariaDB on port {port} was never started"))
    }

    fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn configuration_file(&self) -> PathBuf {
        self.directory.join("my.cnf")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("s.sock")
    }

    fn configuration(&self) -> String {
        let MariaDbOptions {
            port,
            server_id,
            gtid_domain_id,
            auto_increment_offset,
            max_connections,
            extra_lines,
        } = &self.options;
        let directory = self.directory.display();
        let lean = template::LEAN_SETTINGS;
        let extra = extra_lines.join("\n");
        format!(
            "[mariadbd]\n\
             datadir={directory}/data\nsocket={directory}/s.sock\npid-file={directory}/pid\n\
             port={port}\nbind-address=127.0.0.1\nskip-name-resolve\n\
             server-id={server_id}\ngtid-domain-id={gtid_domain_id}\ngtid-strict-mode=1\n\
             log-bin=bin\nlog-slave-updates=1\n\
             auto-increment-increment=2\nauto-increment-offset={auto_increment_offset}\n\
             max-connections={max_connections}\nread-only=0\n{lean}\n{extra}\n"
        )
    }
}
