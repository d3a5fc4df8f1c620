//! The parent process of a development cluster: starts, watches, restarts and stops its nodes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cluster::{DevCluster, DevError};
use super::ports::NODES;
use super::proxy::FaultProxy;
use super::{STOP_WITH_PARENT, serve_admin};

/// Time a node has to stop in order before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before a node that died is started again (`--restart`).
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at whether all nodes serve.
const READY_POLL: Duration = Duration::from_millis(100);

/// Variable of the nodes' name servers, as `quorate serve` has it.
const DNS_SERVERS: &str = "QUORATE_DNS_SERVERS";

/// What `quorate dev` was asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct DevOptions {
    /// Folder of the cluster; made if missing, resumed if there
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Added to every port
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
    /// Start a node that died again
    #[arg(long)]
    pub restart: bool,
    /// Let connections between nodes and to databases pass a fault proxy; its control address is `faults` in dev.json
    #[arg(long)]
    pub faults: bool,
    /// Name servers that the nodes ask for the names of databases, separated by commas; those of /etc/resolv.conf where none
    /// is given. Behind the fault proxy (--faults) the proxy resolves, with the system's
    #[arg(long, env = DNS_SERVERS, value_name = "IP[:PORT]", value_delimiter = ',')]
    pub dns_servers: Vec<crate::config::NameServer>,
    /// Which log lines the nodes write: a level, or target=level,…
    #[arg(long, value_name = "FILTER", default_value = crate::config::DEFAULT_LOG_FILTER)]
    pub log_filter: String,
}

/// Runs the cluster until SIGINT or SIGTERM; then stops its nodes in order.
pub async fn run(options: DevOptions) -> Result<(), DevError> {
    let program = std::env::current_exe().map_err(|error| DevError::Other(format!("cannot find myself: {error}")))?;
    let cluster = DevCluster::open(&options.data_dir, options.port_offset)?;
    cluster.require_free_ports()?;
    let faults = if options.faults {
        Some(start_proxy(&cluster).await?)
    } else {
        None
    };
    let proxy = faults.as_ref().map(|faults| faults.proxy);
    cluster.write_configurations(&options.log_filter, proxy, &options.dns_servers)?;
    let stop = StopSignals::listen()?;
    let mut nodes = Nodes {
        cluster,
        program,
        control: faults.map(|faults| faults.control.to_string()),
        restart: options.restart,
        children: Vec::new(),
        inputs: BTreeMap::new(),
    };
    nodes.start_all()?;
    let outcome = nodes.watch(stop).await;
    nodes.stop_all().await;
    outcome
}

struct ProxyAddresses {
    proxy: std::net::SocketAddr,
    control: std::net::SocketAddr,
}

async fn start_proxy(cluster: &DevCluster) -> Result<ProxyAddresses, DevError> {
    let bind = || async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        listener.local_addr().map(|address| (listener, address))
    };
    let failed = |error: std::io::Error| DevError::Other(format!("the fault proxy cannot listen: {error}"));
    let (listener, proxy) = bind().await.map_err(failed)?;
    let (admin, control) = bind().await.map_err(failed)?;
    let faults = FaultProxy::new(cluster.peer_names());
    tokio::spawn(faults.clone().serve(listener));
    tokio::spawn(serve_admin(faults, admin));
    Ok(ProxyAddresses { proxy, control })
}

struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, DevError> {
        let failed = |error: std::io::Error| DevError::Other(format!("cannot listen for signals: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

struct Nodes {
    cluster: DevCluster,
    program: PathBuf,
    control: Option<String>,
    restart: bool,
    /// One per node, in order; `None` while it does not run.
    children: Vec<Option<Child>>,
    /// Write end of the input of every node that was started. Kept apart from the child, whose `wait` would close it.
    inputs: BTreeMap<u64, ChildStdin>,
}

impl Nodes {
    fn start_all(&mut self) -> Result<(), DevError> {
        for node in 1..=NODES {
            let child = self.spawn(node)?;
            self.children.push(Some(child));
        }
        self.write_dev_file()
    }

    fn spawn(&mut self, node: u64) -> Result<Child, DevError> {
        let log_path = self.cluster.log_path(node);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(|error| DevError::io(&log_path, error))?;
        let argv = self.cluster.argv(&self.program, node);
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .env(STOP_WITH_PARENT, "1")
            // It stands in the configuration file, where a flag of this process has won over it.
            .env_remove(DNS_SERVERS)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C in the terminal reaches the parent alone, which then stops the nodes one after another.
            .process_group(0)
            .spawn()
            .map_err(|error| DevError::Other(format!("cannot start node-{node}: {error}")))?;
        if let Some(input) = child.stdin.take() {
            self.inputs.insert(node, input);
        }
        Ok(child)
    }

    fn write_dev_file(&self) -> Result<(), DevError> {
        let pids: Vec<u32> = self
            .children
            .iter()
            .map(|child| child.as_ref().and_then(Child::id).unwrap_or(0))
            .collect();
        let path = self.cluster.dev_file_path();
        self.cluster
            .dev_file(&self.program, &pids, self.control.clone())
            .write(&path)
            .map_err(|error| DevError::io(&path, error))
    }

    /// Follows the nodes until a stop signal.
    async fn watch(&mut self, mut stop: StopSignals) -> Result<(), DevError> {
        let started = Instant::now();
        let client = self.http_client()?;
        let consoles = self.consoles();
        let mut ready = false;
        loop {
            tokio::select! {
                () = stop.wait() => {
                    println!("stopping");
                    return Ok(());
                }
                (node, status) = next_exit(&mut self.children) => {
                    self.report_exit(node, status);
                    if !ready && started.elapsed() < STOP_TIMEOUT && status.code().is_some_and(|code| code != 0) {
                        let log = self.cluster.log_path(node);
                        return Err(DevError::Other(format!("node-{node} could not start:\n{}", last_lines(&log))));
                    }
                    self.write_dev_file()?;
                    if self.restart {
                        tokio::time::sleep(RESTART_PAUSE).await;
                        let child = self.spawn(node)?;
                        self.children[node as usize - 1] = Some(child);
                        self.write_dev_file()?;
                    }
                }
                () = all_ready(&client, &consoles), if !ready => {
                    ready = true;
                    self.print_welcome(started.elapsed());
                }
            }
        }
    }

    fn report_exit(&self, node: u64, status: ExitStatus) {
        let how = match status.signal() {
            Some(signal) => format!("was ended by signal {signal}"),
            None => format!("ended with exit code {}", status.code().unwrap_or(-1)),
        };
        let next = if self.restart {
            "it is started again"
        } else {
            "it stays down (--restart starts nodes again)"
        };
        println!(
            "node-{node} {how}; {next}; log: {}",
            self.cluster.log_path(node).display()
        );
    }

    fn consoles(&self) -> Vec<String> {
        let file = self.cluster.dev_file(&self.program, &[], None);
        file.nodes.into_iter().map(|node| node.console).collect()
    }

    fn http_client(&self) -> Result<reqwest::Client, DevError> {
        let ca = self.cluster.dev_file(&self.program, &[], None).console.ca;
        let pem = fs::read(&ca).map_err(|error| DevError::io(&ca, error))?;
        let client = reqwest::Certificate::from_pem(&pem).and_then(|certificate| {
            reqwest::Client::builder()
                .tls_certs_only([certificate])
                .no_proxy()
                .timeout(Duration::from_secs(1))
                .build()
        });
        client.map_err(|error| DevError::Other(format!("cannot make an HTTP client: {error}")))
    }

    fn print_welcome(&self, elapsed: Duration) {
        let file = self.cluster.dev_file(&self.program, &[], None);
        let path = self.cluster.dev_file_path();
        println!("three nodes serve after {:.1} s\n", elapsed.as_secs_f64());
        for node in &file.nodes {
            println!(
                "  {}  KV {}  console {}  peers {}  zone {}",
                node.name, node.kv, node.console, node.peer, node.zone
            );
        }
        println!(
            "\n  console  user {}  password {}",
            file.console.user, file.console.password
        );
        println!(
            "  KV       user {}  password {}",
            file.kv.root.user, file.kv.root.password
        );
        println!(
            "  KV       user {}   password {}  (SDKs)",
            file.kv.sdk.user, file.kv.sdk.password
        );
        if let Some(control) = &self.control {
            println!("  faults   http://{control}/links");
        }
        println!("\ntry next:");
        println!("  quorate --cluster {} cluster status", path.display());
        println!(
            "  etcdctl --endpoints {} --user root:{} put greeting hello",
            file.nodes[0].kv, file.kv.root.password
        );
        println!(
            "\nCtrl-C stops the cluster; the same command goes on with it. Everything above is in {}",
            path.display()
        );
    }

    async fn stop_all(&mut self) {
        for child in self.children.iter().flatten() {
            if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
                // An error means that it is gone already.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
        for (node, child) in (1..).zip(&mut self.children) {
            let Some(mut child) = child.take() else { continue };
            if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
                println!(
                    "node-{node} did not stop within {} s and is killed",
                    STOP_TIMEOUT.as_secs()
                );
                let _ = child.kill().await;
            }
        }
        if let Err(error) = self.write_dev_file() {
            tracing::warn!("{error}");
        }
    }
}

/// The next node that ends; never returns while none runs. Its place is empty afterwards.
async fn next_exit(children: &mut [Option<Child>]) -> (u64, ExitStatus) {
    let running = children.iter_mut().enumerate().filter(|(_, child)| child.is_some());
    let waits: Vec<_> = running
        .map(|(index, slot)| {
            Box::pin(async move {
                let status = match slot {
                    Some(child) => child.wait().await.unwrap_or_default(),
                    None => ExitStatus::default(),
                };
                *slot = None;
                (index as u64 + 1, status)
            })
        })
        .collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(waits).await.0
}

async fn all_ready(client: &reqwest::Client, consoles: &[String]) {
    for console in consoles {
        loop {
            let answer = client.get(format!("{console}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
}

/// The end of a log file, for error texts.
fn last_lines(path: &Path) -> String {
    const LINES: usize = 5;
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
