//! The seam between the node and the engines: what a prober is told, what it can do, and the one table of engines.
//!
//! A new engine is a module with an [`Engine`] and a line in [`engine`]. It keeps no schedule, judges nothing and opens no
//! sealed secret: the caller does that.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use quorate_machine::{FindingClass, ProbedCanary, ProbedSide};
use thiserror::Error;

use crate::{
    Names, Observation, Secret, StageResult, api, canary::Canaries, elasticsearch, mongodb, mysql, observation::Stage,
    oracle, postgresql, redis,
};

/// Probes one side of one monitor. Dropping it closes its connections.
pub trait Prober: Send {
    /// Makes one attempt, which ends within the access timeout whatever the server does; the finding speaks of the whole side,
    /// however many addresses it has. `None`: nothing was due and nothing was sent (it backs off after a refused login).
    fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>>;
}

/// A kind of data source.
pub trait Engine: Send + Sync {
    /// A prober of `target` that has no connection yet.
    fn start(&self, target: ProbeTarget) -> BoxFuture<'static, Result<Box<dyn Prober>, StartError>>;

    /// The connection test of C6: every address of `target` by itself, in order, step by step in the engine's own words. The
    /// access timeout bounds each step. Never logs in more often than once per address.
    fn test(&self, target: ProbeTarget) -> BoxFuture<'static, Vec<AddressTest>>;
}

/// The engine of a kind of monitor; `None`: this version cannot probe it. **A new engine is one more line.**
pub fn engine(kind: &str) -> Option<&'static dyn Engine> {
    match kind {
        "api" => Some(&api::Api),
        "elasticsearch" => Some(&elasticsearch::Elasticsearch),
        "mongodb" => Some(&mongodb::Mongodb),
        "mysql" => Some(&mysql::Mysql),
        "oracle" => Some(&oracle::Oracle),
        "postgresql" => Some(&postgresql::Postgresql),
        "redis" => Some(&redis::Redis),
        _ => None,
    }
}

/// What the connection test found at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTest {
    /// `host:port` as configured.
    pub address: String,
    /// In the order of the steps; the last one failed, or all passed.
    pub steps: Vec<StageResult>,
}

impl AddressTest {
    /// A test that could not begin.
    pub fn not_begun(address: &str, text: &str) -> Self {
        Self {
            address: address.to_owned(),
            steps: vec![StageResult {
                stage: Stage::Dns,
                class: FindingClass::Misconfigured,
                text: crate::observation::bounded_text(text),
                latency_us: 0,
            }],
        }
    }
}

/// The connection test of every address of a target, all at once and in order.
pub(crate) async fn test_each<F>(target: &ProbeTarget, test: impl Fn(String) -> F) -> Vec<AddressTest>
where
    F: Future<Output = Result<Vec<StageResult>, StartError>>,
{
    let one = |address: &String| {
        let (address, tested) = (address.clone(), test(address.clone()));
        async move {
            match tested.await {
                Ok(steps) => AddressTest { address, steps },
                Err(error) => AddressTest::not_begun(&address, &error.to_string()),
            }
        }
    };
    join_all(target.side.addresses.iter().map(one)).await
}

/// Why no prober could be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// The specification is incomplete or wrong; trying again will not help.
    #[error("{0}")]
    Misconfigured(String),
    /// The path to the address is not there yet; try again.
    #[error("{0}")]
    NoPath(String),
}

/// Sockets that stand for addresses: the fault proxy of a development cluster knows a node by the socket.
pub trait Paths: Send + Sync {
    /// The socket to dial in place of `address` (`host:port`); `None`: dial the address itself.
    fn forwarder<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Option<SocketAddr>, String>>;
}

/// Everything is dialled directly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Paths for Direct {
    fn forwarder<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, Result<Option<SocketAddr>, String>> {
        Box::pin(async { Ok(None) })
    }
}

/// What a prober probes and how; the same shape for every kind.
#[derive(Clone)]
pub struct ProbeTarget {
    /// Addresses, account, database, TLS, and what only this kind has.
    pub side: ProbedSide,
    /// Opened secrets by [`quorate_machine::ProbedSecret::name`].
    pub secrets: BTreeMap<String, Secret>,
    /// Bound of one whole attempt (C3).
    pub access_timeout: Duration,
    /// Resolver, shared by many targets.
    pub names: Names,
    /// How sockets are reached.
    pub paths: Arc<dyn Paths>,
    /// Write canaries, shared by many targets.
    pub canaries: Canaries,
}

impl ProbeTarget {
    /// A target that dials directly, has no secrets and shares no canary.
    pub fn new(side: ProbedSide, access_timeout: Duration, names: Names) -> Self {
        Self {
            side,
            secrets: BTreeMap::new(),
            access_timeout,
            names,
            paths: Arc::new(Direct),
            canaries: Canaries::default(),
        }
    }

    /// With the secret `name`, for example `password`.
    pub fn with_secret(mut self, name: &str, secret: Secret) -> Self {
        self.secrets.insert(name.to_owned(), secret);
        self
    }

    /// The password; `None` where the side is passwordless.
    pub fn password(&self) -> Option<&Secret> {
        self.secrets.get("password")
    }

    /// The write canary with its password, where there is one.
    pub fn canary(&self) -> Option<(&ProbedCanary, Secret)> {
        let canary = self.side.canary()?;
        Some((canary, self.secrets.get("canary_password")?.clone()))
    }

    /// The socket to dial in place of an address, be it configured or discovered.
    ///
    /// # Errors
    /// [`StartError::NoPath`] while the path cannot be had.
    pub async fn via(&self, address: &str) -> Result<Option<SocketAddr>, StartError> {
        let found = self.paths.forwarder(address).await;
        found.map_err(|error| StartError::NoPath(format!("no path to {address}: {error}")))
    }
}

impl fmt::Debug for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProbeTarget({} {:?})", self.side.kind, self.side.addresses)
    }
}
