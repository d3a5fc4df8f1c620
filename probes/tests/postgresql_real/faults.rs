//! Servers that are killed, paused, slow, or no PostgreSQL.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{Stage, postgresql::PostgresqlProber};
use quorate_real_parts::postgresql::MONITOR;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::{
    Fixture,
    common::{READY, SHORT_ACCESS_TIMEOUT, attempt, attempt_within, found},
    target, target_within,
};

#[tokio::test]
async fn a_killed_server_is_refused_at_once_and_comes_back() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let mut prober = fixture.prober();
    let first = attempt(&mut prober).await;
    assert_eq!(found(&first), (FindingClass::Ok, Stage::Role, true), "{first:?}");
    let kept = attempt(&mut prober).await;
    assert_eq!(found(&kept), (FindingClass::Ok, Stage::Role, false), "{kept:?}");
    let role = kept.role.expect("a role");
    assert!(!role.read_only && role.server_version.starts_with("15"), "{role:?}");
    fixture.server.kill()?;
    for _ in 0..2 {
        let gone = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
        assert_eq!(found(&gone), (FindingClass::Refused, Stage::Tcp, true), "{gone:?}");
    }
    fixture.server.start()?;
    fixture.server.wait_ready(READY).await?;
    let back = attempt(&mut prober).await;
    assert_eq!(found(&back), (FindingClass::Ok, Stage::Role, true), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_with_and_without_a_session() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let silent = target_within(SHORT_ACCESS_TIMEOUT, &fixture.server.address(), MONITOR.password);
    let mut prober = PostgresqlProber::new(silent);
    let first = attempt(&mut prober).await;
    assert_eq!(first.stage, Stage::Role, "{first:?}");
    fixture.server.pause()?;
    let kept = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
    assert_eq!(found(&kept), (FindingClass::Timeout, Stage::Query, false), "{kept:?}");
    let fresh = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
    assert_eq!(found(&fresh), (FindingClass::Timeout, Stage::Login, true), "{fresh:?}");
    fixture.server.resume()?;
    let back = attempt(&mut prober).await;
    assert_eq!((back.stage, back.fresh), (Stage::Role, true), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_stops_sends_its_sessions_away_and_is_refused() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let mut prober = fixture.prober();
    attempt(&mut prober).await;
    fixture.server.stop().await?;
    let gone = attempt(&mut prober).await;
    assert_eq!(found(&gone), (FindingClass::Refused, Stage::Tcp, true), "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn a_locked_catalogue_is_slow_and_given_up_by_both() -> Result<()> {
    let fixture = Fixture::start().await?;
    let silent = target_within(SHORT_ACCESS_TIMEOUT, &fixture.server.address(), MONITOR.password);
    let mut prober = PostgresqlProber::new(silent);
    attempt(&mut prober).await;
    // Whoever plans a question about the WAL receiver reads the definition of its view.
    let admin = fixture
        .server
        .login(quorate_real_parts::postgresql::ADMIN, "postgres")
        .await?;
    admin
        .batch_execute("BEGIN; LOCK TABLE pg_stat_wal_receiver IN ACCESS EXCLUSIVE MODE")
        .await?;
    let slow = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
    assert_eq!(
        (slow.class, slow.stage),
        (FindingClass::Timeout, Stage::Query),
        "{slow:?}"
    );
    admin.batch_execute("ROLLBACK").await?;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'quorate' AND state = 'active'";
    assert_eq!(fixture.server.query_first(waiting).await?.as_deref(), Some("0"));
    let back = attempt(&mut prober).await;
    assert_eq!(back.stage, Stage::Role, "{back:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_postgresql_server_is_a_wrong_answer() -> Result<()> {
    for greeting in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if stream.write_all(greeting).await.is_err() {
                    break;
                }
            }
        });
        let seen = attempt(&mut PostgresqlProber::new(target(&address, "pw"))).await;
        assert_eq!(seen.class, FindingClass::WrongAnswer, "{greeting:?}: {seen:?}");
        server.abort();
    }
    Ok(())
}
