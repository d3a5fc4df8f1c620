//! Prober of Redis (C23): one server, a master behind sentinels, or a cluster.
//!
//! How it attempts stands in [`crate::kept`]; here is what this engine says. It writes nothing, asks nothing about keys, and
//! triggers no failover of Redis' own: sentinels and cluster nodes decide that inside their data center.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    failure::Failure,
    kept::{Answer, Dialect, Kept},
    observation::Observation,
};

mod cluster;
mod connection_test;
mod engine;
pub mod errors;
mod node;
mod reachability;
mod sentinel;
mod session;
mod target;

pub use connection_test::test_connection;
pub use engine::Redis;
pub use target::{Account, Arrangement, RedisTarget};

use cluster::ClusterDialect;
use sentinel::SentinelDialect;
use session::Session;

/// Prober of one side. Dropping it closes its sessions.
#[derive(Debug)]
pub struct RedisProber(Arranged);

#[derive(Debug)]
enum Arranged {
    Normal(Kept<NormalDialect>),
    Sentinel(Kept<SentinelDialect>),
    Cluster(Kept<ClusterDialect>),
}

impl RedisProber {
    /// A prober that has no connection yet.
    pub fn new(target: RedisTarget) -> Self {
        Self(match target.arrangement.clone() {
            Arrangement::Normal => Arranged::Normal(Kept::new(NormalDialect {
                target,
                facts: node::Facts::default(),
            })),
            Arrangement::Sentinel { master, account } => {
                Arranged::Sentinel(Kept::new(SentinelDialect::new(target, master, account)))
            }
            Arrangement::Cluster => Arranged::Cluster(Kept::new(ClusterDialect::new(target))),
        })
    }

    /// Makes one attempt, which ends within the access timeout whatever the servers do. `None`: nothing was due and
    /// nothing was sent (the prober backs off after a refused login).
    pub async fn attempt(&mut self) -> Option<Observation> {
        match &mut self.0 {
            Arranged::Normal(prober) => prober.attempt().await,
            Arranged::Sentinel(prober) => prober.attempt().await,
            Arranged::Cluster(prober) => prober.attempt().await,
        }
    }
}

/// One server.
#[derive(Debug)]
struct NormalDialect {
    target: RedisTarget,
    facts: node::Facts,
}

impl Dialect for NormalDialect {
    type Session = Session;

    fn access_timeout(&self) -> Duration {
        self.target.access_timeout
    }

    fn place(&self) -> String {
        format!("{:?}", self.target)
    }

    async fn open(&mut self, deadline: Instant) -> Result<Session, Failure> {
        let target = &self.target;
        session::connect(target, &target.endpoints[0], &target.account, deadline).await
    }

    async fn ask(&mut self, session: &mut Session, fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        node::ask(session, &mut self.facts, fresh, deadline).await
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        reachability::check(&self.target, &self.target.endpoints[0], deadline).await
    }

    fn close(session: Session) {
        drop(session);
    }
}
