//! Prober of Oracle (C22): the listener by a probe of our own, the database by Oracle's thin driver.
//!
//! Every fresh connection begins with the listener: its refusal names the instance's state better than a driver does (`ORA-12514`: the
//! host is up, the instance is not). The listener proves reachability and nothing more; what the side is able to do is known only by a
//! login and a query. The role needs no grant, open mode and apply lag need `SELECT` on `V$DATABASE` and `V$DATAGUARD_STATS`.
//!
//! The driver is a preview (`docs/decisions/072`): it blocks, so it has few threads of its own; it may panic, which is caught and is then a
//! finding about this prober, never about the server. Native network encryption is not offered.

use std::sync::Arc;

use crate::{kept::Kept, observation::Observation};

mod connection_test;
mod dialect;
pub mod driver;
pub mod errors;
mod listener;
mod seam;
mod target;
mod tns;

pub use connection_test::test_connection;
pub use driver::ThinDriver;
pub use seam::Oracle;
pub use target::OracleTarget;

/// Prober of one service. Dropping it closes its session.
#[derive(Debug)]
pub struct OracleProber {
    kept: Kept<dialect::Service>,
}

impl OracleProber {
    /// A prober that has no connection yet, with Oracle's thin driver.
    pub fn new(target: OracleTarget) -> Self {
        Self::with_driver(target, Arc::new(ThinDriver))
    }

    /// As [`Self::new`], with another driver.
    pub fn with_driver(target: OracleTarget, driver: Arc<dyn driver::Driver>) -> Self {
        Self {
            kept: Kept::new(dialect::Service::new(target, driver)),
        }
    }

    /// Makes one attempt, which ends within the access timeout whatever the server does. `None`: nothing was due and nothing was sent (the
    /// prober backs off after a refused login).
    pub async fn attempt(&mut self) -> Option<Observation> {
        self.kept.attempt().await
    }
}
