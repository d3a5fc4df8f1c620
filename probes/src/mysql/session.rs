//! One session with a server: opened, asked and closed within a deadline.

use std::{net::SocketAddr, pin::pin, time::Duration};

use mysql_async::{Conn, Row, prelude::Queryable};
use quorate_machine::FindingClass;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{
    errors::classify,
    replication::{Replication, mariadb_behind},
    target::MysqlTarget,
};
use crate::{
    failure::{Failure, age_ms},
    observation::{Connections, RoleInfo, Stage, bounded_text},
};

/// Readable on MySQL and MariaDB without any privilege; MySQL sets `read_only` with `super_read_only`.
const ROLE_QUERY: &str = "SELECT @@global.read_only, @@version";
const LAG_QUERY: &str = "SHOW REPLICA STATUS";
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
        ..RoleInfo::default()
    })
}

/// Closes a working session in the background, telling the server, so that it does not count an aborted connection.
pub(super) fn close(session: Conn) {
    tokio::spawn(async move {
        // Whatever goes wrong here: the socket is closed when the session is dropped.
        let _ = timeout(CLOSE_TIMEOUT, session.disconnect()).await;
    });
}

/// What is asked on fresh connections only, as last seen. Optional by nature: an account that may not ask for it is no fault of the
/// server.
#[derive(Debug, Default)]
pub(super) struct Facts {
    replication: Replication,
    replication_refused: bool,
    connections: Option<Connections>,
    /// When they were asked for.
    measured: Option<Instant>,
}

impl Facts {
    /// Puts them into a role.
    pub(super) fn fill(&self, role: &mut RoleInfo) {
        role.replication_lag_seconds = self.replication.seconds;
        role.replication_lag_transactions = self.replication.transactions;
        role.replication_broken = self.replication.broken.clone();
        role.connections = self.connections;
        role.facts_age_ms = age_ms(self.measured);
    }

    /// Asks again, unless the server refused to tell before. `false` if the session must not be used again: a query that
    /// was given up leaves its answer in it.
    pub(super) async fn ask(&mut self, session: &mut Conn, deadline: Instant) -> bool {
        let measured = Instant::now();
        self.connections = match connections(session, deadline).await {
            Ok(connections) => connections,
            Err(failure) if failure.class == FindingClass::Timeout => return false,
            Err(_not_told) => None,
        };
        self.measured = Some(measured);
        if self.replication_refused {
            return true;
        }
        match replication(session, deadline).await {
            Ok(replication) => {
                self.replication = replication;
                true
            }
            Err(failure) => {
                self.replication_refused = failure.class == FindingClass::Auth;
                self.replication = Replication::default();
                failure.class != FindingClass::Timeout
            }
        }
    }
}

async fn row(session: &mut Conn, query: &str, stage: Stage, deadline: Instant) -> Result<Option<Row>, Failure> {
    let started = Instant::now();
    match timeout_at(deadline, session.query_first(query)).await {
        Ok(result) => result.map_err(|error| classify(&error, stage)),
        Err(_) => Err(Failure::timed_out(stage, "no answer to a query", started)),
    }
}

/// Needs no right on MySQL and MariaDB. The limit is that of ordinary accounts: one more is kept for administrators.
async fn connections(session: &mut Conn, deadline: Instant) -> Result<Option<Connections>, Failure> {
    let used = row(
        session,
        "SHOW GLOBAL STATUS LIKE 'Threads_connected'",
        Stage::Role,
        deadline,
    )
    .await?;
    let limit = row(session, "SELECT @@global.max_connections", Stage::Role, deadline).await?;
    let number = |row: Option<Row>, column: usize| {
        let text = row?.get_opt::<String, _>(column)?.ok()?;
        text.parse::<u64>().ok()
    };
    let limit = number(limit, 0);
    Ok(number(used, 1).map(|used| Connections { used, limit }))
}

/// State of the replication from another server.
pub(super) async fn replication(session: &mut Conn, deadline: Instant) -> Result<Replication, Failure> {
    let Some(status) = row(session, LAG_QUERY, Stage::Role, deadline).await? else {
        return Ok(Replication::default());
    };
    let mut found = Replication::of(&|column| text(&status, column));
    if let Some(received) = text(&status, "Gtid_IO_Pos").filter(|received| !received.is_empty()) {
        let applied = row(session, "SELECT @@global.gtid_slave_pos", Stage::Role, deadline).await?;
        let applied = applied.and_then(|row| row.get_opt::<String, _>(0)?.ok());
        found.transactions = mariadb_behind(&received, &applied.unwrap_or_default());
    }
    Ok(found)
}

fn text(row: &Row, column: &str) -> Option<String> {
    row.get_opt::<Option<String>, _>(column)?.ok()?
}
