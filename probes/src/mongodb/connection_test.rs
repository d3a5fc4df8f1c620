//! The connection test before a monitor is saved (C6): every address, step by step, with the engine's own words.

use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{
    MongodbTarget,
    dialect::{check_alive, version},
    login::{ask_who, log_in},
    wire::Wire,
};
use crate::{
    endpoint::{Endpoint, dial},
    failure::Failure,
    observation::Stage,
    prober::AddressTest,
    steps::{Steps, Stopped},
    tls::Tls,
};

/// Tests every address of the target, one after the other; the target's time-out bounds each step. A login that was refused is not tried
/// at the next address.
pub async fn test_connection(target: &MongodbTarget) -> Vec<AddressTest> {
    let mut tests = Vec::new();
    let mut refusal: Option<Failure> = None;
    for endpoint in target.endpoints.iter() {
        let mut steps = Steps::default();
        // The failed step has told its reason already.
        let _ = run(target, endpoint, &mut refusal, &mut steps).await;
        tests.push(AddressTest {
            address: endpoint.address.to_string(),
            steps: steps.into_results(),
        });
    }
    tests
}

async fn run(
    target: &MongodbTarget,
    endpoint: &Endpoint,
    refusal: &mut Option<Failure>,
    steps: &mut Steps,
) -> Result<(), Stopped> {
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
    let opened = Wire::over(stream, endpoint, target.encryption.as_ref(), deadline).await;
    let mut wire = match (&target.tls, opened) {
        (Tls::Off, Ok(wire)) => wire,
        (tls, opened) => {
            let shown = tls.shown().trim_start_matches(", ").to_owned();
            steps.record(Stage::Tls, started, opened.map(|wire| (shown, wire)))?
        }
    };

    let (started, deadline) = begin();
    let login = async {
        let (member, mechanism) = ask_who(&mut wire, target, deadline).await?;
        if let Some(refused) = refusal.clone() {
            return Err(refused);
        }
        log_in(&mut wire, target, mechanism, deadline).await?;
        Ok(member)
    };
    let member = login.await;
    if let Err(failure) = &member
        && failure.class == FindingClass::Auth
    {
        *refusal = Some(failure.clone());
    }
    let shown = match target.user.is_empty() {
        true => "no login".to_owned(),
        false => format!("logged in as {} of {}", target.user, target.database),
    };
    let member = steps.record(Stage::Login, started, member.map(|member| (shown, member)))?;

    let (started, deadline) = begin();
    let asked = async {
        check_alive(&mut wire, &member, deadline).await?;
        version(&mut wire, &member, deadline).await
    };
    let asked = asked.await.map(|version| (version, ()));
    steps.record(Stage::Query, started, asked)?;

    let role = member.check_set(&target.replica_set).map(|()| (member.shown(), ()));
    steps.record(Stage::Role, started, role)
}
