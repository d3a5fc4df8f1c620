//! Prober of Elasticsearch and OpenSearch (C25).
//!
//! Any node that answers speaks for the cluster: it is asked for its version and for the cluster's health. Green and yellow serve; red
//! (data is missing) and no master are failures. A refused address passes its time on to the next one. Global write blocks, which the
//! health does not show, are looked for on every fresh connection.
//!
//! Every request carries the login (HTTP has no session), and these products may lock a source for a quarter of an hour after wrong
//! passwords: after *one* refusal nothing with that account leaves this process for [`LOGIN_BACKOFF`], whichever prober or connection
//! test asks. It never writes, scrolls or searches, and knows nothing of indices.

use std::time::Duration;

use crate::{kept::Kept, observation::Observation};

mod answers;
mod connection_test;
mod engine;
mod http;
mod seam;
mod target;

pub use connection_test::test_connection;
pub use seam::Elasticsearch;
pub use target::{ElasticsearchTarget, MAX_ATTEMPT};

/// Pause after a refused login before the next one: as long as the source may be locked (C25).
pub const LOGIN_BACKOFF: Duration = Duration::from_secs(15 * 60);

/// Prober of one cluster. Dropping it closes its connection.
#[derive(Debug)]
pub struct ElasticsearchProber {
    kept: Kept<engine::Cluster>,
}

impl ElasticsearchProber {
    /// A prober that has no connection yet.
    pub fn new(target: ElasticsearchTarget) -> Self {
        Self {
            kept: Kept::new(engine::Cluster::new(target)),
        }
    }

    /// Makes one attempt, which ends within the target's time-out whatever the nodes do. `None`: nothing was due and nothing was sent.
    pub async fn attempt(&mut self) -> Option<Observation> {
        self.kept.attempt().await
    }
}
