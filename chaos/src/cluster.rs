//! A development cluster of real processes: started by `quorate dev`, known through its `dev.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::faults::{FaultProxy, Signal, process_alive, send_signal};
use crate::ports::PortOffset;
use crate::rest::RestClient;

/// `dev.json` as the launcher writes it.
#[derive(Debug, Clone, Deserialize)]
pub struct DevInfo {
    pub version: u32,
    pub nodes: Vec<NodeInfo>,
    pub kv: KvAccess,
    pub console: ConsoleAccess,
    pub instance: String,
    /// Address of the launcher's fault proxy control.
    #[serde(default)]
    pub faults: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct NodeInfo {
    pub id: u64,
    pub name: String,
    pub zone: String,
    pub pid: u32,
    pub argv: Vec<String>,
    pub data_dir: PathBuf,
    pub kv: String,
    pub peer: String,
    pub console: String,
    /// File that the node's log lines go to.
    pub log: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct KvAccess {
    pub root: Credentials,
    pub sdk: Credentials,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ConsoleAccess {
    pub user: String,
    pub password: String,
    pub ca: PathBuf,
}

/// A running development cluster. Dropping it kills everything that it started.
#[derive(Debug)]
pub struct DevCluster {
    pub info: DevInfo,
    pub rest: RestClient,
    directory: PathBuf,
    launcher: Child,
    /// Nodes that were started again from their `argv`; the present run of each.
    restarted: BTreeMap<u64, Restarted>,
    /// Settings of the nodes, for those that are started again.
    environment: Vec<(String, String)>,
    _ports: PortOffset,
}

#[derive(Debug)]
struct Restarted {
    /// Kept beside the child, which forgets it once it has ended.
    pid: u32,
    child: Child,
}

/// How long a cluster may take from its start until every node serves.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// With this in its environment a node ends when its standard input does, that is when this program is gone.
const STOP_WITH_PARENT: &str = "QUORATE_DEV_STOP_WITH_PARENT";

/// The appliance's binary: `QUORATE_BINARY`, as `cargo xtask test` sets it.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("QUORATE_BINARY").context(
        "QUORATE_BINARY is not set: run these tests by `cargo xtask test`, which builds the appliance first",
    )?;
    Ok(PathBuf::from(path))
}

impl DevCluster {
    /// Starts three nodes under `directory` and waits until all of them serve.
    pub async fn start(binary: &Path, directory: &Path, ports: PortOffset, extra: &[&str]) -> Result<Self> {
        Self::start_with(binary, directory, ports, extra, &[]).await
    }

    /// The same with settings of the nodes as environment variables.
    pub async fn start_with(
        binary: &Path,
        directory: &Path,
        ports: PortOffset,
        extra: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join("launcher.log"))?;
        let launcher = Command::new(binary)
            .arg("dev")
            .arg("--data-dir")
            .arg(directory)
            .arg("--port-offset")
            .arg(ports.value.to_string())
            .args(extra)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut cluster = Self::await_start(launcher, directory, ports).await?;
        cluster.environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        cluster.wait_all_ready(READY_TIMEOUT).await?;
        Ok(cluster)
    }

    async fn await_start(mut launcher: Child, directory: &Path, ports: PortOffset) -> Result<Self> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let pid = launcher.id().context("the launcher has no pid")?;
        loop {
            if let Some(status) = launcher.try_wait()? {
                bail!(
                    "the launcher ended with {status}: {}",
                    tail(&directory.join("launcher.log"))
                );
            }
            match read_info(directory) {
                Ok(info) if info.nodes.iter().all(|node| process_alive(node.pid)) && newer_than(directory, pid) => {
                    let rest = RestClient::new(&info)?;
                    let directory = directory.to_path_buf();
                    return Ok(Self {
                        info,
                        rest,
                        directory,
                        launcher,
                        restarted: BTreeMap::new(),
                        environment: Vec::new(),
                        _ports: ports,
                    });
                }
                _ if Instant::now() > deadline => bail!("no dev.json: {}", tail(&directory.join("launcher.log"))),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Waits until every node that runs answers ready.
    pub async fn wait_all_ready(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        for node in self.info.nodes.clone() {
            while !self.is_ready(&node).await {
                if let Some(status) = self.launcher.try_wait()? {
                    bail!(
                        "the launcher ended with {status}: {}",
                        tail(&self.directory.join("launcher.log"))
                    );
                }
                if Instant::now() > deadline {
                    bail!(
                        "{} is not ready after {timeout:?}: {}",
                        node.name,
                        tail(&self.directory.join("launcher.log"))
                    );
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// True if the node answers ready and takes connections on its KV port.
    async fn is_ready(&self, node: &NodeInfo) -> bool {
        self.rest.ready(&node.console).await && tokio::net::TcpStream::connect(&node.kv).await.is_ok()
    }

    /// A node by its id.
    pub fn node(&self, id: u64) -> Result<&NodeInfo> {
        self.info
            .nodes
            .iter()
            .find(|node| node.id == id)
            .with_context(|| format!("there is no node {id}"))
    }

    /// The present pid of a node.
    pub fn pid(&self, id: u64) -> Result<u32> {
        let restarted = self.restarted.get(&id).map(|run| run.pid);
        Ok(restarted.unwrap_or(self.node(id)?.pid))
    }

    /// Sends a signal to a node's process.
    pub fn signal(&self, id: u64, signal: Signal) -> Result<()> {
        send_signal(self.pid(id)?, signal)
    }

    /// Starts a node that died again, with the arguments that the launcher used.
    pub async fn restart(&mut self, id: u64) -> Result<()> {
        self.restart_with(id, &[]).await
    }

    /// The same with further environment variables for this run of the node.
    pub async fn restart_with(&mut self, id: u64, environment: &[(&str, &str)]) -> Result<()> {
        let node = self.node(id)?.clone();
        let pid = self.pid(id)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while process_alive(pid) {
            if Instant::now() > deadline {
                bail!("node {id} still runs as {pid}");
            }
            self.reap();
            tokio::time::sleep(POLL).await;
        }
        let (program, arguments) = node.argv.split_first().context("argv is empty")?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&node.log)?;
        let child = Command::new(program)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(STOP_WITH_PARENT, "1")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("the node has no pid")?;
        self.restarted.insert(id, Restarted { pid, child });
        Ok(())
    }

    fn reap(&mut self) {
        for run in self.restarted.values_mut() {
            // An error means that it is gone already.
            let _ = run.child.try_wait();
        }
    }

    /// Waits until one node answers ready.
    pub async fn wait_ready(&self, id: u64, timeout: Duration) -> Result<Duration> {
        let started = Instant::now();
        let node = self.node(id)?.clone();
        while !self.is_ready(&node).await {
            if started.elapsed() > timeout {
                bail!(
                    "node {id} is not ready after {timeout:?}: {}",
                    tail(&self.node(id)?.log)
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(started.elapsed())
    }

    /// Id of the leader, waiting for one.
    pub async fn leader(&self, timeout: Duration) -> Result<u64> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Ok(cluster) = self.rest.get("/cluster").await {
                let leader = cluster["leader"].as_u64();
                if let Some(id) = leader.filter(|id| self.pid(*id).is_ok_and(process_alive)) {
                    return Ok(id);
                }
            }
            if Instant::now() > deadline {
                bail!("no leader after {timeout:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops everything in order and waits for it.
    pub async fn stop(mut self) -> Result<()> {
        for run in self.restarted.values_mut() {
            if run.child.try_wait()?.is_none() {
                send_signal(run.pid, Signal::Terminate)?;
            }
        }
        let pid = self.launcher.id().context("the launcher is gone")?;
        send_signal(pid, Signal::Terminate)?;
        tokio::time::timeout(STOP_TIMEOUT, self.launcher.wait())
            .await
            .context("the launcher did not stop")??;
        for (id, run) in &mut self.restarted {
            tokio::time::timeout(STOP_TIMEOUT, run.child.wait())
                .await
                .with_context(|| format!("node {id} did not stop"))??;
        }
        Ok(())
    }

    /// Control of the links; the cluster must have been started with `--faults`.
    pub fn fault_proxy(&self) -> Result<FaultProxy> {
        let address = self
            .info
            .faults
            .as_deref()
            .context("the cluster was started without --faults")?;
        FaultProxy::new(address)
    }

    /// Lets the processes run on after this program has ended.
    pub fn leave_running(self) {
        std::mem::forget(self);
    }

    /// The directory given at the start.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn read_info(directory: &Path) -> Result<DevInfo> {
    let text = std::fs::read_to_string(directory.join("dev.json"))?;
    Ok(serde_json::from_str(&text)?)
}

/// An old `dev.json` of an earlier run does not count.
fn newer_than(directory: &Path, launcher: u32) -> bool {
    let written = std::fs::metadata(directory.join("dev.json")).and_then(|metadata| metadata.modified());
    let started = std::fs::metadata(format!("/proc/{launcher}")).and_then(|metadata| metadata.modified());
    matches!((written, started), (Ok(written), Ok(started)) if written >= started)
}

/// The last lines of a log, for error texts.
pub fn tail(path: &Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
