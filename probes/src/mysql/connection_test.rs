//! The connection test before a monitor is saved (C6).

use mysql_async::Conn;
use quorate_machine::ProbedCanary;
use tokio::time::Instant;

use super::{
    canary::MysqlCanary,
    session,
    target::{MysqlTarget, MysqlTls},
};
use crate::{
    Secret,
    endpoint::dial,
    observation::{Stage, StageResult},
    steps::{Steps, Stopped},
};

/// Tests one address with one login. The results stand in the order of the steps; the last one is the failed one, or
/// [`Stage::Role`] when all passed. The access timeout bounds each step.
pub async fn test_connection(target: &MysqlTarget) -> Vec<StageResult> {
    let mut steps = Steps::default();
    // The failed step has told its reason already.
    let _ = run(target, &mut steps).await;
    steps.into_results()
}

/// The same, with one write of the canary as the last step ([`Stage::Write`]).
pub async fn test_with_canary(target: &MysqlTarget, canary: &ProbedCanary, password: Secret) -> Vec<StageResult> {
    let mut steps = Steps::default();
    if run(target, &mut steps).await.is_ok() {
        let writer = MysqlCanary::new(target.clone(), canary, password);
        let place = writer.place().to_owned();
        steps.record_write(writer, &place, target.access_timeout).await;
    }
    steps.into_results()
}

async fn run(target: &MysqlTarget, steps: &mut Steps) -> Result<(), Stopped> {
    let begin = || {
        let now = Instant::now();
        (now, now + target.access_timeout)
    };

    let (started, deadline) = begin();
    let resolved = target.endpoint.resolve(deadline).await;
    let shown = resolved.map(|found| (found.text, found.sockets));
    let addresses = steps.record(Stage::Dns, started, shown)?;

    let (started, deadline) = begin();
    let connected = dial(&addresses, deadline).await;
    let shown = connected.map(|stream| (target.address().to_string(), stream));
    drop(steps.record(Stage::Tcp, started, shown)?);

    let (started, deadline) = begin();
    let opened = session::open(target, &addresses, deadline).await;
    let encrypted = match target.tls {
        MysqlTls::Off => "",
        MysqlTls::Unverified => ", TLS without verification",
        MysqlTls::Verify { .. } => ", TLS verified",
    };
    let shown = opened.map(|session| (format!("logged in as {}{encrypted}", target.user), session));
    let mut session = steps.record(Stage::Login, started, shown)?;

    let outcome = ask(target, &mut session, steps).await;
    session::close(session);
    outcome
}

async fn ask(target: &MysqlTarget, session: &mut Conn, steps: &mut Steps) -> Result<(), Stopped> {
    let started = Instant::now();
    let role = session::ask_role(session, started + target.access_timeout).await;
    let shown = role.map(|role| (role.server_version.clone(), role));
    let role = steps.record(Stage::Query, started, shown)?;

    let started = Instant::now();
    let writable = if role.read_only { "read-only" } else { "writable" };
    let lag = match session::replication(session, started + target.access_timeout).await {
        Ok(replication) => replication.shown(),
        // Optional: says what a further right would show, and is no reason to refuse the monitor.
        Err(failure) => format!("replication lag unknown: {}", failure.text),
    };
    steps.record(Stage::Role, started, Ok((format!("{writable}; {lag}"), ())))
}
