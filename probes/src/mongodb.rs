//! Prober of MongoDB (C24): replica sets, sharded clusters behind their routers, and single servers.
//!
//! The side's addresses are asked for the server that takes writes. Where none of them does, a readable member speaks: it is read-only
//! and well while its set has a primary elsewhere (the other data center's), and a failure while the set has none. The kept connection
//! goes on with the server that spoke; any change of its role makes the prober look at all addresses again.
//!
//! It speaks the protocol itself (`OP_MSG`, SCRAM) rather than through the driver, see `docs/decisions/071`: the driver hides a refused
//! connection behind its server selection, watches with connections and retries of its own, and resolves and dials for itself. It reads
//! no user data, needs no right beyond a login (`clusterMonitor` shows the lag too), and never reconfigures a set.

use crate::{kept::Kept, observation::Observation};

mod connection_test;
mod dialect;
pub mod errors;
mod login;
mod member;
mod scram;
mod seam;
mod target;
mod wire;

pub use connection_test::test_connection;
pub use seam::Mongodb;
pub use target::MongodbTarget;

/// Prober of one side. Dropping it closes its connection.
#[derive(Debug)]
pub struct MongodbProber {
    kept: Kept<dialect::Servers>,
}

impl MongodbProber {
    /// A prober that has no connection yet.
    pub fn new(target: MongodbTarget) -> Self {
        Self {
            kept: Kept::new(dialect::Servers::new(target)),
        }
    }

    /// Makes one attempt, which ends within the access timeout whatever the servers do. `None`: nothing was due and nothing was sent (the
    /// prober backs off after a refused login).
    pub async fn attempt(&mut self) -> Option<Observation> {
        self.kept.attempt().await
    }
}
