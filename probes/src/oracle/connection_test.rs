//! The connection test before a monitor is saved (C6): step by step, with the engine's own words.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    OracleTarget,
    dialect::{answer, details, role},
    driver::{Driver, Session},
    listener::knock_over,
    tns::connect_data,
};
use crate::{
    endpoint::dial,
    observation::{Stage, StageResult},
    steps::{Steps, Stopped},
};

/// Tests the target with one login. The results stand in the order of the steps; the last one is the failed one, or [`Stage::Role`] when
/// all passed. The access timeout bounds each step.
pub async fn test_connection(target: &OracleTarget, driver: &Arc<dyn Driver>) -> Vec<StageResult> {
    let mut steps = Steps::default();
    // The failed step has told its reason already.
    let _ = run(target, driver, &mut steps).await;
    steps.into_results()
}

async fn run(target: &OracleTarget, driver: &Arc<dyn Driver>, steps: &mut Steps) -> Result<(), Stopped> {
    let begin = || {
        let now = Instant::now();
        (now, now + target.access_timeout)
    };
    let (started, deadline) = begin();
    let found = target.endpoint.resolve(deadline).await;
    let sockets = steps.record(Stage::Dns, started, found.map(|found| (found.text, found.sockets)))?;

    let (started, deadline) = begin();
    let stream = dial(&sockets, deadline).await;
    let stream = steps.record(
        Stage::Tcp,
        started,
        stream.map(|stream| (target.address().to_string(), stream)),
    )?;

    let (started, deadline) = begin();
    let data = connect_data(&target.service, target.is_sid);
    let knocked = knock_over(stream, &target.endpoint, target.encryption.as_ref(), &data, deadline).await;
    let tls = target.tls.shown();
    let shown = format!(
        "the listener takes connections for {} (reachability only{tls})",
        target.service
    );
    steps.record(Stage::Tls, started, knocked.map(|()| (shown, ())))?;

    let (started, deadline) = begin();
    let opened = Session::open(driver, target, deadline).await;
    let shown = opened.map(|session| (format!("logged in as {}", target.user), session));
    let mut session = steps.record(Stage::Login, started, shown)?;

    let (started, deadline) = begin();
    let asked = role(&mut session, deadline).await;
    let asked = steps.record(Stage::Query, started, asked.map(|role| (role.clone(), role)))?;

    let (started, deadline) = begin();
    let known = details(&mut session, deadline).await.map(|details| {
        let read_only = answer(&asked, &details).role.read_only;
        let writable = if read_only { "read-only" } else { "writable" };
        let mode = match details.open_mode.is_empty() {
            true => "open mode unknown: SELECT on V$DATABASE is not granted".to_owned(),
            false => details.open_mode,
        };
        (format!("{writable}; {}; {mode}", details.version), ())
    });
    steps.record(Stage::Role, started, known)
}
