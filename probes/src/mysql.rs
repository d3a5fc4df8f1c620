//! Prober of MySQL and MariaDB (C20).
//!
//! How it attempts stands in [`crate::kept`]; here is what this engine says. It never writes.

use mysql_async::Conn;
use quorate_machine::FindingClass;
use tokio::time::{Duration, Instant};

use crate::{
    failure::Failure,
    kept::{Answer, Dialect, Kept},
    observation::Observation,
};

mod connection_test;
mod engine;
pub mod errors;
mod reachability;
mod session;
mod target;

pub use crate::{
    address::Address,
    kept::{FRESH_EVERY_CYCLES, LOGIN_BACKOFF, REACHABILITY_INTERVAL},
};
pub use connection_test::test_connection;
pub use engine::Mysql;
pub use target::{MysqlTarget, MysqlTls, TargetError};

/// Prober of one address. Dropping it closes its session.
#[derive(Debug)]
pub struct MysqlProber(Kept<MysqlDialect>);

impl MysqlProber {
    /// A prober that has no connection yet.
    pub fn new(target: MysqlTarget) -> Self {
        Self(Kept::new(MysqlDialect {
            target,
            lag: session::Lag::default(),
        }))
    }

    /// Makes one attempt, which ends within the access timeout whatever the server does. `None`: nothing was due and
    /// nothing was sent (the prober backs off after a refused login).
    pub async fn attempt(&mut self) -> Option<Observation> {
        self.0.attempt().await
    }
}

#[derive(Debug)]
struct MysqlDialect {
    target: MysqlTarget,
    lag: session::Lag,
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
        // Replication state costs a second question and needs a right: fresh connections only.
        let reusable = !fresh || self.lag.ask(session, deadline).await;
        role.replication_lag_seconds = self.lag.seconds();
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
