//! Members of real etcd or of ours, started by the same flags; more of them can join while they run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::FIRST_CLIENT_PORT;
use crate::cluster::tail;
use crate::etcd::{Client, ConnectOptions, RangeRequest};
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
    /// Flags beside those that name and connect the members.
    extra: Vec<String>,
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
        Self::start_at(program, count, &[], Some(first)).await
    }

    /// The same on free ports, with further flags.
    ///
    /// # Errors
    ///
    /// If a member does not serve in time; with the end of its log.
    pub async fn start_with(program: &Program, count: usize, extra: &[&str]) -> Result<Self> {
        Self::start_at(program, count, extra, None).await
    }

    async fn start_at(program: &Program, count: usize, extra: &[&str], first: Option<TcpListener>) -> Result<Self> {
        let mut members = Self {
            program: program.clone(),
            directory: tempfile::Builder::new().prefix("quorate-suites-").tempdir()?,
            children: Vec::new(),
            places: Vec::new(),
            extra: extra.iter().map(|flag| (*flag).to_owned()).collect(),
        };
        let mut listeners = Vec::from_iter(first);
        while listeners.len() < count * 2 {
            listeners.push(TcpListener::bind(("127.0.0.1", 0))?);
        }
        let ports: Vec<u16> = listeners
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<Result<_>>()?;
        drop(listeners);
        for pair in ports.chunks(2) {
            members.take_place(pair[0], pair[1]);
        }
        let all: Vec<usize> = (0..count).collect();
        for number in 0..count {
            members.spawn_among(number, "new", &all)?;
        }
        for number in 0..count {
            members.wait_ready(number).await?;
        }
        Ok(members)
    }

    fn take_place(&mut self, client: u16, peer: u16) -> usize {
        self.places.push(Place {
            name: format!("member-{}", self.places.len() + 1),
            client,
            peer,
        });
        self.children.push(None);
        self.places.len() - 1
    }

    /// Free ports and a name for one more member, which is not started yet; gives its number.
    pub fn new_place(&mut self) -> Result<usize> {
        let listeners = [
            TcpListener::bind(("127.0.0.1", 0))?,
            TcpListener::bind(("127.0.0.1", 0))?,
        ];
        let (client, peer) = (listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port());
        Ok(self.take_place(client, peer))
    }

    /// Gives a member that does not run another free port for its peers.
    pub fn move_peer(&mut self, number: usize) -> Result<()> {
        ensure!(!self.runs(number), "it listens where it is");
        self.places[number].peer = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        Ok(())
    }

    /// How many members were ever given a place.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Whether a member was started, and neither killed nor seen to end.
    pub fn runs(&self, number: usize) -> bool {
        self.children[number].is_some()
    }

    /// Process of a member that runs.
    pub fn pid(&self, number: usize) -> Result<u32> {
        let child = self.children[number].as_ref();
        child.and_then(Child::id).context("the member does not run")
    }

    /// Peer URL of a member.
    pub fn peer_url(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.places[number].peer)
    }

    /// How a client reaches a member.
    pub fn path(&self, number: usize) -> ConnectOptions {
        anonymous(self.places[number].client)
    }

    /// Client addresses, `ip:port`.
    pub fn clients(&self) -> Vec<String> {
        let address = |place: &Place| format!("127.0.0.1:{}", place.client);
        self.places.iter().map(address).collect()
    }

    /// What a member has said.
    pub fn log(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("{}.log", self.places[number].name))
    }

    /// Starts a member of the first ones on what it has on disk.
    pub fn spawn(&mut self, number: usize) -> Result<()> {
        let all: Vec<usize> = (0..self.places.len()).collect();
        self.spawn_among(number, "new", &all)
    }

    /// Starts a member that is told of the members `among`, with the initial state `new` or `existing`.
    pub fn spawn_among(&mut self, number: usize, state: &str, among: &[usize]) -> Result<()> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let place = &self.places[number];
        let initial: Vec<String> = among
            .iter()
            .map(|other| &self.places[*other])
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
            .args(["--initial-cluster-state", state])
            .args(["--initial-cluster-token", "suites", "--log-level", "info"])
            .args(&self.extra)
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
        self.wait_answer(number, false).await
    }

    /// Waits until a member answers a serializable read, as learners do.
    pub async fn wait_serving(&mut self, number: usize) -> Result<()> {
        self.wait_answer(number, true).await
    }

    async fn wait_answer(&mut self, number: usize, serializable: bool) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let options = anonymous(self.places[number].client);
        loop {
            let request = RangeRequest {
                key: "ready".into(),
                serializable,
                ..RangeRequest::default()
            };
            if let Ok(mut client) = Client::connect(&options, POLL * 10).await
                && client.range(request).await.is_ok()
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

    /// Waits until a member that was removed has ended.
    pub async fn wait_ended(&mut self, number: usize) -> Result<()> {
        let mut child = self.children[number].take().context("the member does not run")?;
        let ended = tokio::time::timeout(STOP_TIMEOUT, child.wait()).await;
        ended.with_context(|| format!("{} was removed and does not end", self.places[number].name))??;
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
