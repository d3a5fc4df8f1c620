//! How an engine with logins is attempted, whichever it is: a kept session, a fresh connection now and then, and pauses
//! after refused logins.
//!
//! The prober keeps one session and asks it for the server's role; every tenth cycle it opens a fresh connection, for
//! exhausted pools, refused logins and TLS faults show only there. One budget, the access timeout, bounds the whole
//! attempt with all its steps (C3). A refused login is not repeated for a while; meanwhile a reachability check that uses
//! no account of the user goes on. It does not pool, retry or schedule: one call is one attempt. What an engine says and
//! how it is asked is the `Dialect`'s part.

use std::{future::Future, time::Duration};

use quorate_machine::FindingClass;
use tokio::time::Instant;

use crate::{
    failure::{Failure, micros_since},
    observation::{Observation, RoleInfo, Stage},
};

/// Every how many cycles a fresh connection is opened beside the kept session.
pub const FRESH_EVERY_CYCLES: u32 = 10;
/// Pause after a refused login before the next one (architecture, "What votes"); an engine that locks accounts has a
/// longer one.
pub const LOGIN_BACKOFF: Duration = Duration::from_secs(60);
/// Interval of reachability checks during that pause.
pub const REACHABILITY_INTERVAL: Duration = Duration::from_secs(10);
/// An answer that took this share of the access timeout (1/2) or longer is slow.
const SLOW_DIVISOR: u32 = 2;

/// What a session answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) role: RoleInfo,
    /// A sub-health with the engine's own words; the server lives and answers all the same.
    pub(crate) ailment: Option<(FindingClass, String)>,
    /// The session may be used again (a question that was given up leaves its answer in it).
    pub(crate) reusable: bool,
}

/// One engine as the kept-session prober sees it. Every call ends by its deadline.
pub(crate) trait Dialect: Send {
    /// A connection that is logged in. Dropping it closes it.
    type Session: Send;

    /// Bound of one whole attempt.
    fn access_timeout(&self) -> Duration;

    /// Where it is, for the log.
    fn place(&self) -> String;

    /// Pause after a refused login.
    fn login_backoff(&self) -> Duration {
        LOGIN_BACKOFF
    }

    /// Connects and logs in.
    fn open(&mut self, deadline: Instant) -> impl Future<Output = Result<Self::Session, Failure>> + Send;

    /// Asks for life and role; more thoroughly on a `fresh` session. A session that failed here is not used again.
    fn ask(
        &mut self,
        session: &mut Self::Session,
        fresh: bool,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Does the address answer at all? Uses no account of the user.
    fn check_reachability(&self, deadline: Instant) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Ends a working session in order, in the background.
    fn close(session: Self::Session);
}

/// A refused login and what waits for it.
#[derive(Debug)]
struct LoginRefusal {
    text: String,
    retry_at: Instant,
    check_at: Instant,
}

/// Prober with a kept session. Dropping it closes the session.
#[derive(Debug)]
pub(crate) struct Kept<D: Dialect> {
    pub(crate) dialect: D,
    session: Option<D::Session>,
    cycle: u32,
    refusal: Option<LoginRefusal>,
}

impl<D: Dialect> Kept<D> {
    /// A prober that has no connection yet.
    pub(crate) fn new(dialect: D) -> Self {
        Self {
            dialect,
            session: None,
            cycle: 0,
            refusal: None,
        }
    }

    /// Makes one attempt, which ends within the access timeout whatever the server does. `None`: nothing was due and
    /// nothing was sent (the prober backs off after a refused login).
    pub(crate) async fn attempt(&mut self) -> Option<Observation> {
        let started = Instant::now();
        let deadline = started + self.dialect.access_timeout();
        let fresh_due = self.cycle.is_multiple_of(FRESH_EVERY_CYCLES);
        self.cycle = self.cycle.wrapping_add(1);
        let may_login = self.refusal.as_ref().is_none_or(|refusal| started >= refusal.retry_at);

        if !(fresh_due && may_login)
            && let Some(mut session) = self.session.take()
        {
            match self.dialect.ask(&mut session, false, deadline).await {
                Ok(answer) => {
                    self.session = answer.reusable.then_some(session);
                    return Some(self.answered(answer, started, false));
                }
                Err(failure) if failure.class == FindingClass::Timeout => {
                    return Some(failure.observed(started, false));
                }
                // The server may have ended this idle session for reasons of its own: only a fresh one tells.
                Err(failure) => tracing::debug!(
                    address = %self.dialect.place(),
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
        match self.open_and_ask(deadline).await {
            Ok((session, answer)) => {
                self.refusal = None;
                let session = answer.reusable.then_some(session);
                if let Some(old) = std::mem::replace(&mut self.session, session) {
                    D::close(old);
                }
                self.answered(answer, started, true)
            }
            Err(failure) => {
                match failure.class {
                    FindingClass::Auth => {
                        let now = Instant::now();
                        self.refusal = Some(LoginRefusal {
                            text: failure.text.clone(),
                            retry_at: now + self.dialect.login_backoff(),
                            check_at: now + REACHABILITY_INTERVAL,
                        });
                    }
                    // The kept session goes on answering where there is one.
                    FindingClass::TooManyConnections => {}
                    // A server that takes no new session is failing, even if an old one might still answer.
                    _ => self.session = None,
                }
                failure.observed(started, true)
            }
        }
    }

    async fn open_and_ask(&mut self, deadline: Instant) -> Result<(D::Session, Answer), Failure> {
        let mut session = self.dialect.open(deadline).await?;
        let answer = self.dialect.ask(&mut session, true, deadline).await?;
        Ok((session, answer))
    }

    /// During a login pause: does the address still answer at all? Only a failure is a finding; an answer leaves the
    /// refused login standing.
    async fn check_reachability(&mut self, started: Instant, deadline: Instant) -> Option<Observation> {
        let refusal = self.refusal.as_mut()?;
        if started < refusal.check_at {
            return None;
        }
        refusal.check_at = started + REACHABILITY_INTERVAL;
        let refused = Failure {
            stage: Stage::Login,
            class: FindingClass::Auth,
            text: refusal.text.clone(),
        };
        let result = self.dialect.check_reachability(deadline).await;
        Some(result.err().unwrap_or(refused).observed(started, true))
    }

    fn answered(&self, answer: Answer, started: Instant, fresh: bool) -> Observation {
        let latency = started.elapsed();
        let slow = latency >= self.dialect.access_timeout() / SLOW_DIVISOR;
        let (class, engine_text) = match (answer.ailment, slow) {
            (Some(ailment), _) => ailment,
            (None, true) => (FindingClass::Slow, format!("answered after {} ms", latency.as_millis())),
            (None, false) => (FindingClass::Ok, String::new()),
        };
        Observation {
            stage: Stage::Role,
            class,
            engine_text,
            role: Some(answer.role),
            canary: None,
            latency_us: micros_since(started),
            fresh,
        }
    }
}
