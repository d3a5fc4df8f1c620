//! The write canary of MySQL and MariaDB.

use std::time::Duration;

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

/// A lock that another node's stuck write or an administrator holds is waited for no longer than this server allows: one second. So
/// a write that is given up here does not go on waiting there.
const SETTINGS: &str = "SET SESSION autocommit = 1, innodb_lock_wait_timeout = 1, lock_wait_timeout = 1";
/// Disk full, a file that cannot be read, written or extended, a damaged table, a binary log that cannot be written: numbers of the
/// server's file layer (2, 3, 20) and of the server (MySQL and MariaDB error references).
const STORAGE: [u16; 11] = [2, 3, 20, 1021, 1024, 1026, 1030, 1114, 1194, 1195, 1598];

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

fn of_error(error: &Error) -> Option<Beat> {
    match error {
        Error::Server(server) => {
            let storage = STORAGE.contains(&server.code);
            Some(Beat::of_failure(&classify(error, Stage::Query), storage))
        }
        _ => None,
    }
}

/// `None`: the session was lost, which says nothing about writes.
async fn beat(
    statement: &str,
    place: &str,
    session: &mut Conn,
    (deadline, limit): (Instant, Duration),
) -> Option<Beat> {
    // Asked by itself: a session that the network cut off hangs here already, and nothing was written yet.
    match timeout_at(deadline, session.query_drop(SETTINGS)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return of_error(&error),
        Err(_) => return Some(Beat::Unasked),
    }
    let started = Instant::now();
    match timeout_at(started + limit, session.query_drop(statement)).await {
        Ok(Ok(())) if session.affected_rows() == 0 => Some(Beat::Unable(format!("there is no {place}"))),
        Ok(Ok(())) => Some(Beat::Written),
        Ok(Err(error)) => of_error(&error),
        Err(_) => {
            let hung = Failure::timed_out(Stage::Query, "no answer to a write", started);
            Some(Beat::of_failure(&hung, false))
        }
    }
}

impl Writer for MysqlCanary {
    async fn write(&mut self, limit: Duration) -> Beat {
        let deadline = Instant::now() + limit;
        let times = (deadline, limit);
        if let Some(mut session) = self.session.take()
            && let Some(beat) = beat(&self.statement, &self.place, &mut session, times).await
        {
            self.session = matches!(beat, Beat::Written | Beat::ReadOnly).then_some(session);
            return beat;
        }
        let mut session = match self.open(deadline).await {
            Ok(session) => session,
            Err(failure) => return Beat::of_failure(&failure, false),
        };
        let beat = beat(&self.statement, &self.place, &mut session, times).await;
        let beat = beat.unwrap_or(Beat::Unasked);
        self.session = matches!(beat, Beat::Written | Beat::ReadOnly).then_some(session);
        beat
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    #[test]
    fn only_storage_and_time_outs_are_failed_writes() {
        let beat = |code: u16| {
            let error = ServerError {
                code,
                message: "words".to_owned(),
                state: "HY000".to_owned(),
            };
            of_error(&Error::Server(error)).expect("the server's word")
        };
        for code in STORAGE.into_iter().chain([1205, 3024]) {
            assert!(matches!(beat(code), Beat::Failed(_)), "{code}");
        }
        // A table or column that is missing, a deadlock, a trigger's own word.
        for code in [1054, 1146, 1142, 1213, 1644] {
            assert!(matches!(beat(code), Beat::Unable(_)), "{code}");
        }
        assert_eq!(beat(1290), Beat::ReadOnly);
        assert_eq!(beat(1053), Beat::Unasked);
        assert_eq!(of_error(&Error::Other("closed".into())), None);
    }
}
