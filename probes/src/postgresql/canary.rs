//! The write canary of PostgreSQL.

use std::time::Duration;

use quorate_machine::{FindingClass, ProbedCanary};
use tokio::time::Instant;

use super::{
    session::{self, Session},
    target::PostgresqlTarget,
};
use crate::{
    Secret,
    canary::{Beat, Writer},
    failure::Failure,
    observation::Stage,
};

/// A lock that another node's stuck write holds is waited for no longer than this.
const LOCK_TIMEOUT_MS: u64 = 1_000;

/// Disk full, errors of the operating system and of files, damaged data (PostgreSQL manual, appendix A: 53100, classes 58 and XX).
fn is_storage(code: &str) -> bool {
    code == "53100" || code.starts_with("58") || code.starts_with("XX00")
}

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
    async fn beat(&self, session: &mut Session, deadline: Instant, limit: Duration) -> Option<Beat> {
        // Asked by itself: a session that the network cut off hangs here already, and nothing was written yet.
        match session.first_row("SELECT 1", Stage::Query, deadline).await {
            Ok(_) => {}
            Err(failure) if failure.class == FindingClass::Timeout => return Some(Beat::Unasked),
            Err(_) => return None,
        }
        let limit_ms = limit.max(Duration::from_millis(1)).as_millis();
        // One message is one transaction: the limits hold for it, and its end is the commit that is waited for.
        let query = format!(
            "SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL statement_timeout = {limit_ms}; {}",
            self.update
        );
        match session.execute(&query, Instant::now() + limit).await {
            Ok(0) => Some(Beat::Unable(format!("there is no {}", self.place))),
            Ok(_) => Some(Beat::Written),
            Err((failure, Some(code))) => Some(Beat::of_failure(&failure, is_storage(&code))),
            Err((failure, None)) if failure.class == FindingClass::Timeout => Some(Beat::of_failure(&failure, false)),
            Err(_) => None,
        }
    }
}

impl Writer for PostgresqlCanary {
    async fn write(&mut self, limit: Duration) -> Beat {
        let deadline = Instant::now() + limit;
        if let Some(mut session) = self.session.take()
            && let Some(beat) = self.beat(&mut session, deadline, limit).await
        {
            self.session = matches!(beat, Beat::Written | Beat::ReadOnly).then_some(session);
            return beat;
        }
        let mut session = match self.open(deadline).await {
            Ok(session) => session,
            Err(failure) => return Beat::of_failure(&failure, false),
        };
        let beat = self.beat(&mut session, deadline, limit).await;
        let beat = beat.unwrap_or(Beat::Unasked);
        self.session = matches!(beat, Beat::Written | Beat::ReadOnly).then_some(session);
        beat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgresql::errors::classify_sqlstate;

    #[test]
    fn only_storage_and_time_outs_are_failed_writes() {
        let beat = |code: &str| {
            let failure = Failure::new(Stage::Query, classify_sqlstate(code), "words");
            Beat::of_failure(&failure, is_storage(code))
        };
        for code in [
            "53100", "58000", "58030", "58P01", "XX000", "XX001", "XX002", "57014", "55P03",
        ] {
            assert!(matches!(beat(code), Beat::Failed(_)), "{code}");
        }
        // A table or column that is missing, no right, a check, a conflict, a deadlock.
        for code in ["42P01", "42703", "42501", "23514", "40001", "40P01"] {
            assert!(matches!(beat(code), Beat::Unable(_)), "{code}");
        }
        assert_eq!(beat("25006"), Beat::ReadOnly);
        assert_eq!(beat("57P01"), Beat::Unasked);
    }
}
