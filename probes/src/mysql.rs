//! Prober of MySQL and MariaDB (C20).
//!
//! How it attempts stands in [`crate::kept`]; here is what this engine says. It writes nothing but
//! the row of a write canary, where a monitor has one.

use std::sync::Arc;

use mysql_async::Conn;
use quorate_machine::{FindingClass, ProbedCanary};
use tokio::time::{Duration, Instant};

use crate::{
    Secret,
    canary::Canary,
    failure::Failure,
    kept::{Answer, Dialect, Kept},
    observation::Observation,
};

mod canary;
mod connection_test;
mod engine;
pub mod errors;
mod reachability;
mod replication;
mod session;
mod target;

pub use crate::{
    address::Address,
    kept::{FRESH_EVERY_CYCLES, LOGIN_BACKOFF, REACHABILITY_INTERVAL},
};
pub use connection_test::{test_connection, test_with_canary};
pub use engine::Mysql;
pub use target::{MysqlTarget, MysqlTls, TargetError};

use canary::MysqlCanary;

/// Prober of one address. Dropping it closes its sessions.
#[derive(Debug)]
pub struct MysqlProber {
    kept: Kept<MysqlDialect>,
    canary: Option<Arc<Canary>>,
}

impl MysqlProber {
    /// A prober that has no connection yet.
    pub fn new(target: MysqlTarget) -> Self {
        Self {
            kept: Kept::new(MysqlDialect {
                target,
                facts: session::Facts::default(),
            }),
            canary: None,
        }
    }

    /// With a write canary, which begins at once and runs beside the attempts.
    pub fn with_canary(mut self, canary: &ProbedCanary, password: Secret) -> Self {
        self.canary = Some(Arc::new(self.start_canary(canary, password)));
        self
    }

    fn start_canary(&self, canary: &ProbedCanary, password: Secret) -> Canary {
        let target = self.kept.dialect.target.clone();
        let access_timeout = target.access_timeout;
        Canary::start(MysqlCanary::new(target, canary, password), access_timeout)
    }

    /// Makes one attempt, which ends within the access timeout whatever the server does. `None`: nothing was due and
    /// nothing was sent (the prober backs off after a refused login).
    pub async fn attempt(&mut self) -> Option<Observation> {
        let mut observation = self.kept.attempt().await?;
        observation.canary = self.canary.as_ref().and_then(|canary| canary.beside(&observation));
        Some(observation)
    }
}

#[derive(Debug)]
struct MysqlDialect {
    target: MysqlTarget,
    facts: session::Facts,
}

impl Dialect for MysqlDialect {
    type Session = Conn;

    fn access_timeout(&self) -> Duration {
        self.target.access_timeout
    }

    fn place(&self) -> String {
        self.target.address().to_string()
    }

    async fn open(&mut self, deadline: Instant) -> Result<Conn, Failure> {
        let found = self.target.endpoint.resolve(deadline).await?;
        session::open(&self.target, &found.sockets, deadline).await
    }

    async fn ask(&mut self, session: &mut Conn, fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        let mut role = session::ask_role(session, deadline).await?;
        // Replication and connections cost further questions and need rights: fresh connections only.
        let reusable = !fresh || self.facts.ask(session, deadline).await;
        self.facts.fill(&mut role);
        let read_only = || (FindingClass::ReadOnly, "read_only = 1".to_owned());
        Ok(Answer {
            ailment: role.read_only.then(read_only),
            role,
            reusable,
        })
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        let found = self.target.endpoint.resolve(deadline).await?;
        reachability::check(&found.sockets, deadline).await
    }

    fn close(session: Conn) {
        session::close(session);
    }
}
