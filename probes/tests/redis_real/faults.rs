//! Servers that are killed, paused, loading, busy, or no Redis.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{Stage, redis::RedisProber};
use quorate_real_parts::redis::MONITOR;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::{
    Fixture,
    common::{READY, SHORT_ACCESS_TIMEOUT, attempt, attempt_until, attempt_within, found},
    monitor, target, target_within,
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
    assert!(!role.read_only && role.server_version.starts_with("7."), "{role:?}");
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
    let silent = target_within(
        SHORT_ACCESS_TIMEOUT,
        &fixture.server.address(),
        monitor(MONITOR.password),
    );
    let mut prober = RedisProber::new(silent);
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

    // A server that makes its clients wait is as silent, and one that makes them wait a little is slow.
    let _: String = fixture.server.admin(&["CLIENT", "PAUSE", "60000", "ALL"]).await?;
    let paused = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
    assert_eq!(paused.class, FindingClass::Timeout, "{paused:?}");
    Ok(())
}

#[tokio::test]
async fn a_slow_answer_is_an_answer() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut prober = fixture.prober();
    attempt(&mut prober).await;
    let _: String = fixture.server.admin(&["CLIENT", "PAUSE", "3000", "ALL"]).await?;
    let slow = attempt(&mut prober).await;
    assert_eq!(found(&slow), (FindingClass::Slow, Stage::Role, false), "{slow:?}");
    assert!(slow.engine_text.starts_with("answered after"), "{slow:?}");
    Ok(())
}

#[tokio::test]
async fn a_script_without_an_end_keeps_everybody_waiting() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut prober = fixture.prober();
    attempt(&mut prober).await;
    let _: String = fixture
        .server
        .admin(&["CONFIG", "SET", "busy-reply-threshold", "50"])
        .await?;
    let mut endless = fixture.server.login(quorate_real_parts::redis::ADMIN).await?;
    let script = tokio::spawn(async move {
        let mut command = redis::cmd("EVAL");
        command.arg("while true do end").arg(0);
        command.query_async::<()>(&mut endless).await
    });
    let busy = attempt_until(FindingClass::Timeout, READY, &mut prober).await;
    assert!(busy.engine_text.starts_with("BUSY"), "{busy:?}");
    let _: String = fixture.server.admin(&["SCRIPT", "KILL"]).await?;
    assert!(script.await?.is_err());
    let back = attempt(&mut prober).await;
    assert_eq!(back.class, FindingClass::Ok, "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_loading_server_is_starting() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    // Some data, and a server that takes its time for every key of it.
    let _: String = fixture
        .server
        .admin(&[
            "EVAL",
            "for i = 1, 20000 do redis.call('SET', 'orders:' .. i, i) end return 'OK'",
            "0",
        ])
        .await?;
    let _: String = fixture
        .server
        .admin(&["CONFIG", "SET", "key-load-delay", "1000"])
        .await?;
    let _: String = fixture
        .server
        .admin(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"])
        .await?;
    let mut prober = fixture.prober();
    attempt(&mut prober).await;
    let mut reloading = fixture.server.login(quorate_real_parts::redis::ADMIN).await?;
    let reload = tokio::spawn(async move {
        let mut command = redis::cmd("DEBUG");
        command.arg("RELOAD");
        command.query_async::<()>(&mut reloading).await
    });
    let loading = attempt_until(FindingClass::ServerStarting, READY, &mut prober).await;
    assert!(loading.engine_text.starts_with("LOADING"), "{loading:?}");
    reload.abort();
    fixture.server.kill()?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_redis_server_is_a_wrong_answer() -> Result<()> {
    for greeting in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x00\x00"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if stream.write_all(greeting).await.is_err() {
                    break;
                }
            }
        });
        let seen = attempt(&mut RedisProber::new(target(&address, monitor("pw")))).await;
        assert_eq!(seen.class, FindingClass::WrongAnswer, "{greeting:?}: {seen:?}");
        server.abort();
    }
    Ok(())
}
