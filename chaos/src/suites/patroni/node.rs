//! One Patroni with its PostgreSQL.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use quorate_real_parts::{PortBlock, ServerProcess, ServerUser, find_program};
use tokio::process::Command;

use super::settings::{self, PASSWORD, Place};
use crate::faults::{Signal, process_alive, send_signal};

/// What runs Patroni without its console script, whose first line names another interpreter's directory.
const START: &str = "from patroni.__main__ import main; main()";
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// After a SIGKILL of the postmaster its children end by themselves; a new one refuses to start before.
const CHILDREN_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A node; killed with everything below it when dropped.
pub(super) struct Node {
    name: String,
    directory: PathBuf,
    packages: PathBuf,
    psql: PathBuf,
    postgres: u16,
    rest: u16,
    user: ServerUser,
    process: Option<ServerProcess>,
    _ports: PortBlock,
}

impl Node {
    /// Two nodes of one cluster, not started.
    pub(super) fn pair(directory: &Path, environment: &Path, kv: &[String]) -> Result<[Node; 2]> {
        let programs = postgres_programs()?;
        // The environment lies in a home directory that the servers' user may not enter.
        let packages = directory.join("packages");
        let site = site_packages(environment)?;
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(&site)
            .arg(&packages)
            .status()?;
        ensure!(copied.success(), "{} cannot be copied", site.display());
        let node = |name: &str| -> Result<Node> {
            let user = ServerUser::current()?;
            let home = directory.join(name);
            user.create_directory(&home)?;
            let ports = PortBlock::claim()?;
            let node = Node {
                name: name.to_owned(),
                packages: packages.clone(),
                psql: programs.join("psql"),
                postgres: ports.port(0),
                rest: ports.port(1),
                user,
                process: None,
                _ports: ports,
                directory: home,
            };
            let place = Place {
                name,
                directory: &node.directory,
                programs: &programs,
                postgres: node.postgres,
                rest: node.rest,
                kv,
            };
            std::fs::write(node.directory.join("patroni.yml"), settings::text(&place))?;
            Ok(node)
        };
        Ok([node("pg-1")?, node("pg-2")?])
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Starts Patroni, which starts PostgreSQL.
    pub(super) fn start(&mut self) -> Result<()> {
        let mut command = self.user.command(Path::new("/usr/bin/python3"))?;
        command
            .args(["-c", START])
            .arg(self.directory.join("patroni.yml"))
            .current_dir(&self.directory)
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", &self.directory);
        let log = self.directory.with_extension("log");
        self.process = Some(ServerProcess::spawn(&self.name, command, &log)?);
        Ok(())
    }

    /// Fails with the end of the log if Patroni has ended by itself.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), ServerProcess::check_alive)
    }

    /// SIGKILL to Patroni and to PostgreSQL, as if the machine were gone; waits until nothing of them runs.
    pub(super) async fn kill(&mut self) -> Result<()> {
        let children = self.kill_now()?;
        let deadline = Instant::now() + CHILDREN_TIMEOUT;
        while children.iter().any(|pid| process_alive(*pid)) {
            ensure!(Instant::now() < deadline, "PostgreSQL's children do not end");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The same without waiting; gives the processes of PostgreSQL, which end by themselves.
    fn kill_now(&mut self) -> Result<Vec<u32>> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        let Some(postmaster) = self.postmaster() else {
            return Ok(Vec::new());
        };
        let mut processes = children_of(postmaster);
        processes.push(postmaster);
        send_signal(postmaster, Signal::Kill)?;
        Ok(processes)
    }

    /// The running postmaster, as its file says.
    fn postmaster(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok()?;
        process_alive(pid).then_some(pid)
    }

    /// An orderly stop of both.
    pub(super) async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.terminate(STOP_TIMEOUT).await?;
        }
        Ok(())
    }

    pub(super) fn log_tail(&self) -> String {
        let running = self.process.as_ref().map(ServerProcess::log_tail);
        running.unwrap_or_else(|| "not running".to_owned())
    }

    async fn told(&self) -> Result<serde_json::Value> {
        let client = reqwest::Client::builder().timeout(ASK_TIMEOUT).build()?;
        let url = format!("http://127.0.0.1:{}/patroni", self.rest);
        let told = client.get(url).send().await?.bytes().await?;
        Ok(serde_json::from_slice(&told)?)
    }

    /// Whether Patroni says that its PostgreSQL runs in this role.
    pub(super) async fn is(&self, role: &str) -> bool {
        let told = self.told().await.unwrap_or_default();
        let streams = told["replication_state"] == "streaming" || role == "primary";
        told["state"] == "running" && told["role"] == role && streams
    }

    /// PostgreSQL's timeline, which every promotion counts up.
    pub(super) async fn timeline(&self) -> Result<u64> {
        let told = self.told().await?;
        told["timeline"]
            .as_u64()
            .with_context(|| format!("no timeline: {told}"))
    }

    /// Carries a statement out and gives what it tells.
    pub(super) async fn sql(&self, statement: &str) -> Result<String> {
        let mut psql = Command::new(&self.psql);
        psql.args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-X",
            "-q",
            "-A",
            "-t",
        ])
        .args([
            "-p",
            &self.postgres.to_string(),
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ])
        .env("PGPASSWORD", PASSWORD)
        .env("PGCONNECT_TIMEOUT", "3")
        .kill_on_drop(true);
        let output = psql.output().await?;
        if !output.status.success() {
            bail!(
                "{}: {statement}: {}",
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// How many rows the table of the scenario has here.
    pub(super) async fn rows(&self) -> Result<usize> {
        let counted = self.sql("SELECT count(*) FROM kept").await?;
        counted.parse().with_context(|| format!("no count: {counted}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Patroni's own end would leave PostgreSQL running.
        if let Err(error) = self.kill_now() {
            eprintln!("{} may still run: {error:#}", self.name);
        }
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Directory of PostgreSQL's programs: Debian puts them beside PATH, by version.
fn postgres_programs() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|programs| programs.join("initdb").is_file())
        .collect();
    found.sort();
    match found.pop() {
        Some(programs) => Ok(programs),
        None => find_program(&["initdb"])?
            .parent()
            .map(Path::to_path_buf)
            .context("a program without a directory"),
    }
}

fn site_packages(environment: &Path) -> Result<PathBuf> {
    let mut versions = std::fs::read_dir(environment.join("lib"))?;
    let version = versions.next().context("a Python environment without packages")??;
    Ok(version.path().join("site-packages"))
}
