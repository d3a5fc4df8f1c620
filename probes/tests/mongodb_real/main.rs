//! The MongoDB prober against real servers of its protocol, and, for the members that those have not, against recorded answers.

use std::time::{Duration, Instant};

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Observation, Secret, Stage, Tls,
    mongodb::{MongodbProber, MongodbTarget},
};
use quorate_real_parts::{
    PortBlock, ServerDirectory,
    mongodb::{MONITOR, MongodbOptions, MongodbServer},
};

mod faults;
mod logins;
mod members;
mod recorded;

const READY: Duration = Duration::from_secs(60);
const ACCESS_TIMEOUT: Duration = Duration::from_secs(4);
/// For servers that do not answer.
const SHORT_ACCESS_TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_millis(500);

/// A server that asks for logins. Fields are dropped in order: the server first.
struct Fixture {
    server: MongodbServer,
    /// Of the server's certificate; empty without TLS.
    certificate: String,
    ports: PortBlock,
    _directory: ServerDirectory,
}

impl Fixture {
    async fn start() -> Result<Self> {
        Self::start_with(false).await
    }

    async fn start_with(tls: bool) -> Result<Self> {
        let directory = ServerDirectory::new()?;
        let ports = PortBlock::claim()?;
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let options = MongodbOptions {
            port: ports.port(0),
            tls: tls.then(|| (own.cert.pem(), own.signing_key.serialize_pem())),
        };
        let mut server = MongodbServer::init(&directory.path().join("server"), options, READY).await?;
        server.start()?;
        server.wait_ready(READY).await?;
        Ok(Self {
            server,
            certificate: own.cert.pem(),
            ports,
            _directory: directory,
        })
    }

    fn target(&self) -> MongodbTarget {
        logged_in(&[&self.server.address()], MONITOR.password, ACCESS_TIMEOUT)
    }
}

fn target(addresses: &[&str], access_timeout: Duration) -> MongodbTarget {
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
    MongodbTarget::new(&addresses, access_timeout).expect("a target")
}

fn logged_in(addresses: &[&str], password: &str, access_timeout: Duration) -> MongodbTarget {
    target(addresses, access_timeout).with_login(MONITOR.user, Secret::new(password.to_owned()), "admin")
}

fn verified(certificate: &str) -> Tls {
    Tls::Verified {
        ca_pem: Some(certificate.as_bytes().to_vec()),
    }
}

/// One attempt, which must keep its bound.
async fn attempt(prober: &mut MongodbProber) -> Observation {
    attempt_within(ACCESS_TIMEOUT, prober).await
}

async fn attempt_within(access_timeout: Duration, prober: &mut MongodbProber) -> Observation {
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

/// Moves the prober's clock; real input and output goes on with the real one.
async fn skip(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}
