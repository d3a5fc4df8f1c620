//! Life, role and lag, asked in one round trip.

use std::time::Duration;

use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::session::Session;
use crate::{
    failure::Failure,
    kept::Answer,
    observation::{Connections, RoleInfo, Stage, bounded_text},
};

/// Readable by every account. The lag of an idle primary's standby grows by the clock alone, so bytes decide first: with
/// nothing left to replay it is 0. A standby without a receiver is told apart: its link is broken, where it has one. That shows in a
/// position received: it is set as soon as a receiver is started, and stays empty where an archive alone is read.
const QUESTION: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), \
    current_setting('server_version'), \
    CASE WHEN pg_is_in_recovery() THEN \
      CASE WHEN NOT EXISTS (SELECT 1 FROM pg_stat_wal_receiver) THEN NULL \
           WHEN pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) <= 0 THEN 0 \
           ELSE floor(extract(epoch FROM now() - pg_last_xact_replay_timestamp()))::bigint END \
    END, \
    CASE WHEN pg_is_in_recovery() THEN greatest(0, pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()))::bigint END, \
    pg_is_in_recovery() AND pg_last_wal_receive_lsn() IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_stat_wal_receiver)";

/// The limit is that of ordinary accounts: some are kept for superusers.
const CONNECTIONS: &str = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
    current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint";

/// Client connections; `None` where the server tells none.
///
/// # Errors
/// No answer in time: the session must not be used again.
pub(super) async fn connections(session: &mut Session, deadline: Instant) -> Result<Option<Connections>, Failure> {
    let row = match session.first_row(CONNECTIONS, Stage::Role, deadline).await {
        Ok(row) => row,
        Err(failure) if failure.class == FindingClass::Timeout => return Err(failure),
        Err(_not_told) => return Ok(None),
    };
    let number = |index: usize| {
        row.try_get(index)
            .ok()
            .flatten()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let limit = number(1);
    Ok(number(0).map(|used| Connections { used, limit }))
}

/// Asks a session. The server gives up by itself when the prober does.
pub(super) async fn ask(session: &mut Session, deadline: Instant) -> Result<Answer, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    let limit_ms = left.max(Duration::from_millis(1)).as_millis();
    // Both in one message are one transaction: the limit holds for the question and for nobody who shares the session (poolers).
    let query = format!("SET LOCAL statement_timeout = {limit_ms}; {QUESTION}");
    let row = session.first_row(&query, Stage::Query, deadline).await?;
    let column = |index: usize| row.try_get(index).ok().flatten();
    let wrong = |text: &str| Failure::new(Stage::Query, FindingClass::WrongAnswer, text);
    let standby = column(0).ok_or_else(|| wrong("the server does not say whether it is a standby"))? == "t";
    let read_only = column(1).ok_or_else(|| wrong("transaction_read_only has no value"))? == "on";
    let server_version = column(2).ok_or_else(|| wrong("the server names no version"))?;
    let ailment = match (standby, read_only) {
        (true, _) => Some("standby: pg_is_in_recovery() = t"),
        (false, true) => Some("transaction_read_only = on"),
        (false, false) => None,
    };
    Ok(Answer {
        role: RoleInfo {
            read_only: ailment.is_some(),
            replication_lag_seconds: column(3).and_then(|seconds| seconds.parse().ok()),
            replication_lag_bytes: column(4).and_then(|bytes| bytes.parse().ok()),
            replication_broken: (column(5) == Some("t")).then(|| "no WAL receiver runs".to_owned()),
            server_version: bounded_text(server_version),
            ..RoleInfo::default()
        },
        ailment: ailment.map(|text| (FindingClass::ReadOnly, text.to_owned())),
        reusable: true,
    })
}

/// How an operator reads a role.
pub(super) fn shown(answer: &Answer) -> String {
    let role = match &answer.ailment {
        Some((_, text)) => text.as_str(),
        None => "primary, writable",
    };
    match answer.role.replication_lag_seconds {
        Some(seconds) => format!("{role}; {seconds} s behind"),
        None => format!("{role}; no running replication from another server"),
    }
}
