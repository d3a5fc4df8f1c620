//! The write canary against a real server: a commit that hangs, a table that is missing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use quorate_machine::{Condition, FindingClass, ProbedCanary};
use quorate_probes::{
    Observation, Secret, Stage,
    canary::{CANARY_INTERVAL, CANARY_RETRY},
    postgresql::{PostgresqlProber, test_with_canary},
};
use quorate_real_parts::postgresql::MONITOR;

use crate::{Fixture, target_within};

const PASSWORD: &str = "canary-pw";
const ACCESS_TIMEOUT: Duration = Duration::from_secs(1);

fn canary() -> ProbedCanary {
    ProbedCanary {
        user: "quorate_canary".to_owned(),
        database: "canary".to_owned(),
        table: "beats".to_owned(),
        row: 1,
        votes: false,
    }
}

fn password() -> Secret {
    Secret::new(PASSWORD.to_owned())
}

async fn wait_for(prober: &mut PostgresqlProber, wanted: Option<Condition>) -> Result<Observation> {
    let deadline = Instant::now() + CANARY_RETRY + CANARY_INTERVAL + ACCESS_TIMEOUT * 4;
    loop {
        let observation = prober.attempt().await.expect("an attempt is due");
        if observation.canary.as_ref().map(|found| found.report.condition()) == wanted {
            return Ok(observation);
        }
        if Instant::now() > deadline {
            bail!("{wanted:?} is not seen: {observation:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_commit_that_hangs_is_seen_beside_reads_that_go_on() -> Result<()> {
    let fixture = Fixture::start().await?;
    let server = &fixture.server;
    let account = format!("CREATE ROLE quorate_canary LOGIN PASSWORD '{PASSWORD}'");
    server.exec(&[&account]).await?;
    server.exec(&["CREATE DATABASE canary"]).await?;
    server
        .exec_in(
            "canary",
            &[
                "CREATE TABLE beats (id int PRIMARY KEY, beat bigint NOT NULL)",
                "INSERT INTO beats VALUES (1, 0), (2, 0)",
                "GRANT SELECT, UPDATE ON beats TO quorate_canary",
            ],
        )
        .await?;
    let target = target_within(ACCESS_TIMEOUT, &server.address(), MONITOR.password);
    let steps = test_with_canary(&target, &canary(), password()).await;
    let last = steps.last().expect("a step");
    assert_eq!((last.stage, last.class), (Stage::Write, FindingClass::Ok), "{steps:?}");

    let mut prober = PostgresqlProber::new(target).with_canary(&canary(), password());
    wait_for(&mut prober, None).await?;
    // Commits wait for a standby that is not there; reads go on.
    server
        .exec(&["ALTER SYSTEM SET synchronous_standby_names = '*'"])
        .await?;
    server.exec(&["SELECT pg_reload_conf()"]).await?;
    let observation = wait_for(&mut prober, Some(Condition::WritesFail)).await?;
    assert!(observation.role.is_some(), "{observation:?}");
    server.exec(&["ALTER SYSTEM RESET synchronous_standby_names"]).await?;
    server.exec(&["SELECT pg_reload_conf()"]).await?;
    wait_for(&mut prober, None).await?;

    server.exec_in("canary", &["DROP TABLE beats"]).await?;
    let observation = wait_for(&mut prober, Some(Condition::CanaryUnable)).await?;
    assert!(observation.canary.expect("a finding").report.text.contains("42P01"));
    Ok(())
}
