//! Healthy, killed, silent and strange servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quorate_machine::{FindingClass, LagThreshold, Vote};
use quorate_probes::{
    Judge, JudgeSettings, Stage,
    mysql::{FRESH_EVERY_CYCLES, MysqlProber},
};
use quorate_real_parts::mariadb::MONITOR;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{
    ACCESS_TIMEOUT, Fixture, READY, SHORT_ACCESS_TIMEOUT, attempt, attempt_within, found, target, target_within,
};

#[tokio::test]
async fn a_healthy_server_keeps_a_session_and_gets_a_fresh_one_now_and_then() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut prober = MysqlProber::new(fixture.target());
    let before = fixture.status("Connections").await?;
    let mut fresh = Vec::new();
    for _ in 0..=FRESH_EVERY_CYCLES {
        let observation = attempt(&mut prober).await;
        assert_eq!(observation.class, FindingClass::Ok, "{observation:?}");
        let role = observation.role.context("a role")?;
        assert!(!role.read_only && role.server_version.contains("MariaDB"), "{role:?}");
        fresh.push(observation.fresh);
    }
    let expected: Vec<bool> = (0..=FRESH_EVERY_CYCLES)
        .map(|cycle| cycle % FRESH_EVERY_CYCLES == 0)
        .collect();
    assert_eq!(fresh, expected);
    // Two of the prober, one of the second count itself.
    assert_eq!(fixture.status("Connections").await? - before, 3);

    fixture.server.exec(&["SET GLOBAL read_only = 1"]).await?;
    let observation = attempt(&mut prober).await;
    assert_eq!(observation.class, FindingClass::ReadOnly);
    assert!(observation.role.context("a role")?.read_only);
    Ok(())
}

#[tokio::test]
async fn a_killed_server_is_refused_at_once_and_comes_back() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let mut prober = MysqlProber::new(fixture.target());
    let settings = JudgeSettings {
        retry_interval_ms: 3000,
        access_timeout_ms: 3000,
        monitor_timeout_ms: 40_000,
        thresholds: None,
        lag: LagThreshold::default(),
        canary_votes: false,
    };
    let mut judge = Judge::new(settings, 0);
    for now_ms in 0..3 {
        judge.observe(&attempt(&mut prober).await, now_ms);
    }
    assert_eq!(judge.current().vote, Vote::UpSteady);

    fixture.server.kill()?;
    let started = Instant::now();
    let observation = attempt(&mut prober).await;
    assert_eq!(
        found(&observation),
        (FindingClass::Refused, Stage::Tcp, true),
        "{observation:?}"
    );
    assert!(started.elapsed() < ACCESS_TIMEOUT / 2, "{:?}", started.elapsed());
    let told = judge.observe(&observation, 10).context("a transition")?;
    assert_eq!(told.vote, Vote::Down);

    fixture.server.restart(READY).await?;
    let told = judge.observe(&attempt(&mut prober).await, 20).context("a transition")?;
    assert_eq!(told.vote, Vote::Up);
    Ok(())
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_with_and_without_a_session() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let address = fixture.server.address();
    let silent = target_within(SHORT_ACCESS_TIMEOUT, &address, MONITOR.password, "monitored");
    let mut prober = MysqlProber::new(silent);
    let first = attempt(&mut prober).await;
    assert_eq!(first.stage, Stage::Role, "{first:?}");
    fixture.server.pause()?;
    let kept = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
    assert_eq!(found(&kept), (FindingClass::Timeout, Stage::Query, false), "{kept:?}");
    for _ in 0..2 {
        let fresh = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
        assert_eq!(found(&fresh), (FindingClass::Timeout, Stage::Login, true), "{fresh:?}");
    }
    fixture.server.resume()?;
    let back = attempt(&mut prober).await;
    assert_eq!((back.stage, back.fresh), (Stage::Role, true), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_mysql_server_is_a_wrong_answer() -> Result<()> {
    for greeting in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x05\x00\x00\x00\x0a\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\x0a",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if stream.write_all(greeting).await.is_err() {
                    break;
                }
            }
        });
        let found = attempt(&mut MysqlProber::new(target(&address, "pw", ""))).await;
        assert_eq!(found.class, FindingClass::WrongAnswer, "{greeting:?}: {found:?}");
        server.abort();
    }
    Ok(())
}

#[tokio::test]
async fn dropped_packets_are_a_timeout_of_the_connection() -> Result<()> {
    // A listener whose queue is full: the kernel drops further connection requests.
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listener = socket.listen(1)?;
    let address = listener.local_addr()?;
    let mut waiting = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(connected?);
    }
    let unanswered = target_within(SHORT_ACCESS_TIMEOUT, &address.to_string(), "pw", "");
    let dropped = attempt_within(SHORT_ACCESS_TIMEOUT, &mut MysqlProber::new(unanswered)).await;
    assert_eq!(
        found(&dropped),
        (FindingClass::Timeout, Stage::Tcp, true),
        "{dropped:?}"
    );
    Ok(())
}
