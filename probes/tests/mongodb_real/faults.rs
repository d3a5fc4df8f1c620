//! Healthy, killed, silent, stepped down and strange servers, at one address and at several.

use anyhow::{Context, Result};
use mongodb::bson::doc;
use quorate_machine::FindingClass;
use quorate_probes::{Stage, kept::FRESH_EVERY_CYCLES, mongodb::MongodbProber};
use quorate_real_parts::mongodb::{MONITOR, REPLICA_SET};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::{
    ACCESS_TIMEOUT, Fixture, READY, SHORT_ACCESS_TIMEOUT, attempt, attempt_within, found, logged_in, serves, target,
};

#[tokio::test]
async fn a_healthy_server_keeps_a_connection_and_gets_a_fresh_one_now_and_then() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut prober = MongodbProber::new(fixture.target().of_set(REPLICA_SET));
    for cycle in 0..=FRESH_EVERY_CYCLES {
        let observation = attempt(&mut prober).await;
        assert!(serves(&observation), "{observation:?}");
        assert_eq!(observation.fresh, cycle % FRESH_EVERY_CYCLES == 0, "{cycle}");
        let role = observation.role.context("a role")?;
        assert!(
            !role.read_only && role.server_version.starts_with("MongoDB "),
            "{role:?}"
        );
    }
    let other = attempt(&mut MongodbProber::new(fixture.target().of_set("rs9"))).await;
    assert_eq!(
        found(&other),
        (FindingClass::WrongAnswer, Stage::Role, true),
        "{other:?}"
    );
    assert!(other.engine_text.contains("secantus, rs9 is expected"), "{other:?}");
    Ok(())
}

#[tokio::test]
async fn a_killed_server_is_refused_at_once_and_comes_back() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let mut prober = MongodbProber::new(fixture.target());
    assert!(serves(&attempt(&mut prober).await));
    fixture.server.kill()?;
    let started = std::time::Instant::now();
    let refused = attempt(&mut prober).await;
    assert_eq!(
        found(&refused),
        (FindingClass::Refused, Stage::Tcp, true),
        "{refused:?}"
    );
    assert!(started.elapsed() < ACCESS_TIMEOUT / 4, "{:?}", started.elapsed());
    fixture.server.start()?;
    fixture.server.wait_ready(READY).await?;
    let back = attempt(&mut prober).await;
    assert!(serves(&back), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_with_and_without_a_connection() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let address = fixture.server.address();
    let mut prober = MongodbProber::new(logged_in(&[&address], MONITOR.password, SHORT_ACCESS_TIMEOUT));
    let first = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
    assert_eq!(first.stage, Stage::Role, "{first:?}");
    fixture.server.pause()?;
    let kept = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
    assert_eq!(found(&kept), (FindingClass::Timeout, Stage::Query, false), "{kept:?}");
    let fresh = attempt_within(SHORT_ACCESS_TIMEOUT, &mut prober).await;
    assert_eq!((fresh.class, fresh.fresh), (FindingClass::Timeout, true), "{fresh:?}");
    fixture.server.resume()?;
    let back = attempt(&mut MongodbProber::new(fixture.target())).await;
    assert!(serves(&back), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_slow_server_is_slow_and_a_slower_one_a_timeout() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut prober = MongodbProber::new(fixture.target());
    assert!(serves(&attempt(&mut prober).await));
    let block = |ms: i32| {
        doc! {
            "configureFailPoint": "failCommand", "mode": "alwaysOn",
            "data": { "failCommands": ["ping"], "blockConnection": true, "blockTimeMS": ms },
        }
    };
    fixture.server.command(block(2500)).await?;
    let slow = attempt(&mut prober).await;
    assert_eq!((slow.class, slow.stage), (FindingClass::Slow, Stage::Role), "{slow:?}");
    fixture.server.command(block(8000)).await?;
    let timeout = attempt(&mut prober).await;
    assert_eq!(
        (timeout.class, timeout.stage),
        (FindingClass::Timeout, Stage::Query),
        "{timeout:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_primary_that_steps_down_leaves_its_set_without_one() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut prober = MongodbProber::new(fixture.target());
    assert!(serves(&attempt(&mut prober).await));
    let step_down = doc! { "replSetStepDown": 60, "secondaryCatchUpPeriodSecs": 1, "force": true };
    fixture.server.command(step_down).await?;
    let down = attempt(&mut prober).await;
    assert_eq!(
        (down.class, down.stage),
        (FindingClass::WrongAnswer, Stage::Role),
        "{down:?}"
    );
    assert!(
        down.engine_text.contains("secondary of secantus, which has no primary"),
        "{down:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_dead_address_passes_its_time_on() -> Result<()> {
    let fixture = Fixture::start().await?;
    let dead = format!("127.0.0.1:{}", fixture.ports.port(9));
    let good = fixture.server.address();
    let mut prober = MongodbProber::new(logged_in(&[&dead, &good], MONITOR.password, ACCESS_TIMEOUT));
    let observation = attempt(&mut prober).await;
    assert!(serves(&observation), "{observation:?}");
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let silent = silent.local_addr()?.to_string();
    let mut prober = MongodbProber::new(logged_in(&[&silent, &dead, &good], MONITOR.password, ACCESS_TIMEOUT));
    let observation = attempt(&mut prober).await;
    assert!(serves(&observation), "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_server_of_the_protocol_is_a_wrong_answer() -> Result<()> {
    for greeting in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xff\xff\x7f\x00\x00\x00\x00\x01\x00\x00\x00\xdd\x07\x00\x00",
        b"\x16\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x05",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if stream.write_all(greeting).await.is_err() || stream.shutdown().await.is_err() {
                    continue;
                }
            }
        });
        let found = attempt(&mut MongodbProber::new(target(&[&address], ACCESS_TIMEOUT))).await;
        assert_eq!(found.class, FindingClass::WrongAnswer, "{greeting:?}: {found:?}");
        server.abort();
    }
    Ok(())
}
