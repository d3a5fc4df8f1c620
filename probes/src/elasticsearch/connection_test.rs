//! The connection test before a monitor is saved (C6): every address, step by step, with the engine's own words.

use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{
    ElasticsearchTarget, LOGIN_BACKOFF, answers,
    engine::{ask_banner, get},
    http,
};
use crate::{
    AddressTest,
    endpoint::{Endpoint, dial},
    failure::Failure,
    observation::Stage,
    steps::{Steps, Stopped},
};

/// Tests every address of the target, one after the other; [`ElasticsearchTarget::new`]'s time-out bounds each step. A login that was
/// refused is not tried at the next address, nor while the account rests after an earlier refusal.
pub async fn test_connection(target: &ElasticsearchTarget) -> Vec<AddressTest> {
    let mut tests = Vec::new();
    for endpoint in target.endpoints.iter() {
        let mut steps = Steps::default();
        // The failed step has told its reason already.
        let _ = run(target, endpoint, &mut steps).await;
        tests.push(AddressTest {
            address: endpoint.address.to_string(),
            steps: steps.into_results(),
        });
    }
    tests
}

async fn run(target: &ElasticsearchTarget, endpoint: &Endpoint, steps: &mut Steps) -> Result<(), Stopped> {
    let begin = || {
        let now = Instant::now();
        (now, now + target.access_timeout)
    };
    let (started, deadline) = begin();
    let found = endpoint
        .resolve(deadline)
        .await
        .map(|found| (found.text, found.sockets));
    let sockets = steps.record(Stage::Dns, started, found)?;

    let (started, deadline) = begin();
    let stream = dial(&sockets, deadline)
        .await
        .map(|stream| (endpoint.address.to_string(), stream));
    let stream = steps.record(Stage::Tcp, started, stream)?;

    let (started, deadline) = begin();
    let opened = http::over(stream, &endpoint.address, target.encryption.as_ref(), deadline).await;
    let mut session = if target.encryption.is_some() {
        let shown = target.tls.shown().trim_start_matches(", ").to_owned();
        steps.record(Stage::Tls, started, opened.map(|session| (shown, session)))?
    } else {
        match opened {
            Ok(session) => session,
            Err(failure) => return steps.record(Stage::Login, started, Err(failure)),
        }
    };

    let (started, deadline) = begin();
    let account = target.account();
    let banner = match account.refused() {
        Some((text, _)) => Err(Failure::new(Stage::Login, FindingClass::Auth, &text)),
        None => ask_banner(target, &mut session, deadline).await,
    };
    if let Err(failure) = &banner
        && failure.class == FindingClass::Auth
        && account.refused().is_none()
    {
        account.refuse(&failure.text, LOGIN_BACKOFF);
    }
    let user = target.login.as_ref().map(|(user, _)| user);
    let shown = user.map_or_else(|| "no login".to_owned(), |user| format!("logged in as {user}"));
    let banner = steps.record(Stage::Login, started, banner.map(|banner| (shown, banner)))?;
    let text = format!("{}, cluster {}", banner.version, banner.cluster);
    steps.record(Stage::Query, started, Ok((text, ())))?;

    let (started, deadline) = begin();
    let path = "/_cluster/health?timeout=1s&master_timeout=1s";
    let health = match get(target, &mut session, path, deadline).await {
        Ok(reply) => answers::health(&reply),
        Err(failure) => Err(failure),
    };
    let shown = health.map(|health| {
        let colour = if health.yellow { "yellow" } else { "green" };
        let (nodes, unassigned) = (health.nodes, health.unassigned_shards);
        (format!("{colour}, {nodes} nodes, {unassigned} unassigned shards"), ())
    });
    steps.record(Stage::Role, started, shown)
}
