//! Prober of PostgreSQL (C21), version 10 and later, and of what speaks its protocol (poolers too).
//!
//! How it attempts stands in [`crate::kept`]; here is what this engine says. It writes nothing but the row of a
//! write canary, where a monitor has one, and one round trip answers for life, role and lag together.

use std::{sync::Arc, time::Duration};

use quorate_machine::ProbedCanary;
use tokio::time::Instant;

use crate::{
    Secret,
    canary::Canary,
    failure::{Failure, age_ms},
    kept::{Answer, Dialect, Kept},
    observation::{Connections, Observation},
};

mod canary;
mod connection_test;
mod engine;
pub mod errors;
mod reachability;
mod role;
mod session;
mod target;

pub use connection_test::{test_connection, test_with_canary};
pub use engine::Postgresql;
pub use target::PostgresqlTarget;

use canary::PostgresqlCanary;
use session::Session;

/// Prober of one address. Dropping it closes its sessions.
#[derive(Debug)]
pub struct PostgresqlProber {
    kept: Kept<PostgresqlDialect>,
    canary: Option<Arc<Canary>>,
}

impl PostgresqlProber {
    /// A prober that has no connection yet.
    pub fn new(target: PostgresqlTarget) -> Self {
        Self {
            kept: Kept::new(PostgresqlDialect {
                target,
                connections: None,
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
        let target = &self.kept.dialect.target;
        let writer = PostgresqlCanary::new(target, canary, password);
        Canary::start(writer, target.access_timeout)
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
struct PostgresqlDialect {
    target: PostgresqlTarget,
    /// As last seen on a fresh connection, and when.
    connections: Option<(Connections, Instant)>,
}

impl Dialect for PostgresqlDialect {
    type Session = Session;

    fn access_timeout(&self) -> Duration {
        self.target.access_timeout
    }

    fn place(&self) -> String {
        self.target.endpoint.address.to_string()
    }

    async fn open(&mut self, deadline: Instant) -> Result<Session, Failure> {
        let stream = self.target.endpoint.connect(deadline).await?;
        session::open(&self.target, stream, deadline).await
    }

    async fn ask(&mut self, session: &mut Session, fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        let mut answer = role::ask(session, deadline).await?;
        if fresh {
            let measured = Instant::now();
            let counted = role::connections(session, deadline).await;
            // Optional by nature: what it costs is at most this session, never the answer that is there.
            answer.reusable &= counted.is_ok();
            self.connections = counted.unwrap_or_default().map(|counted| (counted, measured));
        }
        answer.role.connections = self.connections.map(|(counted, _)| counted);
        answer.role.facts_age_ms = age_ms(self.connections.map(|(_, measured)| measured));
        Ok(answer)
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        let stream = self.target.endpoint.connect(deadline).await?;
        reachability::check(stream, deadline).await
    }

    fn close(session: Session) {
        session.close();
    }
}
