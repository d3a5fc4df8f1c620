//! The connection test before a monitor is saved (C6): step by step, with the engine's own words.

use mysql_async::Conn;
use quorate_machine::FindingClass;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    address::resolve,
    errors::{Failure, classify_io},
    micros, session,
    target::{MysqlTarget, MysqlTls},
};
use crate::observation::{Stage, StageResult, bounded_text};

/// Tests one address with one login. The results stand in the order of the steps; the last one is the failed one, or
/// [`Stage::Role`] when all passed. The access timeout bounds each step.
pub async fn test_connection(target: &MysqlTarget) -> Vec<StageResult> {
    let mut results = Vec::new();
    // The failed step has told its reason already.
    let _ = run(target, &mut results).await;
    results
}

async fn run(target: &MysqlTarget, results: &mut Vec<StageResult>) -> Result<(), ()> {
    let begin = || {
        let now = Instant::now();
        (now, now + target.access_timeout)
    };

    let (started, deadline) = begin();
    let resolved = resolve(target, deadline).await;
    let shown = resolved.map(|found| (found.text, found.sockets));
    let addresses = step(results, Stage::Dns, started, shown)?;

    let (started, deadline) = begin();
    let connected = match timeout_at(deadline, TcpStream::connect(&addresses[..])).await {
        Ok(Ok(stream)) => Ok((format!("{}", target.address()), stream)),
        Ok(Err(error)) => Err(Failure {
            stage: Stage::Tcp,
            class: classify_io(&error),
            text: bounded_text(&error.to_string()),
        }),
        Err(_) => Err(session::timed_out(Stage::Tcp, "no TCP connection", started)),
    };
    drop(step(results, Stage::Tcp, started, connected)?);

    let (started, deadline) = begin();
    let opened = session::open(target, &addresses, deadline).await;
    let encrypted = match target.tls {
        MysqlTls::Off => "",
        MysqlTls::Unverified => ", TLS without verification",
        MysqlTls::Verify { .. } => ", TLS verified",
    };
    let shown = opened.map(|session| (format!("logged in as {}{encrypted}", target.user), session));
    let mut session = step(results, Stage::Login, started, shown)?;

    let outcome = ask(target, &mut session, results).await;
    session::close(session);
    outcome
}

async fn ask(target: &MysqlTarget, session: &mut Conn, results: &mut Vec<StageResult>) -> Result<(), ()> {
    let started = Instant::now();
    let role = session::ask_role(session, started + target.access_timeout).await;
    let shown = role.map(|role| (role.server_version.clone(), role));
    let role = step(results, Stage::Query, started, shown)?;

    let started = Instant::now();
    let writable = if role.read_only { "read-only" } else { "writable" };
    let lag = match session::replication_lag(session, started + target.access_timeout).await {
        Ok(Some(seconds)) => format!("replica, {seconds} s behind"),
        Ok(None) => "no running replication from another server".to_owned(),
        // Optional: says what a further right would show, and is no reason to refuse the monitor.
        Err(failure) => format!("replication lag unknown: {}", failure.text),
    };
    step(results, Stage::Role, started, Ok((format!("{writable}; {lag}"), ())))
}

/// Records a step; `Err` after a failed one.
fn step<T>(
    results: &mut Vec<StageResult>,
    stage: Stage,
    started: Instant,
    outcome: Result<(String, T), Failure>,
) -> Result<T, ()> {
    let latency_us = micros(started.elapsed());
    let (stage, class, text, value) = match outcome {
        Ok((text, value)) => (stage, FindingClass::Ok, bounded_text(&text), Ok(value)),
        Err(failure) => (failure.stage, failure.class, failure.text, Err(())),
    };
    results.push(StageResult {
        stage,
        class,
        text,
        latency_us,
    });
    value
}
