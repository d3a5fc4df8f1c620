//! The write canary against a real server: written, held up, missing, and no business of a read-only side.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mysql_async::prelude::Queryable;
use quorate_machine::{Condition, FindingClass, ProbedCanary};
use quorate_probes::{
    Observation, Secret, Stage,
    canary::{CANARY_INTERVAL, CANARY_RETRY},
    mysql::{MysqlProber, MysqlTarget, test_with_canary},
};
use quorate_real_parts::mariadb::MONITOR;

use crate::{Fixture, target_within};

const PASSWORD: &str = "canary-pw";
const ACCESS_TIMEOUT: Duration = Duration::from_secs(1);
/// From one look at a condition to the next.
const POLL: Duration = Duration::from_millis(50);

fn canary(row: u32) -> ProbedCanary {
    ProbedCanary {
        user: "quorate_canary".to_owned(),
        database: "canary".to_owned(),
        table: "beats".to_owned(),
        row,
        votes: false,
    }
}

fn password() -> Secret {
    Secret::new(PASSWORD.to_owned())
}

async fn fixture() -> Result<Fixture> {
    let fixture = Fixture::start().await?;
    let account = format!("CREATE USER quorate_canary IDENTIFIED BY '{PASSWORD}'");
    fixture
        .server
        .exec(&[
            "CREATE DATABASE canary",
            "CREATE TABLE canary.beats (id INT PRIMARY KEY, beat BIGINT NOT NULL)",
            "INSERT INTO canary.beats VALUES (1, 0), (2, 0)",
            &account,
            "GRANT SELECT, UPDATE ON canary.beats TO quorate_canary",
        ])
        .await?;
    Ok(fixture)
}

fn monitored(fixture: &Fixture) -> MysqlTarget {
    target_within(ACCESS_TIMEOUT, &fixture.server.address(), MONITOR.password, "monitored")
}

/// Attempts until the canary says what is wanted; an attempt never waits for a write.
async fn wait_for(prober: &mut MysqlProber, wanted: Option<Condition>) -> Result<Observation> {
    let deadline = Instant::now() + CANARY_RETRY + CANARY_INTERVAL + ACCESS_TIMEOUT * 4;
    loop {
        let observation = prober.attempt().await.expect("an attempt is due");
        if observation.canary.as_ref().map(|found| found.report.condition()) == wanted {
            return Ok(observation);
        }
        if Instant::now() > deadline {
            bail!("{wanted:?} is not seen: {observation:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn beats(fixture: &Fixture, row: u32) -> Result<u64> {
    let query = format!("SELECT beat FROM canary.beats WHERE id = {row}");
    Ok(fixture.server.query_first::<u64>(&query).await?.unwrap_or_default())
}

/// Updates that the server was asked for since it logs statements, refused ones too.
async fn updates(fixture: &Fixture) -> Result<u64> {
    let query = "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE 'UPDATE `canary`%'";
    Ok(fixture.server.query_first::<u64>(query).await?.unwrap_or_default())
}

async fn until(what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + CANARY_RETRY;
    while !holds().await? {
        if Instant::now() > deadline {
            bail!("{what}: not in time");
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_write_that_hangs_is_seen_beside_answers_that_go_on() -> Result<()> {
    let fixture = fixture().await?;
    let mut prober = MysqlProber::new(monitored(&fixture)).with_canary(&canary(2), password());
    until("something is written", async || Ok(beats(&fixture, 2).await? > 0)).await?;
    wait_for(&mut prober, None).await?;
    assert_eq!(beats(&fixture, 1).await?, 0, "the other side's row is the other side's");

    // What a full or stalled disk does to writers: they wait, and readers do not.
    let mut holder = fixture.server.root_connection().await?;
    holder.query_drop("FLUSH TABLES WITH READ LOCK").await?;
    let observation = wait_for(&mut prober, Some(Condition::WritesFail)).await?;
    assert_ne!(observation.class, FindingClass::Timeout, "{observation:?}");
    assert!(
        observation.role.is_some(),
        "the server answers all the same: {observation:?}"
    );
    let told = observation.canary.expect("a finding").report.text;
    // The server gives up after a second, and so does the canary: whoever is first.
    let hung = told.starts_with("no answer to a write within") || told.contains("1205");
    assert!(hung, "{told}");
    holder.query_drop("UNLOCK TABLES").await?;
    wait_for(&mut prober, None).await?;

    // A side that takes no writes is no sick side.
    let logged = [
        "SET GLOBAL read_only = 1",
        "SET GLOBAL log_output = 'TABLE'",
        "SET GLOBAL general_log = 1",
    ];
    fixture.server.exec(&logged).await?;
    // The second one comes when what came of the first is known.
    until("the canary goes on trying", async || Ok(updates(&fixture).await? >= 2)).await?;
    let observation = wait_for(&mut prober, None).await?;
    assert_eq!(observation.class, FindingClass::ReadOnly, "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn a_canary_that_cannot_work_says_so_and_the_connection_test_tells_before() -> Result<()> {
    let fixture = fixture().await?;
    let target = monitored(&fixture);
    let last = async |row: u32, password: &str| {
        let steps = test_with_canary(&target, &canary(row), Secret::new(password.to_owned())).await;
        let last = steps.last().expect("a step").clone();
        (last.stage, last.class, last.text)
    };
    let (stage, class, text) = last(1, PASSWORD).await;
    assert_eq!((stage, class), (Stage::Write, FindingClass::Ok), "{text}");
    let (stage, class, text) = last(3, PASSWORD).await;
    assert_eq!((stage, class), (Stage::Write, FindingClass::Misconfigured), "{text}");
    assert_eq!(text, "there is no row 3 of canary.beats");
    let (stage, class, text) = last(1, "wrong").await;
    assert_eq!((stage, class), (Stage::Write, FindingClass::Misconfigured), "{text}");
    assert!(text.contains("Access denied"), "{text}");

    fixture.server.exec(&["DROP TABLE canary.beats"]).await?;
    let mut prober = MysqlProber::new(target).with_canary(&canary(1), password());
    let observation = wait_for(&mut prober, Some(Condition::CanaryUnable)).await?;
    assert!(observation.canary.expect("a finding").report.text.contains("1146"));
    Ok(())
}
