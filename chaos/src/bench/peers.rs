//! The two systems that the KV benchmark runs in turn, seen the same way.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::process::{Child, Command};

use super::{Programs, cluster, directory};
use crate::cluster::DevCluster;
use crate::etcd::{Client, ConnectOptions};

/// A running three-node system.
#[derive(Debug)]
pub enum Peer {
    Quorate {
        cluster: Box<DevCluster>,
        _directory: tempfile::TempDir,
    },
    Etcd {
        members: Vec<Child>,
        endpoints: Vec<String>,
        _directory: tempfile::TempDir,
    },
}

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const ETCD_FIRST_PORT: u16 = 17_379;

impl Peer {
    /// Ours, from the development launcher, in plaintext.
    pub async fn quorate(programs: &Programs) -> Result<Self> {
        let directory = directory()?;
        let cluster = Box::new(cluster(programs, &directory).await?);
        Ok(Self::Quorate {
            cluster,
            _directory: directory,
        })
    }

    /// Real etcd with its default settings, in plaintext.
    pub async fn etcd(programs: &Programs) -> Result<Self> {
        let directory = directory()?;
        let initial: Vec<String> = (0..3)
            .map(|index| format!("m{index}=http://127.0.0.1:{}", ETCD_FIRST_PORT + 10 * index + 1))
            .collect();
        let (mut members, mut endpoints) = (Vec::new(), Vec::new());
        for index in 0..3 {
            let client = ETCD_FIRST_PORT + 10 * index;
            members.push(etcd_member(
                programs,
                directory.path(),
                index,
                client,
                &initial.join(","),
            )?);
            endpoints.push(format!("127.0.0.1:{client}"));
        }
        let peer = Self::Etcd {
            members,
            endpoints,
            _directory: directory,
        };
        peer.wait_serving().await?;
        Ok(peer)
    }

    async fn wait_serving(&self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        for options in self.access() {
            loop {
                if let Ok(mut client) = Client::connect(&options, Duration::from_secs(1)).await
                    && client.put("ready", "1").await.is_ok()
                {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("{} does not serve", options.endpoint);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Name in the tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Quorate { .. } => "quorate",
            Self::Etcd { .. } => "etcd",
        }
    }

    /// How clients reach the three nodes.
    pub fn access(&self) -> Vec<ConnectOptions> {
        match self {
            Self::Quorate { cluster, .. } => {
                let user = &cluster.info.kv.root;
                let user = Some((user.user.clone(), user.password.clone()));
                let endpoint = |node: &crate::cluster::NodeInfo| node.kv.clone();
                cluster
                    .info
                    .nodes
                    .iter()
                    .map(|node| ConnectOptions {
                        endpoint: endpoint(node),
                        user: user.clone(),
                        ca: None,
                    })
                    .collect()
            }
            Self::Etcd { endpoints, .. } => endpoints
                .iter()
                .map(|endpoint| ConnectOptions {
                    endpoint: endpoint.clone(),
                    user: None,
                    ca: None,
                })
                .collect(),
        }
    }

    /// The servers' processes.
    pub fn pids(&self) -> Vec<u32> {
        match self {
            Self::Quorate { cluster, .. } => cluster.info.nodes.iter().map(|node| node.pid).collect(),
            Self::Etcd { members, .. } => members.iter().filter_map(Child::id).collect(),
        }
    }

    /// Stops the system.
    pub async fn stop(self) -> Result<()> {
        match self {
            Self::Quorate { cluster, .. } => cluster.stop().await,
            Self::Etcd { mut members, .. } => {
                for member in &mut members {
                    member.kill().await?;
                }
                Ok(())
            }
        }
    }
}

fn etcd_member(programs: &Programs, directory: &Path, index: u16, client: u16, initial: &str) -> Result<Child> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let log = std::fs::File::create(directory.join(format!("etcd-{index}.log")))?;
    let child = Command::new(programs.etcd.join("etcd"))
        .arg("--name")
        .arg(format!("m{index}"))
        .arg("--data-dir")
        .arg(directory.join(format!("etcd-{index}")))
        .args([
            "--listen-client-urls",
            &url(client),
            "--advertise-client-urls",
            &url(client),
        ])
        .args([
            "--listen-peer-urls",
            &url(client + 1),
            "--initial-advertise-peer-urls",
            &url(client + 1),
        ])
        .args([
            "--initial-cluster",
            initial,
            "--initial-cluster-state",
            "new",
            "--log-level",
            "error",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}
