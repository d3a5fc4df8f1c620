//! Names of data sources against a name server that answers, moves, falls silent and errs.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use quorate_machine::{FindingClass, LagThreshold, Vote};
use quorate_probes::mysql::{MysqlProber, MysqlTarget, test_connection};
use quorate_probes::{Judge, JudgeSettings, NameSettings, Names, Secret, Stage};
use quorate_real_parts::{DnsMode, DnsServer};
use tokio::time::Instant;

const NAME: &str = "db.quorate.test";
/// What one lookup may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(4);
const SETTLE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(600);

fn names(server: &DnsServer, max_stale: Duration) -> Names {
    Names::new(NameSettings {
        servers: vec![server.address()],
        max_stale,
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The addresses, or the error's text; and whether they are stale.
async fn ask(names: &Names, name: &str) -> (Result<Vec<IpAddr>, String>, bool) {
    match names.resolve(name, Instant::now() + PATIENCE).await {
        Ok(resolved) => (Ok(resolved.addresses.to_vec()), resolved.stale.is_some()),
        Err(error) => (Err(error.to_string()), false),
    }
}

/// Asks again until `wanted` likes the answer.
async fn until(names: &Names, wanted: impl Fn(&Result<Vec<IpAddr>, String>, bool) -> bool) -> Result<()> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let (found, stale) = ask(names, NAME).await;
        if wanted(&found, stale) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the last answer was {found:?}, stale: {stale}");
        }
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test]
async fn both_families_are_found_and_held_for_their_ttl() -> Result<()> {
    let server = DnsServer::start()?;
    server.set(NAME, &[ip("fd00::1"), ip("10.1.1.1")], 60);
    let names = names(&server, LONG);
    let both = vec![ip("10.1.1.1"), ip("fd00::1")];
    assert_eq!(ask(&names, NAME).await, (Ok(both.clone()), false));
    let queries = server.queries();
    assert_eq!(ask(&names, "DB.Quorate.TEST").await, (Ok(both.clone()), false));
    assert_eq!(ask(&names.clone(), NAME).await, (Ok(both), false));
    assert_eq!(server.queries(), queries, "within the TTL nobody is asked");
    server.set("six.quorate.test", &[ip("fd00::6")], 60);
    assert_eq!(ask(&names, "six.quorate.test").await, (Ok(vec![ip("fd00::6")]), false));
    for literal in ["192.0.2.7", "fd00::7"] {
        assert_eq!(ask(&names, literal).await, (Ok(vec![ip(literal)]), false));
    }
    Ok(())
}

#[tokio::test]
async fn a_moved_name_is_seen_after_its_ttl() -> Result<()> {
    let server = DnsServer::start()?;
    server.set(NAME, &[ip("10.1.1.1")], 1);
    let names = names(&server, LONG);
    assert_eq!(ask(&names, NAME).await.0, Ok(vec![ip("10.1.1.1")]));
    server.set(NAME, &[ip("10.2.2.2")], 3600);
    until(&names, |found, stale| *found == Ok(vec![ip("10.2.2.2")]) && !stale).await
}

#[tokio::test]
async fn without_an_answer_the_old_address_serves_for_a_while() -> Result<()> {
    for mode in [DnsMode::Silent, DnsMode::Failing] {
        let server = DnsServer::start()?;
        server.set(NAME, &[ip("10.1.1.1")], 1);
        let names = names(&server, Duration::from_secs(5));
        assert_eq!(ask(&names, NAME).await.0, Ok(vec![ip("10.1.1.1")]));
        server.set_mode(mode);
        until(&names, |found, stale| *found == Ok(vec![ip("10.1.1.1")]) && stale).await?;
        let quick = Instant::now();
        assert_eq!(ask(&names, NAME).await, (Ok(vec![ip("10.1.1.1")]), true));
        assert!(
            quick.elapsed() < PATIENCE / 4,
            "{:?} for what is remembered",
            quick.elapsed()
        );
        until(&names, |found, _| {
            found
                .as_ref()
                .is_err_and(|text| text.contains("the last known address ran out"))
        })
        .await?;
        server.set_mode(DnsMode::Answering);
        until(&names, |found, stale| found.is_ok() && !stale).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_gone_is_gone_at_once() -> Result<()> {
    let server = DnsServer::start()?;
    server.set(NAME, &[ip("10.1.1.1")], 1);
    let names = names(&server, LONG);
    assert_eq!(ask(&names, NAME).await.0, Ok(vec![ip("10.1.1.1")]));
    server.remove(NAME);
    until(&names, |found, _| {
        found.as_ref().is_err_and(|text| text.contains("NXDOMAIN"))
    })
    .await?;
    server.set(NAME, &[], 1);
    until(&names, |found, _| {
        found.as_ref().is_err_and(|text| text.contains("has no address"))
    })
    .await?;
    server.set(NAME, &[ip("10.3.3.3")], 1);
    until(&names, |found, _| *found == Ok(vec![ip("10.3.3.3")])).await
}

#[tokio::test]
async fn a_silent_server_keeps_nobody_beyond_the_deadline() -> Result<()> {
    let server = DnsServer::start()?;
    server.set_mode(DnsMode::Silent);
    let names = names(&server, LONG);
    let started = Instant::now();
    let patience = Duration::from_millis(300);
    let asked: Vec<_> = (0..50).map(|_| names.resolve(NAME, started + patience)).collect();
    for outcome in futures_util::future::join_all(asked).await {
        assert_eq!(
            outcome.expect_err("nobody answers").to_string(),
            format!("no answer for the name {NAME} in time")
        );
    }
    assert!(
        started.elapsed() < patience + Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert!(
        server.queries() <= 4,
        "{} queries: one lookup serves all",
        server.queries()
    );
    Ok(())
}

/// What is no evidence about the server votes `unknown`, whatever is wrong with the name.
#[tokio::test]
async fn a_name_without_an_address_never_votes_down() -> Result<()> {
    let server = DnsServer::start()?;
    for (mode, words) in [
        (DnsMode::Answering, "NXDOMAIN"),
        (DnsMode::Failing, "the name server answers"),
        (DnsMode::Silent, "no answer for the name"),
    ] {
        server.set_mode(mode);
        let settings = JudgeSettings {
            retry_interval_ms: 300,
            access_timeout_ms: 800,
            monitor_timeout_ms: 2000,
            thresholds: None,
            lag: LagThreshold::default(),
            canary_votes: false,
        };
        let mut judge = Judge::new(settings, 0);
        let mut prober = MysqlProber::new(target(&server, Duration::from_millis(800)));
        for attempt in 1..=3 {
            let found = prober.attempt().await.expect("an attempt is due");
            assert_eq!((found.class, found.stage), (FindingClass::Dns, Stage::Dns), "{found:?}");
            assert!(
                found.engine_text.contains(words) || attempt > 1,
                "{mode:?}: {}",
                found.engine_text
            );
            judge.observe(&found, attempt * 300);
            assert_eq!(judge.current().vote, Vote::Unknown);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_test_tells_what_the_name_server_said() -> Result<()> {
    let server = DnsServer::start()?;
    let steps = async || -> Vec<(Stage, FindingClass, String)> {
        let results = test_connection(&target(&server, PATIENCE)).await;
        let step = |result: &quorate_probes::StageResult| (result.stage, result.class, result.text.clone());
        results.iter().map(step).collect()
    };
    let gone = format!("{NAME}: the name does not exist (NXDOMAIN)");
    assert_eq!(steps().await, vec![(Stage::Dns, FindingClass::Dns, gone)]);
    server.set(NAME, &[ip("127.0.0.1")], 1);
    let found = steps().await;
    assert_eq!(found[0], (Stage::Dns, FindingClass::Ok, "127.0.0.1".to_owned()));
    assert_eq!((found[1].0, found[1].1), (Stage::Tcp, FindingClass::Refused));
    Ok(())
}

/// A target at a port where nobody listens, with names of its own.
fn target(server: &DnsServer, access_timeout: Duration) -> MysqlTarget {
    let password = Secret::new("pw".to_owned());
    let target = MysqlTarget::new(&format!("{NAME}:1"), "monitor", password, "", access_timeout);
    target.expect("a target").with_names(names(server, LONG))
}
