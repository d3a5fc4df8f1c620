//! The connection test before a monitor is saved (C6).

use quorate_machine::ProbedCanary;
use tokio::time::Instant;

use super::{canary::PostgresqlCanary, role, session, target::PostgresqlTarget};
use crate::{
    Secret,
    endpoint::dial,
    observation::{Stage, StageResult},
    steps::{Steps, Stopped},
};

/// Tests one address with one login. The results stand in the order of the steps; the last one is the failed one, or
/// [`Stage::Role`] when all passed. The access timeout bounds each step.
pub async fn test_connection(target: &PostgresqlTarget) -> Vec<StageResult> {
    let mut steps = Steps::default();
    // The failed step has told its reason already.
    let _ = run(target, &mut steps).await;
    steps.into_results()
}

/// The same, with one write of the canary as the last step ([`Stage::Write`]).
pub async fn test_with_canary(target: &PostgresqlTarget, canary: &ProbedCanary, password: Secret) -> Vec<StageResult> {
    let mut steps = Steps::default();
    if run(target, &mut steps).await.is_ok() {
        let writer = PostgresqlCanary::new(target, canary, password);
        let place = writer.place().to_owned();
        steps.record_write(writer, &place, target.access_timeout).await;
    }
    steps.into_results()
}

async fn run(target: &PostgresqlTarget, steps: &mut Steps) -> Result<(), Stopped> {
    let begin = || {
        let now = Instant::now();
        (now, now + target.access_timeout)
    };

    let (started, deadline) = begin();
    let resolved = target.endpoint.resolve(deadline).await;
    let shown = resolved.map(|found| (found.text, found.sockets));
    let sockets = steps.record(Stage::Dns, started, shown)?;

    let (started, deadline) = begin();
    let connected = dial(&sockets, deadline).await;
    let shown = connected.map(|stream| (target.address().to_string(), stream));
    let stream = steps.record(Stage::Tcp, started, shown)?;

    let (started, deadline) = begin();
    let opened = session::open(target, stream, deadline).await;
    let shown = opened.map(|session| (format!("logged in as {}{}", target.user, target.tls.shown()), session));
    let mut session = steps.record(Stage::Login, started, shown)?;

    let (started, deadline) = begin();
    let answer = role::ask(&mut session, deadline).await;
    let shown = answer.map(|answer| (format!("PostgreSQL {}", answer.role.server_version), answer));
    let answer = steps.record(Stage::Query, started, shown)?;
    steps.record(Stage::Role, started, Ok((role::shown(&answer), ())))?;
    session.close();
    Ok(())
}
