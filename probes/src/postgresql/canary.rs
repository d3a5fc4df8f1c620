//! The write canary of PostgreSQL.

use std::time::Duration;

use quorate_machine::ProbedCanary;
use tokio::time::Instant;

use super::{
    session::{self, Session},
    target::PostgresqlTarget,
};
use crate::{
    Secret,
    canary::{Beat, Writer},
    failure::Failure,
};

/// A lock that another node's stuck write holds is waited for no longer than this.
const LOCK_TIMEOUT_MS: u64 = 1_000;
/// No such table or column (PostgreSQL manual, appendix A).
const MISSING: [&str; 2] = ["42P01", "42703"];

/// Writes the row of one side of a monitor.
#[derive(Debug)]
pub(super) struct PostgresqlCanary {
    target: PostgresqlTarget,
    update: String,
    place: String,
    session: Option<Session>,
}

impl PostgresqlCanary {
    /// Writes where `target` is, as the canary's account.
    pub(super) fn new(target: &PostgresqlTarget, canary: &ProbedCanary, password: Secret) -> Self {
        Self {
            target: target.clone().with_account(&canary.user, password, &canary.database),
            // The name is letters, digits and underscores.
            update: format!(
                "UPDATE \"{}\" SET beat = beat + 1 WHERE id = {}",
                canary.table, canary.row
            ),
            place: format!("row {} of {}.{}", canary.row, canary.database, canary.table),
            session: None,
        }
    }

    /// What it writes, for an operator.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    async fn open(&self, deadline: Instant) -> Result<Session, Failure> {
        let stream = self.target.endpoint.connect(deadline).await?;
        session::open(&self.target, stream, deadline).await
    }

    /// `None`: the session was lost, which says nothing about writes.
    async fn beat(&self, session: &mut Session, deadline: Instant) -> Option<Beat> {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit_ms = left.max(Duration::from_millis(1)).as_millis();
        // One message is one transaction: the limits hold for it, and its end is the commit that is waited for.
        let query = format!(
            "SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL statement_timeout = {limit_ms}; {}",
            self.update
        );
        match session.execute(&query, deadline).await {
            Ok(0) => Some(Beat::Unable(format!("there is no {}", self.place))),
            Ok(_) => Some(Beat::Written),
            Err((failure, Some(code))) => Some(Beat::of_failure(&failure, MISSING.contains(&code.as_str()))),
            Err((failure, None)) if failure.class == quorate_machine::FindingClass::Timeout => {
                Some(Beat::of_failure(&failure, false))
            }
            Err(_) => None,
        }
    }
}

impl Writer for PostgresqlCanary {
    async fn write(&mut self, deadline: Instant) -> Beat {
        if let Some(mut session) = self.session.take()
            && let Some(beat) = self.beat(&mut session, deadline).await
        {
            self.session = matches!(beat, Beat::Written | Beat::ReadOnly).then_some(session);
            return beat;
        }
        let mut session = match self.open(deadline).await {
            Ok(session) => session,
            Err(failure) => return Beat::of_failure(&failure, false),
        };
        let beat = self.beat(&mut session, deadline).await.unwrap_or(Beat::Unasked);
        self.session = matches!(beat, Beat::Written | Beat::ReadOnly).then_some(session);
        beat
    }
}
