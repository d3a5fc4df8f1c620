//! Three members started by etcd's flags, in plaintext: real etcd, or ours in its `etcd` personality.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::System;
use crate::bench::{Programs, directory};
use crate::etcd::{Client, ConnectOptions};
use crate::ports::{self, PortOffset};
use crate::wire::etcdserverpb as pb;

/// Of clients and of peers, of each member. A member that comes back finds them free: they are below those that the system gives to
/// connections.
const PORTS: [(u16, u16); 3] = [(2379, 2380), (22379, 22380), (32379, 32380)];
/// How long a change of members may be refused because the cluster has not settled.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Running members; killed when dropped.
#[derive(Debug)]
pub struct Members {
    name: &'static str,
    program: PathBuf,
    /// Before the flags.
    arguments: &'static [&'static str],
    directory: TempDir,
    offset: PortOffset,
    children: Vec<Child>,
}

impl Members {
    /// Starts them on empty directories.
    pub fn start(programs: &Programs, system: System) -> Result<Self> {
        let (name, program, arguments): (_, _, &[&str]) = match system {
            System::Etcd => ("etcd", programs.etcd.join("etcd"), &[]),
            _ => ("quorate", programs.quorate.clone(), &["etcd"]),
        };
        let mut members = Self {
            name,
            program,
            arguments,
            directory: directory()?,
            offset: ports::take()?,
            children: Vec::new(),
        };
        for number in 0..PORTS.len() {
            let child = members.command(number, "new")?.spawn();
            members
                .children
                .push(child.with_context(|| format!("starting {name}"))?);
        }
        Ok(members)
    }

    /// Name in the tables.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Client addresses, `ip:port`.
    pub fn endpoints(&self) -> Vec<String> {
        let number = 0..PORTS.len();
        number
            .map(|number| format!("127.0.0.1:{}", self.ports(number).0))
            .collect()
    }

    /// Of clients and of peers.
    fn ports(&self, number: usize) -> (u16, u16) {
        let (client, peer) = PORTS[number];
        (client + self.offset.value, peer + self.offset.value)
    }

    /// The processes of the members that run.
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().filter_map(Child::id).collect()
    }

    fn data(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("m{number}.data"))
    }

    fn command(&self, number: usize, state: &str) -> Result<Command> {
        let place = |member| format!("m{member}={}", url(self.ports(member).1));
        let initial: Vec<String> = (0..PORTS.len()).map(place).collect();
        let (client, peer) = self.ports(number);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("m{number}.log")))?;
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments)
            .args(["--name", &format!("m{number}"), "--data-dir"])
            .arg(self.data(number))
            .args(["--listen-client-urls", &url(client)])
            .args(["--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer)])
            .args(["--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &initial.join(",")])
            .args(["--initial-cluster-state", state, "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Starts a member again: on what it has on disk, or (`joining`) as one that was just added.
    pub fn spawn(&mut self, number: usize, joining: bool) -> Result<()> {
        let state = if joining { "existing" } else { "new" };
        let child = self.command(number, state)?.spawn();
        self.children[number] = child.with_context(|| format!("starting {}", self.name))?;
        Ok(())
    }

    /// Waits for the end of a member's process.
    pub async fn wait_ended(&mut self, number: usize) -> Result<()> {
        self.children[number].wait().await?;
        Ok(())
    }

    /// Kills a member, takes it out of the cluster through another one, and starts it empty as a new member.
    pub async fn replace(&mut self, number: usize, other: &ConnectOptions) -> Result<()> {
        self.children[number].kill().await?;
        let mut client = Client::connect(other, CHANGE_TIMEOUT).await?;
        let list: pb::MemberListResponse = client
            .unary("/etcdserverpb.Cluster/MemberList", pb::MemberListRequest::default())
            .await?;
        let peer = url(self.ports(number).1);
        let gone = list.members.iter().find(|member| member.peer_ur_ls.contains(&peer));
        let remove = pb::MemberRemoveRequest {
            id: gone.context("the member is not in the list")?.id,
        };
        let _: pb::MemberRemoveResponse = change(&mut client, "/etcdserverpb.Cluster/MemberRemove", remove).await?;
        let add = pb::MemberAddRequest {
            peer_ur_ls: vec![peer],
            ..Default::default()
        };
        let _: pb::MemberAddResponse = change(&mut client, "/etcdserverpb.Cluster/MemberAdd", add).await?;
        std::fs::remove_dir_all(self.data(number))?;
        self.spawn(number, true)
    }

    /// Ends all of them.
    pub async fn stop(mut self) -> Result<()> {
        for child in &mut self.children {
            child.kill().await?;
        }
        Ok(())
    }
}

/// A change of members, asked for again while the cluster refuses it as unhealthy.
async fn change<Q, A>(client: &mut Client, path: &'static str, request: Q) -> Result<A>
where
    Q: prost::Message + Clone + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let deadline = Instant::now() + CHANGE_TIMEOUT;
    loop {
        match client.unary(path, request.clone()).await {
            Ok(reply) => return Ok(reply),
            Err(status) => {
                let late = Instant::now() >= deadline;
                ensure!(!late && status.code() == tonic::Code::Unavailable, "{path}: {status}");
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
