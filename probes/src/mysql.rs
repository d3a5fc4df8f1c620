//! Prober of MySQL and MariaDB (C20).
//!
//! It keeps one session and asks it for the server's role; every tenth cycle it opens a fresh connection, for exhausted
//! pools, refused logins and TLS faults show only there. One budget, the access timeout, bounds the whole attempt with
//! all its steps (C3). A refused login is not repeated for a minute; meanwhile a reachability check that uses no account
//! of the user goes on. It never writes, and it does not pool, retry or schedule: one call is one attempt.

use std::time::Duration;

use mysql_async::Conn;
use quorate_machine::FindingClass;
use tokio::time::Instant;

use crate::observation::{Observation, RoleInfo, Stage};

mod address;
mod connection_test;
mod engine;
pub mod errors;
mod reachability;
mod session;
mod target;

pub use address::Address;
pub use connection_test::test_connection;
pub use engine::Mysql;
pub use target::{MysqlTarget, MysqlTls, TargetError};

use address::resolve;
use errors::Failure;

/// Every how many cycles a fresh connection is opened beside the kept session.
pub const FRESH_EVERY_CYCLES: u32 = 10;
/// Pause after a refused login before the next one (architecture, "What votes").
pub const LOGIN_BACKOFF: Duration = Duration::from_secs(60);
/// Interval of reachability checks during that pause.
pub const REACHABILITY_INTERVAL: Duration = Duration::from_secs(10);
/// An answer that took this share of the access timeout (1/2) or longer is slow.
const SLOW_DIVISOR: u32 = 2;

/// A refused login and what waits for it.
#[derive(Debug)]
struct LoginRefusal {
    text: String,
    retry_at: Instant,
    check_at: Instant,
}

/// Prober of one address. Dropping it closes its session.
#[derive(Debug)]
pub struct MysqlProber {
    target: MysqlTarget,
    kept: Option<Conn>,
    cycle: u32,
    refusal: Option<LoginRefusal>,
    lag: session::Lag,
}

impl MysqlProber {
    /// A prober that has no connection yet.
    pub fn new(target: MysqlTarget) -> Self {
        Self {
            target,
            kept: None,
            cycle: 0,
            refusal: None,
            lag: session::Lag::default(),
        }
    }

    /// Makes one attempt, which ends within the access timeout whatever the server does. `None`: nothing was due and
    /// nothing was sent (the prober backs off after a refused login).
    pub async fn attempt(&mut self) -> Option<Observation> {
        let started = Instant::now();
        let deadline = started + self.target.access_timeout;
        let fresh_due = self.cycle.is_multiple_of(FRESH_EVERY_CYCLES);
        self.cycle = self.cycle.wrapping_add(1);
        let may_login = self.refusal.as_ref().is_none_or(|refusal| started >= refusal.retry_at);

        if !(fresh_due && may_login)
            && let Some(mut session) = self.kept.take()
        {
            match self.ask(&mut session, deadline).await {
                Ok(role) => {
                    self.kept = Some(session);
                    return Some(self.answered(role, started, false));
                }
                Err(failure) if failure.class == FindingClass::Timeout => {
                    return Some(failed(failure, started, false));
                }
                // The server may have ended this idle session for reasons of its own: only a fresh one tells.
                Err(failure) => tracing::debug!(
                    address = %self.target.address(),
                    "kept session lost: {failure}"
                ),
            }
        }
        if may_login {
            Some(self.attempt_fresh(started, deadline).await)
        } else {
            self.check_reachability(started, deadline).await
        }
    }

    async fn attempt_fresh(&mut self, started: Instant, deadline: Instant) -> Observation {
        let result = match resolve(&self.target, deadline).await {
            Ok(found) => self.login_and_ask(&found.sockets, deadline).await,
            Err(failure) => Err(failure),
        };
        match result {
            Ok((session, role)) => {
                self.refusal = None;
                if let Some(old) = std::mem::replace(&mut self.kept, session) {
                    session::close(old);
                }
                self.answered(role, started, true)
            }
            Err(failure) => {
                match failure.class {
                    FindingClass::Auth => {
                        let now = Instant::now();
                        self.refusal = Some(LoginRefusal {
                            text: failure.text.clone(),
                            retry_at: now + LOGIN_BACKOFF,
                            check_at: now + REACHABILITY_INTERVAL,
                        });
                    }
                    // The kept session goes on answering where there is one.
                    FindingClass::TooManyConnections => {}
                    // A server that takes no new session is failing, even if an old one might still answer.
                    _ => self.kept = None,
                }
                failed(failure, started, true)
            }
        }
    }

    async fn login_and_ask(
        &mut self,
        addresses: &[std::net::SocketAddr],
        deadline: Instant,
    ) -> Result<(Option<Conn>, RoleInfo), Failure> {
        let mut session = session::open(&self.target, addresses, deadline).await?;
        let mut role = session::ask_role(&mut session, deadline).await?;
        let usable = self.lag.ask(&mut session, deadline).await;
        role.replication_lag_seconds = self.lag.seconds();
        Ok((usable.then_some(session), role))
    }

    async fn ask(&self, session: &mut Conn, deadline: Instant) -> Result<RoleInfo, Failure> {
        let mut role = session::ask_role(session, deadline).await?;
        role.replication_lag_seconds = self.lag.seconds();
        Ok(role)
    }

    /// During a login pause: does the address still answer at all? Only a failure is a finding; an answer leaves the
    /// refused login standing.
    async fn check_reachability(&mut self, started: Instant, deadline: Instant) -> Option<Observation> {
        let refusal = self.refusal.as_mut()?;
        if started < refusal.check_at {
            return None;
        }
        refusal.check_at = started + REACHABILITY_INTERVAL;
        let text = refusal.text.clone();
        let result = match resolve(&self.target, deadline).await {
            Ok(found) => reachability::check(&found.sockets, deadline).await,
            Err(failure) => Err(failure),
        };
        let failure = result.err().unwrap_or(Failure {
            stage: Stage::Login,
            class: FindingClass::Auth,
            text,
        });
        Some(failed(failure, started, true))
    }

    fn answered(&self, role: RoleInfo, started: Instant, fresh: bool) -> Observation {
        let latency = started.elapsed();
        let slow = latency >= self.target.access_timeout / SLOW_DIVISOR;
        let (class, engine_text) = match (role.read_only, slow) {
            (true, _) => (FindingClass::ReadOnly, "read_only = 1".to_owned()),
            (false, true) => (FindingClass::Slow, format!("answered after {} ms", latency.as_millis())),
            (false, false) => (FindingClass::Ok, String::new()),
        };
        Observation {
            stage: Stage::Role,
            class,
            engine_text,
            role: Some(role),
            latency_us: micros(latency),
            fresh,
        }
    }
}

fn failed(failure: Failure, started: Instant, fresh: bool) -> Observation {
    Observation {
        stage: failure.stage,
        class: failure.class,
        engine_text: failure.text,
        role: None,
        latency_us: micros(started.elapsed()),
        fresh,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
