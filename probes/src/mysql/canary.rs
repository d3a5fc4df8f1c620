//! The write canary of MySQL and MariaDB.

use mysql_async::{Conn, Error, prelude::Queryable};
use quorate_machine::ProbedCanary;
use tokio::time::{Instant, timeout_at};

use super::{errors::classify, session, target::MysqlTarget};
use crate::{
    Secret,
    canary::{Beat, Writer},
    failure::Failure,
    observation::Stage,
};

/// A lock that another node's stuck write holds is waited for no longer than this server allows: one second.
const SETTINGS: &str = "SET SESSION autocommit = 1, innodb_lock_wait_timeout = 1";
/// No such table, column, or view's table (MySQL and MariaDB error references).
const MISSING: [u16; 4] = [1051, 1054, 1109, 1146];

/// Writes the row of one side of a monitor.
#[derive(Debug)]
pub(super) struct MysqlCanary {
    target: MysqlTarget,
    statement: String,
    place: String,
    session: Option<Conn>,
}

impl MysqlCanary {
    /// Writes where `target` is, as the canary's account.
    pub(super) fn new(target: MysqlTarget, canary: &ProbedCanary, password: Secret) -> Self {
        let place = format!("{}.{}", canary.database, canary.table);
        Self {
            target: MysqlTarget {
                user: canary.user.clone(),
                password,
                database: canary.database.clone(),
                ..target
            },
            // Both names are letters, digits and underscores.
            statement: format!(
                "UPDATE `{}`.`{}` SET beat = beat + 1 WHERE id = {}",
                canary.database, canary.table, canary.row
            ),
            place: format!("row {} of {place}", canary.row),
            session: None,
        }
    }

    /// What it writes, for an operator.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    async fn open(&mut self, deadline: Instant) -> Result<Conn, Failure> {
        let found = self.target.endpoint.resolve(deadline).await?;
        session::open(&self.target, &found.sockets, deadline).await
    }
}

/// `None`: the session was lost, which says nothing about writes.
async fn beat(statement: &str, place: &str, session: &mut Conn, deadline: Instant) -> Option<Beat> {
    let started = Instant::now();
    let written = async {
        session.query_drop(SETTINGS).await?;
        session.query_drop(statement).await
    };
    let outcome = timeout_at(deadline, written).await;
    match outcome {
        Ok(Ok(())) if session.affected_rows() == 0 => Some(Beat::Unable(format!("there is no {place}"))),
        Ok(Ok(())) => Some(Beat::Written),
        Ok(Err(error)) => match &error {
            Error::Server(server) => {
                let missing = MISSING.contains(&server.code);
                Some(Beat::of_failure(&classify(&error, Stage::Query), missing))
            }
            _ => None,
        },
        Err(_) => {
            let hung = Failure::timed_out(Stage::Query, "no answer to a write", started);
            Some(Beat::of_failure(&hung, false))
        }
    }
}

impl Writer for MysqlCanary {
    async fn write(&mut self, deadline: Instant) -> Beat {
        if let Some(mut session) = self.session.take()
            && let Some(beat) = beat(&self.statement, &self.place, &mut session, deadline).await
        {
            self.session = matches!(beat, Beat::Written | Beat::ReadOnly).then_some(session);
            return beat;
        }
        let mut session = match self.open(deadline).await {
            Ok(session) => session,
            Err(failure) => return Beat::of_failure(&failure, false),
        };
        let beat = beat(&self.statement, &self.place, &mut session, deadline).await;
        let beat = beat.unwrap_or(Beat::Unasked);
        self.session = matches!(beat, Beat::Written | Beat::ReadOnly).then_some(session);
        beat
    }
}
