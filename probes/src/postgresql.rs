//! Prober of PostgreSQL (C21), version 10 and later, and of what speaks its protocol (poolers too).
//!
//! How it attempts stands in [`crate::kept`]; here is what this engine says. It never writes, and one round trip answers
//! for life, role and lag together.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    failure::Failure,
    kept::{Answer, Dialect, Kept},
    observation::Observation,
};

mod connection_test;
mod engine;
pub mod errors;
mod reachability;
mod role;
mod session;
mod target;

pub use connection_test::test_connection;
pub use engine::Postgresql;
pub use target::PostgresqlTarget;

use session::Session;

/// Prober of one address. Dropping it closes its session.
#[derive(Debug)]
pub struct PostgresqlProber(Kept<PostgresqlDialect>);

impl PostgresqlProber {
    /// A prober that has no connection yet.
    pub fn new(target: PostgresqlTarget) -> Self {
        Self(Kept::new(PostgresqlDialect { target }))
    }

    /// Makes one attempt, which ends within the access timeout whatever the server does. `None`: nothing was due and
    /// nothing was sent (the prober backs off after a refused login).
    pub async fn attempt(&mut self) -> Option<Observation> {
        self.0.attempt().await
    }
}

#[derive(Debug)]
struct PostgresqlDialect {
    target: PostgresqlTarget,
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

    async fn ask(&mut self, session: &mut Session, _fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        role::ask(session, deadline).await
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        let stream = self.target.endpoint.connect(deadline).await?;
        reachability::check(stream, deadline).await
    }

    fn close(session: Session) {
        session.close();
    }
}
