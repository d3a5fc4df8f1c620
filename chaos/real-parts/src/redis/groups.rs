//! Servers that belong together: a pair, a master with sentinels, a cluster.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use super::{ADMIN, Redis, RedisOptions, command, login};
use crate::{PortBlock, ServerProcess, ServerUser, find_program};

const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// Name under which the sentinels know the master.
pub const MASTER_NAME: &str = "orders-master";
const SENTINELS: u16 = 3;
const CLUSTER_NODES: u16 = 3;

/// Two servers, one per data center. Dropping it kills both.
#[derive(Debug)]
pub struct RedisPair {
    /// The primary side.
    pub dc1: Redis,
    /// The other side.
    pub dc2: Redis,
    _ports: PortBlock,
}

impl RedisPair {
    /// Starts both; with `replica`, dc2 is a linked replica of dc1, else both are masters.
    ///
    /// # Errors
    /// Redis is not installed, or a step fails.
    pub async fn start(directory: &Path, replica: bool) -> Result<Self> {
        let ports = PortBlock::claim()?;
        let one = RedisOptions::new(ports.port(0));
        let mut two = RedisOptions::new(ports.port(1));
        if replica {
            two = two.replica_of(one.port);
        }
        let mut dc1 = start(&directory.join("dc1"), one).await?;
        let mut dc2 = start(&directory.join("dc2"), two).await?;
        if replica {
            dc2.wait_until("linked", READY_TIMEOUT, async |server: &Redis| {
                let info: String = server.admin(&["INFO", "replication"]).await?;
                Ok(info.contains("master_link_status:up"))
            })
            .await?;
        }
        dc1.wait_ready(READY_TIMEOUT).await?;
        Ok(Self {
            dc1,
            dc2,
            _ports: ports,
        })
    }
}

/// A master with a replica and three sentinels that watch it. Dropping it kills all.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The master at the start.
    pub master: Redis,
    /// Its replica.
    pub replica: Redis,
    /// The sentinels, with their ports.
    pub sentinels: Vec<(u16, ServerProcess)>,
    _ports: PortBlock,
}

impl RedisSentinels {
    /// Starts all and waits until every sentinel knows the replica and the other sentinels.
    ///
    /// # Errors
    /// Redis is not installed, or a step fails.
    pub async fn start(directory: &Path) -> Result<Self> {
        let ports = PortBlock::claim()?;
        let one = RedisOptions::new(ports.port(0));
        let two = RedisOptions::new(ports.port(1)).replica_of(one.port);
        let master = start(&directory.join("master"), one).await?;
        let replica = start(&directory.join("replica"), two).await?;
        let mut sentinels = Vec::new();
        for index in 0..SENTINELS {
            let port = ports.port(2 + index);
            sentinels.push((
                port,
                sentinel(&directory.join(format!("sentinel-{index}")), port, master.port())?,
            ));
        }
        let mut started = Self {
            master,
            replica,
            sentinels,
            _ports: ports,
        };
        let ports: Vec<u16> = started.sentinels.iter().map(|(port, _)| *port).collect();
        let known = format!("slaves=1,sentinels={SENTINELS}");
        let ready = async |_: &Redis| {
            for port in &ports {
                let mut connection = login(*port, None).await?;
                let info: String = command(&["INFO", "sentinel"]).query_async(&mut connection).await?;
                if !info.contains("status=ok") || !info.contains(&known) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        started
            .master
            .wait_until("watched by all sentinels", READY_TIMEOUT, ready)
            .await?;
        Ok(started)
    }

    /// `host:port` of every sentinel.
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"))
            .collect()
    }
}

fn sentinel(directory: &Path, port: u16, master: u16) -> Result<ServerProcess> {
    let user = ServerUser::current()?;
    user.create_directory(directory)?;
    let file = directory.join("sentinel.conf");
    let (admin, password) = (ADMIN.user, ADMIN.password);
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nprotected-mode no\nsentinel monitor {MASTER_NAME} 127.0.0.1 {master} 2\n\
         sentinel auth-user {MASTER_NAME} {admin}\nsentinel auth-pass {MASTER_NAME} {password}\n\
         sentinel down-after-milliseconds {MASTER_NAME} 1000\nsentinel failover-timeout {MASTER_NAME} 4000\n",
        directory.display()
    );
    fs::write(&file, text)?;
    // It rewrites the file: the file and the directory must be its user's.
    user.own(&file)?;
    let mut command = user.command(&find_program(&["redis-sentinel"])?)?;
    command.current_dir(directory).arg(&file);
    ServerProcess::spawn(&format!("sentinel on port {port}"), command, &directory.join("log"))
}

/// A cluster of three masters without replicas. Dropping it kills all.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes; each serves a third of the slots.
    pub nodes: Vec<Redis>,
    _ports: PortBlock,
}

impl RedisCluster {
    /// Starts the nodes and waits until each says that the cluster serves.
    ///
    /// # Errors
    /// Redis is not installed, or a step fails.
    pub async fn start(directory: &Path) -> Result<Self> {
        let ports = PortBlock::claim()?;
        let mut nodes = Vec::new();
        for index in 0..CLUSTER_NODES {
            let mut options = RedisOptions::new(ports.port(index));
            // The bus stays inside the block: by default it is 10,000 ports higher.
            let bus = ports.port(CLUSTER_NODES + index).to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                &bus,
            ];
            options.extra_arguments.extend(arguments.map(str::to_owned));
            nodes.push(start(&directory.join(format!("node-{index}")), options).await?);
        }
        let mut create = Command::new(find_program(&["redis-cli"])?);
        create
            .args([
                "--user",
                ADMIN.user,
                "--pass",
                ADMIN.password,
                "--no-auth-warning",
                "--cluster",
                "create",
            ])
            .args(nodes.iter().map(Redis::address))
            .args(["--cluster-replicas", "0", "--cluster-yes"]);
        let output = tokio::task::spawn_blocking(move || create.output())
            .await?
            .context("redis-cli")?;
        if !output.status.success() {
            bail!(
                "the cluster was not created: {}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
        for node in &mut nodes {
            node.wait_until("in a cluster that serves", READY_TIMEOUT, async |server: &Redis| {
                let info: String = server.admin(&["CLUSTER", "INFO"]).await?;
                Ok(info.contains("cluster_state:ok"))
            })
            .await?;
        }
        Ok(Self { nodes, _ports: ports })
    }

    /// `host:port` of every node.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::address).collect()
    }
}

async fn start(directory: &Path, options: RedisOptions) -> Result<Redis> {
    let mut server = Redis::init(directory, options)?;
    server.start()?;
    server.wait_ready(READY_TIMEOUT).await?;
    Ok(server)
}
