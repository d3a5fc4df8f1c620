//! One session with a server: opened, asked and closed within a deadline.

use std::{net::SocketAddr, pin::pin, time::Duration};

use mysql_async::{Conn, Row, prelude::Queryable};
use quorate_machine::FindingClass;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{errors::classify, target::MysqlTarget};
use crate::{
    failure::Failure,
    observation::{RoleInfo, Stage, bounded_text},
};

/// Readable on MySQL and MariaDB without any privilege; MySQL sets `read_only` with `super_read_only`.
const ROLE_QUERY: &str = "SELECT @@global.read_only, @@version";
const LAG_QUERY: &str = "SHOW REPLICA STATUS";
/// Column of the lag in MariaDB and in MySQL.
const LAG_COLUMNS: [&str; 2] = ["Seconds_Behind_Master", "Seconds_Behind_Source"];
/// Bound of an orderly close, which nobody waits for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects and logs in.
///
/// The driver does both in one step, so a time-out alone would not tell a dropped packet from a hung server. When half
/// of the time is gone a plain TCP connection is tried beside it: the time-out is then blamed on the right step, and a
/// healthy server never sees a second connection.
pub(super) async fn open(target: &MysqlTarget, addresses: &[SocketAddr], deadline: Instant) -> Result<Conn, Failure> {
    let started = Instant::now();
    let half = started + deadline.saturating_duration_since(started) / 2;
    let mut login = pin!(Conn::new(target.options(addresses)));
    if let Ok(result) = timeout_at(half, &mut login).await {
        return result.map_err(|error| classify(&error, Stage::Login));
    }
    let (result, tcp) = tokio::join!(
        timeout_at(deadline, login),
        timeout_at(deadline, TcpStream::connect(addresses))
    );
    match result {
        Ok(result) => result.map_err(|error| classify(&error, Stage::Login)),
        Err(_) if matches!(tcp, Ok(Ok(_))) => Err(Failure::timed_out(Stage::Login, "connected, but no login", started)),
        Err(_) => Err(Failure::timed_out(Stage::Tcp, "no TCP connection", started)),
    }
}

/// Asks for the server's role. A session that failed here must not be used again.
pub(super) async fn ask_role(session: &mut Conn, deadline: Instant) -> Result<RoleInfo, Failure> {
    let started = Instant::now();
    // As a plain row: the driver's conversion into a tuple panics on a row of another shape.
    let row: Option<Row> = match timeout_at(deadline, session.query_first(ROLE_QUERY)).await {
        Ok(result) => result.map_err(|error| classify(&error, Stage::Query))?,
        Err(_) => return Err(Failure::timed_out(Stage::Query, "no answer to a query", started)),
    };
    let wrong = |text: &str| Failure {
        stage: Stage::Query,
        class: FindingClass::WrongAnswer,
        text: text.to_owned(),
    };
    let row = row.ok_or_else(|| wrong("the query gave no row"))?;
    let text = |column: usize| row.get_opt::<String, _>(column).and_then(Result::ok);
    let read_only = text(0).ok_or_else(|| wrong("read_only has no value"))?;
    let server_version = text(1).ok_or_else(|| wrong("the server names no version"))?;
    Ok(RoleInfo {
        read_only: !matches!(read_only.as_str(), "0" | "OFF"),
        replication_lag_seconds: None,
        server_version: bounded_text(&server_version),
    })
}

/// Closes a working session in the background, telling the server, so that it does not count an aborted connection.
pub(super) fn close(session: Conn) {
    tokio::spawn(async move {
        // Whatever goes wrong here: the socket is closed when the session is dropped.
        let _ = timeout(CLOSE_TIMEOUT, session.disconnect()).await;
    });
}

/// Replication lag as last seen. Optional by nature: an account that may not ask for it is no fault of the server.
#[derive(Debug, Default)]
pub(super) struct Lag {
    seconds: Option<u64>,
    refused: bool,
}

impl Lag {
    pub(super) fn seconds(&self) -> Option<u64> {
        self.seconds
    }

    /// Asks again, unless the server refused to tell before. `false` if the session must not be used again: a query that
    /// was given up leaves its answer in it.
    pub(super) async fn ask(&mut self, session: &mut Conn, deadline: Instant) -> bool {
        if self.refused {
            return true;
        }
        match replication_lag(session, deadline).await {
            Ok(seconds) => {
                self.seconds = seconds;
                true
            }
            Err(failure) => {
                self.refused = failure.class == FindingClass::Auth;
                self.seconds = None;
                failure.class != FindingClass::Timeout
            }
        }
    }
}

/// Lag in seconds; `None` when the server replicates from nobody or its link is broken.
pub(super) async fn replication_lag(session: &mut Conn, deadline: Instant) -> Result<Option<u64>, Failure> {
    let started = Instant::now();
    let row: Option<Row> = match timeout_at(deadline, session.query_first(LAG_QUERY)).await {
        Ok(result) => result.map_err(|error| classify(&error, Stage::Role))?,
        Err(_) => return Err(Failure::timed_out(Stage::Role, "no answer about replication", started)),
    };
    let seconds = row.and_then(|row| {
        LAG_COLUMNS
            .iter()
            .find_map(|column| row.get_opt::<Option<u64>, _>(*column))
    });
    Ok(seconds.and_then(Result::ok).flatten())
}
