//! The two systems: a cluster of three nodes from the development launcher, and one member of real etcd, brought to the same
//! beginning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::operation::{Caller, Operation, Outcome, Step, bytes};
use crate::cluster::{Credentials, DevCluster, tail};
use crate::etcd::{Client, ConnectOptions};
use crate::ports;
use crate::wire::authpb;
use crate::wire::etcdserverpb as pb;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The appliance's binary.
    pub quorate: PathBuf,
    /// The binary of real etcd.
    pub etcd: PathBuf,
}

/// One system with its users' tokens.
#[derive(Debug)]
pub struct System {
    /// `etcd` or `quorate`.
    pub name: &'static str,
    /// `ip:port`, plaintext.
    pub endpoint: String,
    client: Client,
    tokens: BTreeMap<String, String>,
    /// The user that may do everything.
    pub root: Credentials,
}

/// Which of our nodes is asked. Real etcd is one member, which leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Leader,
    /// Answers with the leader's replies, from a state of its own.
    Follower,
}

/// Both systems, running. Dropping it kills them.
#[derive(Debug)]
pub struct Pair {
    /// Real etcd, one member.
    pub etcd: System,
    /// Ours, three nodes.
    pub quorate: System,
    etcd_process: Child,
    cluster: Option<DevCluster>,
    _directory: TempDir,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const SHARED_MEMORY: &str = "/dev/shm";
/// A token that nobody issued.
const IMPOSTOR: &str = "made.up";

impl Programs {
    /// The appliance from `QUORATE_BINARY`, etcd from the cache that `cargo xtask setup --peers` fills.
    pub fn find() -> Result<Self> {
        Ok(Self {
            quorate: crate::cluster::binary()?,
            etcd: peer("etcd")?,
        })
    }
}

/// A program of real etcd from `QUORATE_ETCD` (a directory), else from the cache that `cargo xtask setup --peers` fills.
pub fn peer(program: &str) -> Result<PathBuf> {
    const IN_CACHE: &str = "quorate/etcd-v3.6.16";
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let directory = std::env::var_os("QUORATE_ETCD").map(PathBuf::from);
    let directory = directory.or_else(|| cache().map(|cache| cache.join(IN_CACHE)));
    let found = directory
        .map(|directory| directory.join(program))
        .filter(|path| path.is_file());
    found.with_context(|| format!("there is no {program}: run `cargo xtask setup --peers`, or set QUORATE_ETCD"))
}

impl Pair {
    /// Starts both and gives real etcd the users and roles that ours begins with.
    pub async fn start(programs: &Programs, asked: Asked) -> Result<Self> {
        // What is compared does not depend on the disk, and memory is faster.
        let shared = Path::new(SHARED_MEMORY);
        let parent = if shared.is_dir() {
            shared.to_path_buf()
        } else {
            std::env::temp_dir()
        };
        let directory = tempfile::Builder::new().prefix("quorate-diff-").tempdir_in(parent)?;
        // An error means that another test of this process has done it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let flags = ["--log-filter", "warn"];
        let folder = directory.path().join("cluster");
        let cluster = DevCluster::start(&programs.quorate, &folder, ports::take()?, &flags).await?;
        let root = cluster.info.kv.root.clone();
        let leader = cluster.leader(READY_TIMEOUT).await?;
        let mut nodes = cluster.info.nodes.iter();
        let node = nodes.find(|node| (node.id == leader) == (asked == Asked::Leader));
        let node = node
            .with_context(|| format!("no {asked:?} among the nodes"))?
            .kv
            .clone();
        let quorate = System::connect("quorate", &node, root.clone()).await?;
        let (etcd_process, endpoint) = start_etcd(programs, directory.path()).await?;
        let etcd = System::connect("etcd", &endpoint, root).await?;
        let mut pair = Self {
            etcd,
            quorate,
            etcd_process,
            cluster: Some(cluster),
            _directory: directory,
        };
        pair.begin_equal()
            .await
            .context("bringing etcd to the beginning that ours has")?;
        Ok(pair)
    }

    /// Reads users, roles and permissions of ours and makes the same in etcd, then enables authentication there.
    async fn begin_equal(&mut self) -> Result<()> {
        self.quorate.log_in_root().await?;
        let mut ours = self.quorate.client_of(&Caller::User("root".to_owned()))?;
        let mut etcd = self.etcd.client.clone();
        let roles: pb::AuthRoleListResponse = ours
            .unary("/etcdserverpb.Auth/RoleList", pb::AuthRoleListRequest {})
            .await?;
        for role in &roles.roles {
            let request = pb::AuthRoleAddRequest { name: role.clone() };
            let _: pb::AuthRoleAddResponse = etcd.unary("/etcdserverpb.Auth/RoleAdd", request).await?;
            let request = pb::AuthRoleGetRequest { role: role.clone() };
            let found: pb::AuthRoleGetResponse = ours.unary("/etcdserverpb.Auth/RoleGet", request).await?;
            for perm in found.perm.into_iter().filter(|_| role != "root") {
                grant(&mut etcd, role, perm).await?;
            }
        }
        let root = self.etcd.root.clone();
        let users: pb::AuthUserListResponse = ours
            .unary("/etcdserverpb.Auth/UserList", pb::AuthUserListRequest {})
            .await?;
        ensure!(users.users.iter().any(|user| user == "root"), "ours has no user root");
        for user in &users.users {
            let request = pb::AuthUserAddRequest {
                name: user.clone(),
                password: if *user == root.user {
                    root.password.clone()
                } else {
                    "unused".to_owned()
                },
                ..Default::default()
            };
            let _: pb::AuthUserAddResponse = etcd.unary("/etcdserverpb.Auth/UserAdd", request).await?;
            let request = pb::AuthUserGetRequest { name: user.clone() };
            let found: pb::AuthUserGetResponse = ours.unary("/etcdserverpb.Auth/UserGet", request).await?;
            for role in found.roles {
                let request = pb::AuthUserGrantRoleRequest {
                    user: user.clone(),
                    role,
                };
                let path = "/etcdserverpb.Auth/UserGrantRole";
                let _: pb::AuthUserGrantRoleResponse = etcd.unary(path, request).await?;
            }
        }
        let _: pb::AuthEnableResponse = etcd
            .unary("/etcdserverpb.Auth/AuthEnable", pb::AuthEnableRequest {})
            .await?;
        self.etcd.log_in_root().await?;
        self.level_auth_revisions().await
    }

    /// The two got to the same users by different ways; changing root's password to what it is counts up.
    async fn level_auth_revisions(&mut self) -> Result<()> {
        loop {
            let (etcd, ours) = (self.etcd.auth_revision().await?, self.quorate.auth_revision().await?);
            let behind = match etcd.cmp(&ours) {
                std::cmp::Ordering::Equal => return Ok(()),
                std::cmp::Ordering::Less => &mut self.etcd,
                std::cmp::Ordering::Greater => &mut self.quorate,
            };
            let request = pb::AuthUserChangePasswordRequest {
                name: behind.root.user.clone(),
                password: behind.root.password.clone(),
                ..Default::default()
            };
            let mut client = behind.client_of(&Caller::User("root".to_owned()))?;
            let path = "/etcdserverpb.Auth/UserChangePassword";
            let _: pb::AuthUserChangePasswordResponse = client.unary(path, request).await?;
            behind.log_in_root().await?;
        }
    }

    /// Stops both.
    pub async fn stop(mut self) -> Result<()> {
        self.etcd_process.kill().await?;
        match self.cluster.take() {
            Some(cluster) => cluster.stop().await,
            None => Ok(()),
        }
    }
}

async fn grant(etcd: &mut Client, role: &str, perm: authpb::Permission) -> Result<()> {
    let request = pb::AuthRoleGrantPermissionRequest {
        name: role.to_owned(),
        perm: Some(perm),
    };
    let path = "/etcdserverpb.Auth/RoleGrantPermission";
    let _: pb::AuthRoleGrantPermissionResponse = etcd.unary(path, request).await?;
    Ok(())
}

async fn start_etcd(programs: &Programs, directory: &Path) -> Result<(Child, String)> {
    let port = || -> Result<u16> { Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port()) };
    let (client, peer) = (port()?, port()?);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let log = directory.join("etcd.log");
    let output = std::fs::File::create(&log)?;
    let mut child = Command::new(&programs.etcd)
        .env_clear()
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args([
            "--listen-client-urls",
            &url(client),
            "--advertise-client-urls",
            &url(client),
        ])
        .args([
            "--listen-peer-urls",
            &url(peer),
            "--initial-advertise-peer-urls",
            &url(peer),
        ])
        .args(["--initial-cluster", &format!("default={}", url(peer))])
        .args(["--log-level", "error", "--unsafe-no-fsync", "--bcrypt-cost=4"])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", programs.etcd.display()))?;
    let endpoint = format!("127.0.0.1:{client}");
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if let Ok(mut client) = Client::connect(&anonymous(&endpoint), POLL * 10).await
            && client.get("ready").await.is_ok()
        {
            return Ok((child, endpoint));
        }
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            bail!("etcd does not serve: {}", tail(&log));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn anonymous(endpoint: &str) -> ConnectOptions {
    ConnectOptions {
        endpoint: endpoint.to_owned(),
        user: None,
        ca: None,
    }
}

impl System {
    async fn connect(name: &'static str, endpoint: &str, root: Credentials) -> Result<Self> {
        Ok(Self {
            name,
            endpoint: endpoint.to_owned(),
            client: Client::connect(&anonymous(endpoint), CONNECT_TIMEOUT).await?,
            tokens: BTreeMap::new(),
            root,
        })
    }

    async fn log_in_root(&mut self) -> Result<()> {
        let (name, password) = (self.root.user.clone(), self.root.password.clone());
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut outcome = self.log_in_as(&name, &password).await;
        while outcome.met_no_leader() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            outcome = self.log_in_as(&name, &password).await;
        }
        ensure!(outcome.is_ok(), "{}: {name} cannot log in: {outcome:?}", self.name);
        Ok(())
    }

    /// Logs a user in and keeps the token.
    pub(super) async fn log_in_as(&mut self, user: &str, password: &str) -> Outcome {
        let request = pb::AuthenticateRequest {
            name: user.to_owned(),
            password: password.to_owned(),
        };
        let reply: Result<pb::AuthenticateResponse, tonic::Status> =
            self.client.unary("/etcdserverpb.Auth/Authenticate", request).await;
        match reply {
            Ok(reply) => {
                self.tokens.insert(user.to_owned(), reply.token.clone());
                Outcome::Answered(super::operation::Answer::of(reply))
            }
            Err(status) => Outcome::Refused(status.code(), status.message().to_owned()),
        }
    }

    /// Whether the caller needs a login first.
    pub(super) fn lacks_token(&self, caller: &Caller) -> bool {
        matches!(caller, Caller::User(name) if !self.tokens.contains_key(name))
    }

    /// Forgets a token that has become void, or all of them.
    pub(super) fn forget(&mut self, user: Option<&str>) {
        match user {
            Some(user) => {
                self.tokens.remove(user);
            }
            None => self.tokens.clear(),
        }
    }

    /// A client that calls as `caller`; without a token if the caller has none.
    pub(super) fn client_of(&self, caller: &Caller) -> Result<Client> {
        match caller {
            Caller::Nobody => self.client.with_token(None),
            Caller::Impostor => self.client.with_token(Some(IMPOSTOR)),
            Caller::User(name) => self.client.with_token(self.tokens.get(name).map(String::as_str)),
        }
    }

    async fn auth_revision(&self) -> Result<u64> {
        let mut client = self.client_of(&Caller::User("root".to_owned()))?;
        let path = "/etcdserverpb.Auth/AuthStatus";
        let status: pb::AuthStatusResponse = client.unary(path, pb::AuthStatusRequest {}).await?;
        Ok(status.auth_revision)
    }

    /// Carries one step out.
    pub(super) async fn perform(&self, step: &Step) -> Result<Outcome> {
        let mut client = self.client_of(&step.caller)?;
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let outcome = step.operation.perform(&mut client).await;
            if !outcome.met_no_leader() || Instant::now() > deadline {
                return Ok(outcome);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Carries steps out at the same time; their outcomes in order.
    pub(super) async fn perform_all(&self, steps: &[Step]) -> Result<Vec<Outcome>> {
        let all = steps.iter().map(|step| self.perform(step));
        futures_util::future::try_join_all(all).await
    }

    /// The newest revision, as root sees it.
    pub(super) async fn revision(&self) -> Result<i64> {
        let request = pb::RangeRequest {
            key: bytes("revision"),
            ..Default::default()
        };
        let caller = Caller::User(self.root.user.clone());
        let outcome = Operation::Range(request).perform(&mut self.client_of(&caller)?).await;
        outcome
            .revision()
            .with_context(|| format!("{}: {outcome:?}", self.name))
    }
}
