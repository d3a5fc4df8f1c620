//! The Elasticsearch prober against real servers of both products, and against what is none.

use std::{
    net::SocketAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Observation, Secret, Stage, Tls,
    elasticsearch::{ElasticsearchProber, ElasticsearchTarget},
};
use quorate_real_parts::{
    PortBlock, ServerDirectory,
    search::{MONITOR, Product, SearchOptions, SearchServer},
};

mod counting;
mod faults;
mod logins;
mod opensearch_security;

const READY: Duration = Duration::from_secs(180);
const ACCESS_TIMEOUT: Duration = Duration::from_secs(3);
/// For servers that do not answer.
const SHORT_ACCESS_TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_millis(500);

/// One server for the tests of this binary that share it: it takes long to start. They take turns.
struct Shared {
    server: SearchServer,
    /// Certificate of the HTTP port; empty without TLS.
    certificate: String,
    _ports: PortBlock,
    _directory: ServerDirectory,
}

impl Shared {
    fn new(product: Product, secured: bool) -> Result<Self> {
        let directory = ServerDirectory::new()?;
        let ports = PortBlock::claim()?;
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let options = SearchOptions {
            product,
            ports: [ports.port(0), ports.port(1)],
            passwords: secured,
            tls: secured.then(|| (own.cert.pem(), own.signing_key.serialize_pem())),
        };
        Ok(Self {
            server: SearchServer::init(&directory.path().join("server"), options)?,
            certificate: own.cert.pem(),
            _ports: ports,
            _directory: directory,
        })
    }

    /// Runs and is green, whatever the test before did.
    async fn healthy(&mut self) -> Result<()> {
        if self.server.request(reqwest::Method::GET, "/", None).await.is_err() {
            self.server.start()?;
        }
        self.server.wait_ready(READY).await
    }
}

/// Elasticsearch with passwords and TLS.
async fn elasticsearch() -> Result<tokio::sync::MutexGuard<'static, Shared>> {
    static SERVER: OnceLock<tokio::sync::Mutex<Shared>> = OnceLock::new();
    shared(&SERVER, Product::Elasticsearch, true).await
}

/// OpenSearch, plain and passwordless.
async fn opensearch() -> Result<tokio::sync::MutexGuard<'static, Shared>> {
    static SERVER: OnceLock<tokio::sync::Mutex<Shared>> = OnceLock::new();
    shared(&SERVER, Product::OpenSearch, false).await
}

/// OpenSearch with its security plugin: passwords and TLS.
async fn secured_opensearch() -> Result<tokio::sync::MutexGuard<'static, Shared>> {
    static SERVER: OnceLock<tokio::sync::Mutex<Shared>> = OnceLock::new();
    shared(&SERVER, Product::OpenSearch, true).await
}

async fn shared(
    cell: &'static OnceLock<tokio::sync::Mutex<Shared>>,
    product: Product,
    secured: bool,
) -> Result<tokio::sync::MutexGuard<'static, Shared>> {
    if cell.get().is_none() {
        // Two that come at once each prepare files; one set of them is dropped again.
        let _ = cell.set(tokio::sync::Mutex::new(Shared::new(product, secured)?));
    }
    let mut server = cell.get().expect("just set").lock().await;
    server.healthy().await?;
    Ok(server)
}

fn plain(addresses: &[&str], access_timeout: Duration) -> ElasticsearchTarget {
    target(addresses, None, Tls::Off, access_timeout)
}

fn target(addresses: &[&str], password: Option<&str>, tls: Tls, access_timeout: Duration) -> ElasticsearchTarget {
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
    let login = password.map(|password| (MONITOR.user, Secret::new(password.to_owned())));
    ElasticsearchTarget::new(&addresses, login, tls, access_timeout).expect("a target")
}

fn verified(certificate: &str) -> Tls {
    Tls::Verified {
        ca_pem: Some(certificate.as_bytes().to_vec()),
    }
}

/// One attempt, which must keep its bound.
async fn attempt(prober: &mut ElasticsearchProber) -> Observation {
    attempt_within(ACCESS_TIMEOUT, prober).await
}

async fn attempt_within(access_timeout: Duration, prober: &mut ElasticsearchProber) -> Observation {
    let started = Instant::now();
    let observation = prober.attempt().await.expect("an attempt is due");
    let took = started.elapsed();
    assert!(took < access_timeout + SLACK, "took {took:?}: {observation:?}");
    observation
}

/// An answer in time, however busy the machine is.
fn serves(observation: &Observation) -> bool {
    matches!(observation.class, FindingClass::Ok | FindingClass::Slow) && observation.stage == Stage::Role
}

fn found(observation: &Observation) -> (FindingClass, Stage, bool) {
    (observation.class, observation.stage, observation.fresh)
}

/// An address on which nobody listens.
fn dead_address(ports: &PortBlock) -> String {
    format!("127.0.0.1:{}", ports.port(9))
}

/// Moves the prober's clock; real input and output goes on with the real one.
async fn skip(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

fn socket(address: &str) -> SocketAddr {
    address.parse().expect("a socket address")
}
