//! Three members of real etcd or of ours, started by the same flags.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::FIRST_CLIENT_PORT;
use crate::cluster::tail;
use crate::etcd::{Client, ConnectOptions};
use crate::wire::etcdserverpb as pb;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// What a member runs.
#[derive(Debug, Clone)]
pub enum Program {
    /// Real etcd.
    Etcd(PathBuf),
    /// Ours, in its `etcd` personality.
    Quorate(PathBuf),
}

impl Program {
    /// For messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "real etcd",
            Self::Quorate(_) => "Quorate",
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Etcd(path) => Command::new(path),
            Self::Quorate(path) => {
                let mut command = Command::new(path);
                command.arg("etcd");
                command
            }
        }
    }
}

/// Running members; killed when dropped.
#[derive(Debug)]
pub struct Members {
    program: Program,
    directory: TempDir,
    places: Vec<Place>,
    children: Vec<Option<Child>>,
}

#[derive(Debug, Clone)]
struct Place {
    name: String,
    client: u16,
    peer: u16,
}

impl Members {
    /// Starts members on a new directory and waits until each answers a linearizable read. The first one's client port is
    /// [`FIRST_CLIENT_PORT`].
    ///
    /// # Errors
    ///
    /// If that port is taken, or a member does not serve in time; with the end of its log.
    pub async fn start(program: &Program, count: usize) -> Result<Self> {
        let first = TcpListener::bind(("127.0.0.1", FIRST_CLIENT_PORT))
            .with_context(|| format!("port {FIRST_CLIENT_PORT}, which the suites use, is taken"))?;
        let others: Vec<TcpListener> = (1..count * 2)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<Result<_, _>>()?;
        let ports: Vec<u16> = std::iter::once(&first)
            .chain(&others)
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<Result<_>>()?;
        drop((first, others));
        let place = |(number, ports): (usize, &[u16])| Place {
            name: format!("member-{}", number + 1),
            client: ports[0],
            peer: ports[1],
        };
        let places: Vec<Place> = ports.chunks(2).enumerate().map(place).collect();
        let mut members = Self {
            program: program.clone(),
            directory: tempfile::Builder::new().prefix("quorate-suites-").tempdir()?,
            children: places.iter().map(|_| None).collect(),
            places,
        };
        for number in 0..members.places.len() {
            members.spawn(number)?;
        }
        for number in 0..members.places.len() {
            members.wait_ready(number).await?;
        }
        Ok(members)
    }

    /// Client addresses, `ip:port`.
    pub fn clients(&self) -> Vec<String> {
        let address = |place: &Place| format!("127.0.0.1:{}", place.client);
        self.places.iter().map(address).collect()
    }

    fn log(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("{}.log", self.places[number].name))
    }

    /// Starts a member on what it has on disk.
    pub fn spawn(&mut self, number: usize) -> Result<()> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let place = &self.places[number];
        let initial: Vec<String> = self
            .places
            .iter()
            .map(|place| format!("{}={}", place.name, url(place.peer)))
            .collect();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(number))?;
        let mut command = self.program.command();
        command
            .env_clear()
            .args(["--name", &place.name, "--data-dir"])
            .arg(self.directory.path().join(format!("{}.data", place.name)))
            .args(["--listen-client-urls", &url(place.client)])
            .args(["--advertise-client-urls", &url(place.client)])
            .args(["--listen-peer-urls", &url(place.peer)])
            .args(["--initial-advertise-peer-urls", &url(place.peer)])
            .args(["--initial-cluster", &initial.join(",")])
            .args(["--initial-cluster-token", "suites", "--log-level", "info"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", self.program.name()))?;
        self.children[number] = Some(child);
        Ok(())
    }

    /// Waits until a member answers a linearizable read.
    pub async fn wait_ready(&mut self, number: usize) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let options = anonymous(self.places[number].client);
        loop {
            if let Ok(mut client) = Client::connect(&options, POLL * 10).await
                && client.get("ready").await.is_ok()
            {
                return Ok(());
            }
            let log = self.log(number);
            let child = self.children[number].as_mut().context("the member was not started")?;
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{} does not serve: {}", self.program.name(), tail(&log));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Number of the member that leads.
    ///
    /// # Errors
    ///
    /// If none says so in time.
    pub async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            for (number, place) in self.places.iter().enumerate() {
                if self.children[number].is_some() && leads(place.client).await.unwrap_or(false) {
                    return Ok(number);
                }
            }
            ensure!(Instant::now() < deadline, "no member leads");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Adds the user `root` with its role; authentication stays off.
    pub async fn add_root(&self, password: &str) -> Result<()> {
        let mut client = Client::connect(&anonymous(self.places[0].client), READY_TIMEOUT).await?;
        let user = pb::AuthUserAddRequest {
            name: "root".to_owned(),
            password: password.to_owned(),
            ..Default::default()
        };
        let _: pb::AuthUserAddResponse = client.unary("/etcdserverpb.Auth/UserAdd", user).await?;
        let role = pb::AuthRoleAddRequest {
            name: "root".to_owned(),
        };
        let _: pb::AuthRoleAddResponse = client.unary("/etcdserverpb.Auth/RoleAdd", role).await?;
        let grant = pb::AuthUserGrantRoleRequest {
            user: "root".to_owned(),
            role: "root".to_owned(),
        };
        let _: pb::AuthUserGrantRoleResponse = client.unary("/etcdserverpb.Auth/UserGrantRole", grant).await?;
        Ok(())
    }

    /// SIGKILL.
    pub async fn kill(&mut self, number: usize) -> Result<()> {
        let mut child = self.children[number].take().context("the member does not run")?;
        child.kill().await?;
        Ok(())
    }

    /// Stops every member in order.
    pub async fn stop(mut self) -> Result<()> {
        for child in self.children.iter().flatten() {
            if let Some(pid) = child.id() {
                crate::faults::send_signal(pid, crate::faults::Signal::Terminate)?;
            }
        }
        for child in self.children.iter_mut().flatten() {
            let ended = tokio::time::timeout(STOP_TIMEOUT, child.wait()).await;
            ended.with_context(|| format!("{} does not stop", self.program.name()))??;
        }
        Ok(())
    }

    /// The end of each member's log.
    pub fn log_tails(&self) -> String {
        let tails =
            (0..self.places.len()).map(|number| format!("{}: {}", self.places[number].name, tail(&self.log(number))));
        tails.collect::<Vec<_>>().join("\n")
    }

    /// A place for files of a test, which goes with the members.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

async fn leads(port: u16) -> Result<bool> {
    let mut client = Client::connect(&anonymous(port), POLL * 10).await?;
    let status: pb::StatusResponse = client
        .unary("/etcdserverpb.Maintenance/Status", pb::StatusRequest {})
        .await?;
    Ok(status.header.is_some_and(|header| header.member_id == status.leader))
}

fn anonymous(port: u16) -> ConnectOptions {
    ConnectOptions {
        endpoint: format!("127.0.0.1:{port}"),
        user: None,
        ca: None,
    }
}
