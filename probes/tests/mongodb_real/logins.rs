//! Passwords, TLS and the connection test.

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage, Tls,
    kept::{LOGIN_BACKOFF, REACHABILITY_INTERVAL},
    mongodb::{MongodbProber, test_connection},
};
use quorate_real_parts::mongodb::MONITOR;

use crate::{ACCESS_TIMEOUT, Fixture, READY, attempt, found, logged_in, serves, skip, target, verified};

#[tokio::test]
async fn a_refused_login_pauses_logins_but_not_reachability() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let address = fixture.server.address();
    let mut prober = MongodbProber::new(logged_in(&[&address], "wrong", ACCESS_TIMEOUT));
    let refused = attempt(&mut prober).await;
    assert_eq!(found(&refused), (FindingClass::Auth, Stage::Login, true), "{refused:?}");
    assert!(
        refused.engine_text.contains("error 18 AuthenticationFailed"),
        "{refused:?}"
    );
    for _ in 0..20 {
        assert_eq!(prober.attempt().await, None);
    }
    skip(REACHABILITY_INTERVAL).await;
    let reachable = attempt(&mut prober).await;
    assert_eq!(
        found(&reachable),
        (FindingClass::Auth, Stage::Login, true),
        "{reachable:?}"
    );
    fixture.server.kill()?;
    skip(REACHABILITY_INTERVAL).await;
    let gone = attempt(&mut prober).await;
    assert_eq!(found(&gone), (FindingClass::Refused, Stage::Tcp, true), "{gone:?}");

    fixture.server.start()?;
    fixture.server.wait_ready(READY).await?;
    let corrected = mongodb::bson::doc! { "updateUser": MONITOR.user, "pwd": "wrong" };
    fixture.server.command(corrected).await?;
    skip(LOGIN_BACKOFF).await;
    let back = attempt(&mut prober).await;
    assert!(serves(&back), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_without_an_account_is_asked_as_a_stranger() -> Result<()> {
    let fixture = Fixture::start().await?;
    let stranger = target(&[&fixture.server.address()], ACCESS_TIMEOUT);
    let observation = attempt(&mut MongodbProber::new(stranger)).await;
    assert!(serves(&observation), "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn tls_is_verified_against_the_given_ca() -> Result<()> {
    let fixture = Fixture::start_with(true).await?;
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    for tls in [verified(&fixture.certificate), Tls::Required] {
        let observation = attempt(&mut MongodbProber::new(fixture.target().with_tls(tls)?)).await;
        assert!(serves(&observation), "{observation:?}");
    }
    let distrusted = fixture.target().with_tls(verified(&other.cert.pem()))?;
    let observation = attempt(&mut MongodbProber::new(distrusted)).await;
    assert_eq!(
        found(&observation),
        (FindingClass::Tls, Stage::Tls, true),
        "{observation:?}"
    );
    // The server insists on TLS and hangs up.
    let observation = attempt(&mut MongodbProber::new(fixture.target())).await;
    assert_eq!(observation.class, FindingClass::WrongAnswer, "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn a_connection_test_names_the_step_that_fails() -> Result<()> {
    let fixture = Fixture::start().await?;
    let address = fixture.server.address();
    let dead = format!("127.0.0.1:{}", fixture.ports.port(9));
    use FindingClass::{Auth, Ok as Good, Refused};
    let tests = test_connection(&logged_in(&[&dead, &address], MONITOR.password, ACCESS_TIMEOUT)).await;
    let steps: Vec<Vec<(Stage, FindingClass)>> = tests
        .iter()
        .map(|test| test.steps.iter().map(|step| (step.stage, step.class)).collect())
        .collect();
    assert_eq!(steps[0], vec![(Stage::Dns, Good), (Stage::Tcp, Refused)]);
    let all = [Stage::Dns, Stage::Tcp, Stage::Login, Stage::Query, Stage::Role];
    assert_eq!(steps[1], all.map(|stage| (stage, Good)), "{tests:?}");
    let texts: Vec<&str> = tests[1].steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(
        (texts[2], texts[4]),
        ("logged in as quorate_mon of admin", "writable; primary of secantus")
    );

    // The password is tried once, not at every address.
    let again = [address.as_str(), &address.replace("127.0.0.1", "127.0.0.2")].map(str::to_owned);
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    let tests = test_connection(&logged_in(&again, "wrong", ACCESS_TIMEOUT)).await;
    let last = tests[0].steps.last().context("a step")?;
    assert_eq!((last.stage, last.class), (Stage::Login, Auth), "{last:?}");
    Ok(())
}
