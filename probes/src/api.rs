//! Prober of HTTP APIs (C26): one request, a fresh connection each time.
//!
//! It dials by itself and speaks HTTP/1.1 over `hyper`, so that the finding names the step, the address is resolved as every
//! other prober's and the path can be a proxy of tests (docs/decisions/065). There is nothing that could follow a redirect
//! (its status is the answer, as any other) or use a proxy of the environment. Of the body no more is read than the match needs.
//! Whether a status is good, the monitor says; a refused login is one as bad as any other.

use std::time::Duration;

use quorate_machine::FindingClass;
use tokio::time::Instant;

use crate::{
    failure::{Failure, micros_since},
    observation::{Observation, RoleInfo, Stage},
};

mod connection_test;
mod engine;
mod request;
mod target;

pub use connection_test::test_connection;
pub use engine::Api;
pub use target::ApiTarget;

/// An answer that took this share of the access timeout (1/2) or longer is slow.
const SLOW_DIVISOR: u32 = 2;

/// Prober of one address. It keeps nothing between attempts.
#[derive(Clone, Debug)]
pub struct ApiProber {
    target: ApiTarget,
}

impl ApiProber {
    /// A prober.
    pub fn new(target: ApiTarget) -> Self {
        Self { target }
    }

    /// Makes one attempt, which ends within the access timeout whatever the server does.
    pub async fn attempt(&self) -> Observation {
        let started = Instant::now();
        let deadline = started + self.target.access_timeout;
        match self.ask(deadline).await {
            Ok(server) => self.answered(server, started),
            Err(failure) => failure.observed(started, true),
        }
    }

    async fn ask(&self, deadline: Instant) -> Result<String, Failure> {
        let stream = self.target.endpoint.connect(deadline).await?;
        let exchange = request::open(&self.target, stream, deadline).await?;
        let answer = exchange.send(&self.target, deadline).await?;
        answer.judge(&self.target, deadline).await
    }

    fn answered(&self, server: String, started: Instant) -> Observation {
        let latency: Duration = started.elapsed();
        let slow = latency >= self.target.access_timeout / SLOW_DIVISOR;
        let (class, engine_text) = if slow {
            (FindingClass::Slow, format!("answered after {} ms", latency.as_millis()))
        } else {
            (FindingClass::Ok, String::new())
        };
        Observation {
            stage: Stage::Role,
            class,
            engine_text,
            role: Some(RoleInfo {
                read_only: false,
                replication_lag_seconds: None,
                server_version: server,
                ..RoleInfo::default()
            }),
            canary: None,
            latency_us: micros_since(started),
            fresh: true,
        }
    }
}
