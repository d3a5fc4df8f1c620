//! What the routes work with: the consensus handle and what the node lends.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quorate_machine::{
    Command, DataCenter, Id, MonitorKind, Principal, ProbedSide, Proposal, Refusal, RefusalCode, ReplicaLag, Reply,
    ReplyKind, Sealed, State,
};
use quorate_raft::Handle;
use tokio::sync::{Semaphore, watch};

use crate::InstanceKeys;
use crate::auth::{Caller, LoginLimits, PasswordChecker, SessionKey};
use crate::limits::{
    CONNECTION_TESTS_AT_ONCE, MAX_STREAMS, MAX_STREAMS_PER_USER, READ_DEADLINE, RETRY_AFTER_SECONDS, WRITE_DEADLINE,
};
use crate::places::Places;
use crate::problem::Problem;

/// A future that a node's implementation gives back.
pub type EdgeFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Seals secrets with the cluster key. The associated data is (object id, field, generation).
pub trait Sealer: Send + Sync + 'static {
    /// Seals `plain` for the field of an object in the generation that the object will have once the change is applied.
    fn seal(&self, object: Id, field: &str, generation: u64, plain: &[u8]) -> Sealed;
}

/// A connection test (C6): what would be probed, before or after it is saved.
#[derive(Clone)]
pub struct ConnectionTest {
    /// Kind with its addresses and accounts; where a secret was typed a placeholder stands for it.
    pub kind: MonitorKind,
    /// Secrets as typed.
    pub typed: Vec<TypedSecret>,
    /// The monitor that the other secrets are sealed for.
    pub stored: Option<Id>,
    /// Time for one step of one attempt.
    pub access_timeout: Duration,
}

/// A secret in clear, with the field that it would be sealed for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct TypedSecret {
    #[prost(string, tag = "1")]
    pub field: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

impl std::fmt::Debug for TypedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TypedSecret({})", self.field)
    }
}

impl ConnectionTest {
    /// Both sides as a prober sees them, each followed by its read replicas as a side of their own: a write canary is no
    /// business of theirs. What has no address is left out.
    pub fn sides(&self) -> Vec<ProbedSide> {
        let parts = |dc: DataCenter| {
            let side = self.kind.probed(dc);
            let replicas = side.at(self.kind.replicas(dc).to_vec()).without_canary();
            [side, replicas]
        };
        let named = |mut side: ProbedSide| {
            side.addresses.retain(|address| !address.is_empty());
            (!side.addresses.is_empty()).then_some(side)
        };
        DataCenter::ALL.into_iter().flat_map(parts).filter_map(named).collect()
    }

    /// What was typed for a secret.
    pub fn typed(&self, field: &str) -> Option<&str> {
        let found = self.typed.iter().find(|typed| typed.field == field);
        found.map(|typed| typed.value.as_str())
    }
}

impl std::fmt::Debug for ConnectionTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectionTest({})", self.kind.traits().name)
    }
}

/// What one address answered to a connection test, as nodes tell each other.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AddressReport {
    #[prost(string, tag = "1")]
    pub address: String,
    /// The attempt ended with an answered query.
    #[prost(bool, tag = "2")]
    pub passed: bool,
    /// Class of the finding in kebab case, for example `refused` or `auth`.
    #[prost(string, tag = "3")]
    pub class: String,
    /// The engine's own words; empty if it passed.
    #[prost(string, tag = "4")]
    pub text: String,
    /// How long the attempt took, milliseconds.
    #[prost(uint64, tag = "5")]
    pub elapsed_ms: u64,
    /// The stages in the order they were gone through; the last one is where it ended.
    #[prost(message, repeated, tag = "6")]
    pub stages: Vec<StageReport>,
}

/// What one stage of an attempt came to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StageReport {
    /// `dns`, `tcp`, `tls`, `login`, `query`, `role` or `write`.
    #[prost(string, tag = "1")]
    pub stage: String,
    /// `ok`, or the class of the finding.
    #[prost(string, tag = "2")]
    pub class: String,
    /// What was found, in the engine's own words where it failed.
    #[prost(string, tag = "3")]
    pub text: String,
    /// Microseconds.
    #[prost(uint64, tag = "4")]
    pub elapsed_us: u64,
}

/// An application process that is connected to this node (B3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedProcess {
    /// KV user of the stream.
    pub user: String,
    /// Address of the process, `ip:port`.
    pub source: String,
    /// Watched keys of the application.
    pub watches: u32,
    /// Since when, wall time of the node in milliseconds.
    pub since_wall_ms: i64,
}

/// Knows which application processes are connected to this node.
pub trait ProcessSource: Send + Sync + 'static {
    /// Processes that watch keys of this application now.
    fn connected(&self, instance: Id, application: Id) -> Vec<ConnectedProcess>;
}

/// What a node measures of one of its links at this moment (A6), as nodes tell each other.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LinkMeasure {
    /// The other node; 0 for a target.
    #[prost(uint64, tag = "1")]
    pub peer: u64,
    /// Address of the target; empty for a peer.
    #[prost(string, tag = "2")]
    pub target: String,
    /// A [`quorate_machine::LinkState`].
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Microseconds; 0 while nothing answers.
    #[prost(uint32, tag = "4")]
    pub rtt_us: u32,
    /// Attempts of the last minute without an answer, of a thousand.
    #[prost(uint32, tag = "5")]
    pub loss_permille: u32,
    /// The round trip is above the warning.
    #[prost(bool, tag = "6")]
    pub slow: bool,
}

impl From<&quorate_machine::Link> for LinkMeasure {
    fn from(link: &quorate_machine::Link) -> Self {
        Self {
            peer: link.peer,
            target: link.target.clone(),
            state: link.state,
            rtt_us: link.rtt_us,
            loss_permille: link.loss_permille,
            slow: link.slow,
        }
    }
}

/// Knows what this node measures of its links.
pub trait LinkSource: Send + Sync + 'static {
    /// Every link, peers first.
    fn links(&self) -> Vec<LinkMeasure>;
}

/// What a node's prober learned last of one side of a monitor, as nodes tell each other. Not replicated: the preview of a
/// switch asks for it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SideMeasure {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    /// A [`DataCenter`].
    #[prost(int32, tag = "2")]
    pub data_center: i32,
    /// How old the oldest of it is, milliseconds: some of it is not measured by every attempt.
    #[prost(uint64, tag = "3")]
    pub age_ms: u64,
    #[prost(bool, tag = "4")]
    pub read_only: bool,
    /// How far the server is behind the one that it replicates from.
    #[prost(message, optional, tag = "5")]
    pub lag: Option<ReplicaLag>,
    /// Its replication stands still, in its own words; empty otherwise.
    #[prost(string, tag = "6")]
    pub replication_broken: String,
    /// Open client connections; absent where the account may not ask.
    #[prost(uint64, optional, tag = "7")]
    pub connections_used: Option<u64>,
    /// Most that ordinary accounts can open.
    #[prost(uint64, optional, tag = "8")]
    pub connections_limit: Option<u64>,
}

/// Knows what this node's probers learned last.
pub trait MeasureSource: Send + Sync + 'static {
    /// Both sides of these monitors, as far as they answered.
    fn measures(&self, monitors: &[Id]) -> Vec<SideMeasure>;
}

/// Tests connections before a monitor is saved (C6). Runs on this node.
pub trait ConnectionTester: Send + Sync + 'static {
    /// Tries every address and reports each, in order.
    fn test(&self, test: ConnectionTest) -> EdgeFuture<Vec<AddressReport>>;
}

/// Names of the KV client's TLS files as the SDK configuration mentions them (sdk-contract 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

impl Default for TlsFiles {
    fn default() -> Self {
        Self {
            ca: "ca.crt".to_owned(),
            cert: "client.crt".to_owned(),
            key: "client.key.pem".to_owned(),
        }
    }
}

/// What the node lends to the REST edge.
pub struct ApiSettings {
    pub handle: Handle,
    /// Key of the sessions' HMAC: the same on every node, so that a session is valid on each of them.
    pub session_key: SessionKey,
    pub sealer: Arc<dyn Sealer>,
    pub instance_keys: Arc<dyn InstanceKeys>,
    pub tester: Arc<dyn ConnectionTester>,
    pub processes: Arc<dyn ProcessSource>,
    pub links: Arc<dyn LinkSource>,
    pub measures: Arc<dyn MeasureSource>,
    /// Where the SDK configuration says that the KV client's TLS files are.
    pub tls_files: TlsFiles,
    /// Wall time in milliseconds since the Unix epoch; sessions and tokens expire by it.
    pub wall_clock: fn() -> i64,
}

/// Shared state of all routes; cheap to clone.
#[derive(Clone)]
pub struct ApiContext(Arc<Inner>);

struct Inner {
    settings: ApiSettings,
    passwords: PasswordChecker,
    login_limits: LoginLimits,
    streams: Arc<Semaphore>,
    streams_of_user: Places,
    tests: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

impl ApiContext {
    /// Builds the context.
    pub fn new(settings: ApiSettings) -> Self {
        Self(Arc::new(Inner {
            settings,
            passwords: PasswordChecker::new(),
            login_limits: LoginLimits::new(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            streams_of_user: Places::new(MAX_STREAMS_PER_USER),
            tests: Arc::new(Semaphore::new(CONNECTION_TESTS_AT_ONCE)),
            stopping: watch::Sender::new(false),
        }))
    }

    /// Ends every event stream, so that a graceful stop does not wait for them. Not reversible.
    pub fn end_streams(&self) {
        self.0.stopping.send_replace(true);
    }

    pub(crate) fn settings(&self) -> &ApiSettings {
        &self.0.settings
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0.settings.handle
    }

    pub(crate) fn passwords(&self) -> &PasswordChecker {
        &self.0.passwords
    }

    pub(crate) fn login_limits(&self) -> &LoginLimits {
        &self.0.login_limits
    }

    pub(crate) fn streams(&self) -> Arc<Semaphore> {
        self.0.streams.clone()
    }

    pub(crate) fn streams_of_user(&self) -> &Places {
        &self.0.streams_of_user
    }

    pub(crate) fn tests(&self) -> Arc<Semaphore> {
        self.0.tests.clone()
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.0.settings.wall_clock)()
    }

    /// Reads the state after everything that was committed when the call began, or as it stands here if `serializable`.
    pub(crate) async fn read<T>(&self, serializable: bool, read: impl FnOnce(&State) -> T) -> Result<T, Problem> {
        if !serializable {
            self.handle().read_index(READ_DEADLINE).await?;
        }
        Ok(self.handle().read(read))
    }

    /// Waits until this node's state holds everything committed so far; 503 while the cluster has no state at all.
    pub(crate) async fn catch_up(&self) -> Result<(), Problem> {
        self.handle().read_index(READ_DEADLINE).await?;
        if self.handle().read(|state| state.cluster().is_some()) {
            return Ok(());
        }
        let refusal = Refusal::new(RefusalCode::NotBootstrapped);
        Err(Problem::from(&refusal).retry_after(RETRY_AFTER_SECONDS))
    }

    /// Proposes a command on behalf of the caller; the machine's refusal becomes a problem.
    pub(crate) async fn propose(&self, caller: &Caller, command: Command) -> Result<ReplyKind, Problem> {
        let author: Principal = caller.principal.clone();
        let proposal = Proposal {
            author: Some(author),
            command: Some(command),
        };
        let committed = self.handle().propose_patiently(proposal, WRITE_DEADLINE).await?;
        let Reply { kind } = committed.reply;
        match kind.expect("the machine answers every command") {
            ReplyKind::Refused(refusal) => Err(Problem::from(&refusal)),
            other => Ok(other),
        }
    }
}

/// A source address as limits and audit records see it: of IPv6, the /64 that one host commonly owns.
pub(crate) fn source_key(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => {
                let network = u128::from(v6) >> 64 << 64;
                format!("{}/64", std::net::Ipv6Addr::from(network))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use quorate_machine::{CanarySpec, RelationalSite, RelationalSpec};

    use super::*;

    #[test]
    fn a_connection_test_writes_at_the_sources_and_not_at_read_replicas() {
        let sealed = || {
            Some(Sealed {
                bytes: bytes::Bytes::from_static(b"sealed"),
            })
        };
        let site = |address: &str, replica: &str| RelationalSite {
            address: address.to_owned(),
            replicas: vec![replica.to_owned()],
            ..RelationalSite::default()
        };
        let spec = RelationalSpec {
            password: sealed(),
            dc1: site("10.0.1.1:3306", "10.0.1.9:3306"),
            // A source that is not named yet does not make one of its replica.
            dc2: site("", "10.0.2.9:3306"),
            canary: Some(CanarySpec {
                password: sealed(),
                ..CanarySpec::default()
            }),
            ..RelationalSpec::default()
        };
        let test = ConnectionTest {
            kind: MonitorKind::Mysql(spec),
            typed: Vec::new(),
            stored: None,
            access_timeout: Duration::from_secs(1),
        };
        let found: Vec<(String, bool, usize)> = test
            .sides()
            .into_iter()
            .map(|side| (side.addresses.join(","), side.canary().is_some(), side.secrets.len()))
            .collect();
        assert_eq!(
            found,
            [
                ("10.0.1.1:3306".to_owned(), true, 2),
                ("10.0.1.9:3306".to_owned(), false, 1),
                ("10.0.2.9:3306".to_owned(), false, 1)
            ]
        );
    }
}
