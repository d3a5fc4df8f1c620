//! Healthy, yellow, red, killed, silent and strange clusters, at one address and at several.

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{Stage, elasticsearch::ElasticsearchProber, kept::FRESH_EVERY_CYCLES};
use quorate_real_parts::PortBlock;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::{
    ACCESS_TIMEOUT, SHORT_ACCESS_TIMEOUT, attempt, attempt_within, counting, dead_address, found, opensearch, plain,
    serves, socket,
};

#[tokio::test]
async fn a_cluster_serves_while_it_is_not_red() -> Result<()> {
    let shared = opensearch().await?;
    let server = &shared.server;
    server.turn_green().await?;
    let mut prober = ElasticsearchProber::new(plain(&[&server.address()], ACCESS_TIMEOUT));
    let green = attempt(&mut prober).await;
    assert!(serves(&green), "{green:?}");
    let role = green.role.context("a role")?;
    assert_eq!(
        (role.read_only, role.server_version.as_str()),
        (false, "OpenSearch 2.19.1")
    );

    server.turn_yellow().await?;
    let yellow = attempt(&mut prober).await;
    assert!(serves(&yellow) && !yellow.fresh, "{yellow:?}");

    server.turn_red().await?;
    let red = attempt(&mut prober).await;
    assert_eq!(
        (red.class, red.stage),
        (FindingClass::WrongAnswer, Stage::Role),
        "{red:?}"
    );
    assert!(
        red.engine_text.contains("is red: ") && red.engine_text.contains("unassigned"),
        "{red:?}"
    );
    assert_eq!(red.role, None);

    server.turn_green().await?;
    let back = attempt(&mut prober).await;
    assert!(serves(&back), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_write_block_is_read_only() -> Result<()> {
    let shared = opensearch().await?;
    let server = &shared.server;
    server.turn_green().await?;
    server.set_read_only(true).await?;
    let blocked = attempt(&mut ElasticsearchProber::new(plain(
        &[&server.address()],
        ACCESS_TIMEOUT,
    )))
    .await;
    server.set_read_only(false).await?;
    assert_eq!(
        (blocked.class, blocked.stage),
        (FindingClass::ReadOnly, Stage::Role),
        "{blocked:?}"
    );
    assert!(blocked.engine_text.contains("read-only"), "{blocked:?}");
    assert!(blocked.role.context("a role")?.read_only);
    let free = attempt(&mut ElasticsearchProber::new(plain(
        &[&server.address()],
        ACCESS_TIMEOUT,
    )))
    .await;
    assert!(serves(&free), "{free:?}");
    Ok(())
}

#[tokio::test]
async fn a_kept_connection_serves_until_the_tenth_cycle() -> Result<()> {
    let shared = opensearch().await?;
    shared.server.turn_green().await?;
    let proxy = counting::proxy(socket(&shared.server.address())).await?;
    let mut prober = ElasticsearchProber::new(plain(&[&proxy.address.to_string()], ACCESS_TIMEOUT));
    for cycle in 0..=FRESH_EVERY_CYCLES {
        let observation = attempt(&mut prober).await;
        assert!(serves(&observation), "{observation:?}");
        assert_eq!(observation.fresh, cycle % FRESH_EVERY_CYCLES == 0, "{cycle}");
    }
    assert_eq!(proxy.counts.connections(), 2);
    Ok(())
}

#[tokio::test]
async fn killed_is_refused_and_silent_is_a_timeout() -> Result<()> {
    let mut shared = opensearch().await?;
    let address = shared.server.address();
    let mut prober = ElasticsearchProber::new(plain(&[&address], ACCESS_TIMEOUT));
    let first = attempt(&mut prober).await;
    assert!(serves(&first), "{first:?}");

    let mut impatient = ElasticsearchProber::new(plain(&[&address], SHORT_ACCESS_TIMEOUT));
    attempt_within(SHORT_ACCESS_TIMEOUT, &mut impatient).await;
    shared.server.pause()?;
    let kept = attempt_within(SHORT_ACCESS_TIMEOUT, &mut impatient).await;
    assert_eq!(
        (kept.class, kept.stage),
        (FindingClass::Timeout, Stage::Query),
        "{kept:?}"
    );
    let fresh = attempt_within(SHORT_ACCESS_TIMEOUT, &mut impatient).await;
    assert_eq!(found(&fresh), (FindingClass::Timeout, Stage::Query, true), "{fresh:?}");
    shared.server.resume()?;
    let back = attempt(&mut prober).await;
    assert!(serves(&back), "{back:?}");

    shared.server.kill()?;
    let started = std::time::Instant::now();
    let refused = attempt(&mut prober).await;
    assert_eq!(
        found(&refused),
        (FindingClass::Refused, Stage::Tcp, true),
        "{refused:?}"
    );
    assert!(started.elapsed() < ACCESS_TIMEOUT / 2, "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test]
async fn any_address_that_answers_serves() -> Result<()> {
    let shared = opensearch().await?;
    shared.server.turn_green().await?;
    let good = shared.server.address();
    let ports = PortBlock::claim()?;
    let dead = dead_address(&ports);
    let mut prober = ElasticsearchProber::new(plain(&[&dead, &good], ACCESS_TIMEOUT));
    let observation = attempt(&mut prober).await;
    assert!(serves(&observation), "{observation:?}");

    // Accepts and says nothing: its share of the time is lost, no more.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let addresses = [silent.local_addr()?.to_string(), dead.clone(), good];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut prober = ElasticsearchProber::new(plain(&addresses, ACCESS_TIMEOUT));
    let observation = attempt(&mut prober).await;
    assert!(serves(&observation), "{observation:?}");
    // From now on it begins with the one that answered.
    for _ in 0..FRESH_EVERY_CYCLES {
        let observation = attempt_within(ACCESS_TIMEOUT / 4, &mut prober).await;
        assert!(serves(&observation), "{observation:?}");
    }

    let other = PortBlock::claim()?;
    let mut prober = ElasticsearchProber::new(plain(&[&dead, &dead_address(&other)], ACCESS_TIMEOUT));
    let observation = attempt(&mut prober).await;
    assert_eq!(
        found(&observation),
        (FindingClass::Refused, Stage::Tcp, true),
        "{observation:?}"
    );
    assert!(observation.engine_text.contains(&dead), "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn a_node_that_falls_silent_is_left_within_the_attempt() -> Result<()> {
    let shared = opensearch().await?;
    shared.server.turn_green().await?;
    let banner = r#"{"cluster_name":"c","version":{"number":"8.19.4"},"status":"green"}"#;
    let node = counting::node("200 OK", banner).await?;
    let addresses = [node.address.to_string(), shared.server.address()];
    let mut prober = ElasticsearchProber::new(plain(&[&addresses[0], &addresses[1]], ACCESS_TIMEOUT));
    let first = attempt(&mut prober).await;
    assert_eq!(first.role.context("a role")?.server_version, "Elasticsearch 8.19.4");
    drop(node);
    let second = attempt(&mut prober).await;
    assert_eq!(second.role.context("a role")?.server_version, "OpenSearch 2.19.1");
    Ok(())
}

#[tokio::test]
async fn a_node_that_falls_silent_amid_the_questions_is_a_timeout() -> Result<()> {
    let banner = r#"{"cluster_name":"c","version":{"number":"8.19.4"},"status":"green"}"#;
    let node = counting::node_silent_at(Some("/_cluster/state/blocks"), "200 OK", banner).await?;
    let target = plain(&[&node.address.to_string()], SHORT_ACCESS_TIMEOUT);
    let silent = attempt_within(SHORT_ACCESS_TIMEOUT, &mut ElasticsearchProber::new(target)).await;
    assert_eq!(
        found(&silent),
        (FindingClass::Timeout, Stage::Query, true),
        "{silent:?}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_no_cluster_is_a_wrong_answer() -> Result<()> {
    for greeting in [
        &b""[..],
        b"\x16\x03\x01nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
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
        let found = attempt(&mut ElasticsearchProber::new(plain(&[&address], ACCESS_TIMEOUT))).await;
        assert_eq!(found.class, FindingClass::WrongAnswer, "{greeting:?}: {found:?}");
        server.abort();
    }
    for (status, body, class) in [
        ("200 OK", "{\"you\":\"know\"}", FindingClass::WrongAnswer),
        ("301 Moved Permanently", "", FindingClass::WrongAnswer),
        (
            "503 Service Unavailable",
            "{\"error\":\"not yet\"}",
            FindingClass::ServerStarting,
        ),
        ("429 Too Many Requests", "{}", FindingClass::TooManyConnections),
    ] {
        let node = counting::node(status, body).await?;
        let target = plain(&[&node.address.to_string()], ACCESS_TIMEOUT);
        let found = attempt(&mut ElasticsearchProber::new(target)).await;
        assert_eq!(found.class, class, "{status}: {found:?}");
        assert_eq!(node.counts.requests(), 1, "no redirect is followed");
    }
    Ok(())
}

#[tokio::test]
async fn a_process_that_ends_under_a_question_is_refused() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let ending = tokio::spawn(async move {
        let accepted = listener.accept().await;
        // The port goes while the connection still stands.
        drop(listener);
        drop(accepted);
    });
    let observation = attempt(&mut ElasticsearchProber::new(plain(&[&address], ACCESS_TIMEOUT))).await;
    assert_eq!(
        found(&observation),
        (FindingClass::Refused, Stage::Tcp, true),
        "{observation:?}"
    );
    ending.await?;
    Ok(())
}
