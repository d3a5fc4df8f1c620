//! The systems that the KV benchmark runs in turn, seen the same way.

mod members;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Programs, cluster, directory};
use crate::cluster::DevCluster;
use crate::etcd::{Client, ConnectOptions};
use crate::faults::{Signal, process_alive, send_signal};
use crate::wire::etcdserverpb::{StatusRequest, StatusResponse};
use members::Members;

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Real etcd with its default settings, in plaintext.
    Etcd,
    /// Ours, from the development launcher: clients in plaintext, every call authenticated.
    Quorate,
    /// Ours by etcd's flags, without authentication: members can be exchanged as those of etcd.
    QuorateAsEtcd,
}

/// A running three-node system; its nodes have the numbers 0 to 2.
#[derive(Debug)]
pub enum Peer {
    Appliance {
        cluster: Box<DevCluster>,
        _directory: tempfile::TempDir,
    },
    Members(Members),
}

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// A login hashes a password, which takes a busy machine its time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

impl Peer {
    /// Starts three nodes on empty directories and waits until each serves.
    pub async fn start(programs: &Programs, system: System) -> Result<Self> {
        let peer = match system {
            System::Quorate => {
                let directory = directory()?;
                let cluster = Box::new(cluster(programs, &directory).await?);
                Self::Appliance {
                    cluster,
                    _directory: directory,
                }
            }
            _ => Self::Members(Members::start(programs, system)?),
        };
        for number in 0..3 {
            peer.wait_serving(number, READY_TIMEOUT).await?;
        }
        Ok(peer)
    }

    /// Waits until a node answers a linearizable read.
    pub async fn wait_serving(&self, number: usize, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let options = &self.access()[number];
        loop {
            if let Ok(mut client) = Client::connect(options, CONNECT_TIMEOUT).await
                && let Ok(Ok(_)) = tokio::time::timeout(CONNECT_TIMEOUT, client.get("ready")).await
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} does not serve within {timeout:?}", options.endpoint);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Name in the tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Appliance { .. } => "quorate",
            Self::Members(members) => members.name(),
        }
    }

    /// How clients reach the three nodes.
    pub fn access(&self) -> Vec<ConnectOptions> {
        let (endpoints, user): (Vec<String>, _) = match self {
            Self::Appliance { cluster, .. } => {
                let root = &cluster.info.kv.root;
                let endpoints = cluster.info.nodes.iter().map(|node| node.kv.clone());
                (endpoints.collect(), Some((root.user.clone(), root.password.clone())))
            }
            Self::Members(members) => (members.endpoints(), None),
        };
        let path = |endpoint| ConnectOptions {
            endpoint,
            user: user.clone(),
            ca: None,
        };
        endpoints.into_iter().map(path).collect()
    }

    /// The nodes' processes, in the order of the nodes.
    pub fn pids(&self) -> Vec<u32> {
        match self {
            Self::Appliance { cluster, .. } => {
                let present = |node: &crate::cluster::NodeInfo| cluster.pid(node.id).unwrap_or(node.pid);
                cluster.info.nodes.iter().map(present).collect()
            }
            Self::Members(members) => members.pids(),
        }
    }

    /// Number of the leader; all three nodes must name the same.
    ///
    /// # Errors
    ///
    /// If they do not within a minute.
    pub async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Ok(Some(leader)) = self.agreed_leader().await {
                return Ok(leader);
            }
            ensure!(Instant::now() < deadline, "the nodes name no common leader");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn agreed_leader(&self) -> Result<Option<usize>> {
        let mut answers = Vec::new();
        for options in self.access() {
            let mut client = Client::connect(&options, CONNECT_TIMEOUT).await?;
            let asking = client.unary("/etcdserverpb.Maintenance/Status", StatusRequest {});
            let status: StatusResponse = tokio::time::timeout(CONNECT_TIMEOUT, asking).await??;
            let member = status.header.as_ref().map(|header| header.member_id);
            answers.push((member.context("a status without header")?, status.leader));
        }
        let named = answers[0].1;
        let agreed = named != 0 && answers.iter().all(|(_, leader)| *leader == named);
        let place = answers.iter().position(|(member, _)| *member == named);
        Ok(place.filter(|_| agreed))
    }

    /// Sends a signal to a node's process.
    pub fn signal(&self, number: usize, signal: Signal) -> Result<()> {
        let pids = self.pids();
        send_signal(*pids.get(number).context("the node does not run")?, signal)
    }

    /// Waits until nothing of a killed node's process is left.
    pub async fn wait_ended(&mut self, number: usize) -> Result<()> {
        match self {
            Self::Members(members) => members.wait_ended(number).await,
            Self::Appliance { .. } => {
                let pid = self.pids()[number];
                let deadline = Instant::now() + READY_TIMEOUT;
                while process_alive(pid) {
                    ensure!(Instant::now() < deadline, "process {pid} does not end");
                    tokio::time::sleep(POLL).await;
                }
                Ok(())
            }
        }
    }

    /// Starts a node that has ended on what it has on disk.
    pub async fn restart(&mut self, number: usize) -> Result<()> {
        match self {
            Self::Members(members) => members.spawn(number, false),
            Self::Appliance { cluster, .. } => {
                let id = cluster.info.nodes[number].id;
                cluster.restart(id).await
            }
        }
    }

    /// Kills a node, removes it with its data, and lets it come back empty; returns when it serves again.
    ///
    /// # Errors
    ///
    /// For the appliance, whose nodes join by a token.
    pub async fn rebuild(&mut self, number: usize) -> Result<()> {
        let access = self.access();
        let Self::Members(members) = self else {
            bail!("members are exchanged where both systems are started by etcd's flags");
        };
        members.replace(number, &access[(number + 1) % 3]).await?;
        self.wait_serving(number, READY_TIMEOUT).await
    }

    /// Stops the system.
    pub async fn stop(self) -> Result<()> {
        match self {
            Self::Appliance { cluster, .. } => cluster.stop().await,
            Self::Members(members) => members.stop().await,
        }
    }
}
