//! Primary, standby, read-only, lag, and the connection test.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage,
    postgresql::{PostgresqlProber, test_connection},
};
use quorate_real_parts::{
    ServerDirectory,
    postgresql::{MONITOR, PairKind, PostgresqlPair},
};

use crate::{
    Fixture,
    common::{READY, attempt, attempt_until, found, steps},
    target,
};

#[tokio::test]
async fn a_standby_is_read_only_tells_its_lag_and_becomes_a_primary() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let mut pair = PostgresqlPair::start(directory.path(), PairKind::Standby).await?;
    let mut standby = PostgresqlProber::new(target(&pair.dc2.address(), MONITOR.password));
    let first = attempt(&mut standby).await;
    assert_eq!(found(&first), (FindingClass::ReadOnly, Stage::Role, true), "{first:?}");
    assert_eq!(first.engine_text, "standby: pg_is_in_recovery() = t");
    // Everything that was received is replayed sooner or later, whatever the clock says of an idle primary.
    let lag = async |standby: &mut PostgresqlProber, wanted: fn(Option<u64>) -> bool| {
        let deadline = std::time::Instant::now() + READY;
        loop {
            let role = attempt(standby).await.role.expect("a role");
            if wanted(role.replication_lag_seconds) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{role:?}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    // The time of the lag is counted from the last transaction replayed, so there has to be one.
    let replayed = "INSERT INTO orders (client, number) VALUES ('first', 1)";
    pair.dc1.exec_in("orders", &[replayed]).await?;
    let rows = "SELECT pg_last_xact_replay_timestamp() IS NOT NULL";
    let deadline = std::time::Instant::now() + READY;
    while pair.dc2.query_first(rows).await?.as_deref() != Some("t") {
        assert!(std::time::Instant::now() < deadline, "nothing was replayed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    lag(&mut standby, |seconds| seconds == Some(0)).await;
    pair.dc2.exec(&["SELECT pg_wal_replay_pause()"]).await?;
    pair.dc1
        .exec_in("orders", &["INSERT INTO orders (client, number) VALUES ('late', 1)"])
        .await?;
    lag(&mut standby, |seconds| seconds.is_some_and(|seconds| seconds >= 1)).await;
    pair.dc2.exec(&["SELECT pg_wal_replay_resume()"]).await?;
    lag(&mut standby, |seconds| seconds == Some(0)).await;
    pair.dc1.kill()?;
    lag(&mut standby, |seconds| seconds.is_none()).await;

    pair.dc2.exec(&["SELECT pg_promote(true, 10)"]).await?;
    let promoted = attempt_until(FindingClass::Ok, READY, &mut standby).await;
    assert!(!promoted.role.expect("a role").read_only);
    Ok(())
}

#[tokio::test]
async fn only_a_standby_that_streams_can_lose_its_receiver() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let mut pair = PostgresqlPair::start(directory.path(), PairKind::Standby).await?;
    let standby = target(&pair.dc2.address(), MONITOR.password);
    let told = async |prober: &mut PostgresqlProber, wanted: Option<&str>| {
        let deadline = std::time::Instant::now() + READY;
        loop {
            let role = attempt(prober).await.role.expect("a role");
            if role.replication_broken.as_deref() == wanted {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{role:?}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let mut prober = PostgresqlProber::new(standby.clone());
    told(&mut prober, None).await;
    pair.dc1.kill()?;
    told(&mut prober, Some("no WAL receiver runs")).await;
    // Without a primary to stream from it reads what is handed to it, and misses nothing.
    pair.dc2.exec(&["ALTER SYSTEM SET primary_conninfo = ''"]).await?;
    pair.dc2.stop().await?;
    pair.dc2.start()?;
    pair.dc2.wait_ready(READY).await?;
    let role = attempt(&mut PostgresqlProber::new(standby)).await.role;
    let role = role.expect("a role");
    assert!(role.read_only, "{role:?}");
    assert_eq!(role.replication_broken, None);
    Ok(())
}

#[tokio::test]
async fn a_server_made_read_only_lives_all_the_same() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut prober = fixture.prober();
    attempt(&mut prober).await;
    let read_only = [
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
    ];
    fixture.server.exec(&read_only).await?;
    let seen = attempt_until(FindingClass::ReadOnly, READY, &mut prober).await;
    assert_eq!(seen.engine_text, "transaction_read_only = on");
    Ok(())
}

#[tokio::test]
async fn a_connection_test_names_the_step_that_fails() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    use FindingClass::{Auth, Ok as Good, Refused};
    let (dns, tcp) = ((Stage::Dns, Good), (Stage::Tcp, Good));
    let results = test_connection(&fixture.target()).await;
    let all = [
        dns,
        tcp,
        (Stage::Login, Good),
        (Stage::Query, Good),
        (Stage::Role, Good),
    ];
    assert_eq!(steps(&results), all, "{results:?}");
    assert!(results[3].text.starts_with("PostgreSQL 15"), "{results:?}");
    assert_eq!(
        results[4].text,
        "primary, writable; no running replication from another server"
    );
    let wrong = test_connection(&target(&fixture.server.address(), "wrong")).await;
    assert_eq!(steps(&wrong), [dns, tcp, (Stage::Login, Auth)], "{wrong:?}");
    fixture.server.kill()?;
    let gone = test_connection(&fixture.target()).await;
    assert_eq!(steps(&gone), [dns, (Stage::Tcp, Refused)], "{gone:?}");
    Ok(())
}
