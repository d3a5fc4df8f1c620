//! PostgreSQL servers: one primary, a primary with a streaming standby, or two primaries that know nothing of each other.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::{Account, ServerProcess, ServerUser};

mod pair;

pub use pair::{APPLICATION, MONITOR, PairKind, PostgresqlPair};

/// Superuser of every server.
pub const ADMIN: Account = Account {
    user: "admin",
    password: "admin-pw",
};
/// Carries the replication link.
pub const REPLICATION: Account = Account {
    user: "repl",
    password: "repl-pw",
};

/// Directories that Debian's packages put the programs into; they are on nobody's `PATH`.
const PROGRAM_DIRECTORIES: [&str; 4] = [
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/local/pgsql/bin",
];
/// Bound of every statement of the administrator: a paused server answers never.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Small and quick: what is written need not survive the machine.
const LEAN_SETTINGS: &str = "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nwal_keep_size = 64MB\n\
     min_wal_size = 32MB\nmax_wal_size = 64MB\nshared_buffers = 16MB\nfsync = off\nhot_standby = on\n";

/// Settings of one server.
#[derive(Clone, Debug)]
pub struct PostgresqlOptions {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// `max_connections`.
    pub max_connections: u32,
    /// Further lines of `postgresql.conf`.
    pub extra_lines: Vec<String>,
    /// `host` lines of `pg_hba.conf` by type: `host`, or `hostssl` to take encrypted connections only.
    pub connection_type: &'static str,
}

impl PostgresqlOptions {
    /// A server on `port`.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            max_connections: 40,
            extra_lines: Vec::new(),
            connection_type: "host",
        }
    }
}

/// One PostgreSQL server with a data directory of its own. Dropping it kills the process and leaves the files.
#[derive(Debug)]
pub struct Postgresql {
    directory: PathBuf,
    user: ServerUser,
    options: PostgresqlOptions,
    process: Option<ServerProcess>,
}

impl Postgresql {
    /// Creates an empty cluster below `directory`; nothing runs yet.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or a step fails.
    pub async fn init(directory: &Path, options: PostgresqlOptions) -> Result<Self> {
        let server = Self::place(directory, options)?;
        let password = directory.join("password");
        fs::write(&password, ADMIN.password)?;
        let mut command = server.command("initdb")?;
        command
            .arg("-D")
            .arg(server.data_directory())
            .args([
                "-U",
                ADMIN.user,
                "-A",
                "scram-sha-256",
                "--no-sync",
                "--locale=C",
                "-E",
                "UTF8",
                "-k",
            ])
            .arg(format!("--pwfile={}", password.display()));
        run(command).await?;
        let data = server.data_directory();
        let hba = ["all", "replication"].map(|database| {
            let kind = server.options.connection_type;
            format!("{kind} {database} all 127.0.0.0/8 scram-sha-256\n")
        });
        fs::write(data.join("pg_hba.conf"), hba.concat())?;
        server.configure()?;
        Ok(server)
    }

    /// A streaming standby of `primary`, which must run; nothing of the standby runs yet.
    ///
    /// # Errors
    /// The copy fails.
    pub async fn standby_of(primary: &Self, directory: &Path, options: PostgresqlOptions) -> Result<Self> {
        let server = Self::place(directory, options)?;
        let mut command = server.command("pg_basebackup")?;
        command
            .env("PGPASSWORD", REPLICATION.password)
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &primary.port().to_string(),
                "-U",
                REPLICATION.user,
            ])
            .arg("-D")
            .arg(server.data_directory())
            .args(["-R", "-X", "stream", "-c", "fast", "-S", "standby", "-C", "--no-sync"]);
        run(command).await?;
        server.configure()?;
        Ok(server)
    }

    fn place(directory: &Path, options: PostgresqlOptions) -> Result<Self> {
        let user = ServerUser::current()?;
        user.create_directory(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            user,
            options,
            process: None,
        })
    }

    /// Later lines win over the template's and over a primary's.
    fn configure(&self) -> Result<()> {
        let path = self.data_directory().join("postgresql.conf");
        let mut text = fs::read_to_string(&path)?;
        let PostgresqlOptions {
            port,
            max_connections,
            extra_lines,
            ..
        } = &self.options;
        text.push_str(&format!(
            "\n{LEAN_SETTINGS}port = {port}\nmax_connections = {max_connections}\n{}\n",
            extra_lines.join("\n")
        ));
        fs::write(path, text)?;
        Ok(())
    }

    /// Starts the process and returns at once; see [`Self::wait_ready`].
    ///
    /// # Errors
    /// It runs already, or the program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(ServerProcess::is_alive) {
            bail!("the server on port {} runs already", self.options.port);
        }
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(self.data_directory());
        let name = format!("PostgreSQL on port {}", self.options.port);
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
            let answer = self.query_first("SELECT 1").await;
            if matches!(answer.as_ref().map(Option::as_deref), Ok(Some("1"))) {
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

    /// SIGKILL: connections are refused when this returns.
    ///
    /// # Errors
    /// It was never started.
    pub fn kill(&mut self) -> Result<()> {
        self.process_mut()?.kill()
    }

    /// A fast shutdown (SIGINT): clients are sent away.
    ///
    /// # Errors
    /// It does not run, or does not end in 20 s.
    pub async fn stop(&mut self) -> Result<()> {
        self.process_mut()?.interrupt(STOP_TIMEOUT).await?;
        Ok(())
    }

    /// SIGSTOP to the server and all of its processes: a black hole that still accepts TCP connections.
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

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.options.port)
    }

    /// A session of `account` in `database`.
    ///
    /// # Errors
    /// The login fails, or there is no answer within 10 s.
    pub async fn login(&self, account: Account, database: &str) -> Result<Client> {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.options.port)
            .user(account.user)
            .password(account.password)
            .dbname(database);
        let connected = tokio::time::timeout(ADMIN_TIMEOUT, config.connect(NoTls)).await;
        let (client, connection) = connected.context("no answer to a login")??;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements as the superuser in `postgres`, one after the other.
    ///
    /// # Errors
    /// The first statement that fails, or 10 s passed.
    pub async fn exec(&self, statements: &[&str]) -> Result<()> {
        self.exec_in("postgres", statements).await
    }

    /// As [`Self::exec`], in another database.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub async fn exec_in(&self, database: &str, statements: &[&str]) -> Result<()> {
        let work = async {
            let client = self.login(ADMIN, database).await?;
            for statement in statements {
                client
                    .batch_execute(statement)
                    .await
                    .with_context(|| format!("on {}: {statement}", self.address()))?;
            }
            Ok(())
        };
        let outcome = tokio::time::timeout(ADMIN_TIMEOUT, work).await;
        outcome.with_context(|| format!("no answer to {statements:?}"))?
    }

    /// First column of the first row of a query as the superuser in `postgres`.
    ///
    /// # Errors
    /// The query fails, or 10 s passed.
    pub async fn query_first(&self, query: &str) -> Result<Option<String>> {
        let work = async {
            let client = self.login(ADMIN, "postgres").await?;
            let messages = client.simple_query(query).await?;
            Ok(messages.into_iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            }))
        };
        let outcome = tokio::time::timeout(ADMIN_TIMEOUT, work).await;
        outcome.with_context(|| format!("no answer to {query}"))?
    }

    fn process_mut(&mut self) -> Result<&mut ServerProcess> {
        let port = self.options.port;
        self.process
            .as_mut()
            .with_context(|| format!("PostgreSQL on port {port} was never started"))
    }

    fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn command(&self, program: &str) -> Result<Command> {
        let mut command = self.user.command(&find(program)?)?;
        command.current_dir(&self.directory);
        Ok(command)
    }
}

fn find(program: &str) -> Result<PathBuf> {
    PROGRAM_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} of PostgreSQL is not installed: run `cargo xtask setup`"))
}

async fn run(mut command: Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output()).await?;
    let output = output.with_context(|| format!("run {shown}"))?;
    if !output.status.success() {
        bail!(
            "{shown} ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
