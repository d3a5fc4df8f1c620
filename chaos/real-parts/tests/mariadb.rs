//! The servers of this crate do what their users rely on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::{Conn, Error, OptsBuilder, prelude::Queryable};
use quorate_real_parts::{
    ServerDirectory,
    mariadb::{APPLICATION, Account, FENCE, MariaDb, MariaDbPair, PairOptions},
};

const TIMEOUT: Duration = Duration::from_secs(20);

async fn login(server: &MariaDb, account: Account) -> Result<Conn, Error> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .user(Some(account.user))
        .pass(Some(account.password))
        .prefer_socket(false);
    Conn::new(options).await
}

async fn insert(server: &MariaDb, client: &str) -> Result<()> {
    let mut connection = login(server, APPLICATION).await?;
    let statement = format!("INSERT INTO orders.orders (client, number) VALUES ('{client}', 1)");
    connection.query_drop(statement).await?;
    connection.disconnect().await?;
    Ok(())
}

async fn rows(server: &MariaDb) -> Result<u64> {
    let count = server.query_first("SELECT COUNT(*) FROM orders.orders").await?;
    count.context("a count")
}

#[tokio::test]
async fn a_pair_replicates_both_ways_survives_faults_and_can_be_fenced() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let mut pair = MariaDbPair::start(directory.path(), PairOptions::default()).await?;

    insert(&pair.dc1, "first").await?;
    insert(&pair.dc2, "second").await?;
    pair.wait_caught_up(&pair.dc1, &pair.dc2, TIMEOUT).await?;
    pair.wait_caught_up(&pair.dc2, &pair.dc1, TIMEOUT).await?;
    assert_eq!((rows(&pair.dc1).await?, rows(&pair.dc2).await?), (2, 2));

    // A killed side refuses; after its restart both links resume by themselves.
    pair.dc1.kill()?;
    assert!(login(&pair.dc1, APPLICATION).await.is_err());
    insert(&pair.dc2, "third").await?;
    pair.dc1.restart(TIMEOUT).await?;
    pair.wait_caught_up(&pair.dc2, &pair.dc1, TIMEOUT).await?;
    insert(&pair.dc1, "fourth").await?;
    pair.wait_caught_up(&pair.dc1, &pair.dc2, TIMEOUT).await?;
    assert_eq!((rows(&pair.dc1).await?, rows(&pair.dc2).await?), (4, 4));

    // A paused side answers nothing and goes on after.
    pair.dc1.pause()?;
    let paused_at = Instant::now();
    let silent = tokio::time::timeout(Duration::from_millis(300), login(&pair.dc1, APPLICATION)).await;
    assert!(silent.is_err(), "answered after {:?}", paused_at.elapsed());
    pair.dc1.resume()?;
    insert(&pair.dc1, "fifth").await?;

    // The fence holds on one side only.
    let mut fence = login(&pair.dc1, FENCE).await?;
    fence.query_drop("SET SESSION sql_log_bin = 0").await?;
    fence
        .query_drop(format!("ALTER USER {}@'%' ACCOUNT LOCK", APPLICATION.user))
        .await?;
    fence.query_drop(format!("KILL USER {}", APPLICATION.user)).await?;
    pair.wait_caught_up(&pair.dc1, &pair.dc2, TIMEOUT).await?;
    match login(&pair.dc1, APPLICATION).await {
        Err(Error::Server(error)) => assert_eq!(error.code, 4151),
        other => panic!("the fenced side answered {other:?}"),
    }
    insert(&pair.dc2, "sixth").await?;
    pair.dc2.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_its_log() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let block = quorate_real_parts::PortBlock::claim()?;
    let mut options = quorate_real_parts::mariadb::MariaDbOptions::new(block.port(0));
    options.extra_lines.push("no-such-setting=1".to_owned());
    let mut server = MariaDb::init(&directory.path().join("broken"), options).await?;
    server.start()?;
    let error = server.wait_ready(TIMEOUT).await.unwrap_err().to_string();
    assert!(error.contains("no-such-setting"), "{error}");
    Ok(())
}
