//! Master, replica, servers that refuse writes, and the connection test.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage,
    redis::{RedisProber, test_connection},
};
use quorate_real_parts::{
    ServerDirectory,
    redis::{MONITOR, RedisPair},
};

use crate::{
    Fixture,
    common::{READY, attempt, attempt_until, found, steps},
    monitor, target,
};

#[tokio::test]
async fn a_replica_is_read_only_and_tells_how_far_it_is() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let mut pair = RedisPair::start(directory.path(), true).await?;
    let mut replica = RedisProber::new(target(&pair.dc2.address(), monitor(MONITOR.password)));
    let linked = attempt(&mut replica).await;
    assert_eq!(
        found(&linked),
        (FindingClass::ReadOnly, Stage::Role, true),
        "{linked:?}"
    );
    assert_eq!(linked.engine_text, "replica: role:slave, master_link_status:up");
    assert_eq!(linked.role.expect("a role").replication_lag_seconds, Some(0));

    pair.dc1.kill()?;
    let deadline = std::time::Instant::now() + READY;
    loop {
        let cut = attempt(&mut replica).await;
        assert_eq!(cut.class, FindingClass::ReadOnly, "{cut:?}");
        let lag = cut.role.as_ref().and_then(|role| role.replication_lag_seconds);
        if cut.engine_text.ends_with("master_link_status:down") && lag.is_some_and(|seconds| seconds >= 1) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{cut:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    let _: String = pair.dc2.admin(&["REPLICAOF", "NO", "ONE"]).await?;
    let promoted = attempt_until(FindingClass::Ok, READY, &mut replica).await;
    assert!(!promoted.role.expect("a role").read_only);
    Ok(())
}

#[tokio::test]
async fn a_server_that_refuses_writes_lives_and_says_why() -> Result<()> {
    let fixture = Fixture::start().await?;
    let set = async |name: &str, value: &str| -> Result<String> {
        fixture.server.admin(&["CONFIG", "SET", name, value]).await
    };
    set("min-replicas-to-write", "2").await?;
    let alone = attempt(&mut fixture.prober()).await;
    assert_eq!(found(&alone), (FindingClass::ReadOnly, Stage::Role, true), "{alone:?}");
    assert_eq!(alone.engine_text, "NOREPLICAS: 0 good replicas, writes need 2");
    set("min-replicas-to-write", "0").await?;

    set("maxmemory", "1").await?;
    let full = attempt(&mut fixture.prober()).await;
    assert_eq!(found(&full), (FindingClass::ReadOnly, Stage::Role, true), "{full:?}");
    assert!(full.engine_text.starts_with("OOM"), "{full:?}");
    set("maxmemory", "0").await?;

    // The last snapshot failed: here for want of a directory, elsewhere for want of room.
    let mut prober = fixture.prober();
    let well = attempt(&mut prober).await;
    assert_eq!(well.class, FindingClass::Ok, "{well:?}");
    set("save", "3600 1").await?;
    let _: String = fixture.server.admin(&["SET", "orders:1", "x"]).await?;
    let dump = fixture.server.directory().join("dump.rdb");
    std::fs::create_dir(&dump)?;
    let _: String = fixture.server.admin(&["BGSAVE"]).await?;
    let ailing = attempt_until(FindingClass::ReadOnly, READY, &mut prober).await;
    assert!(ailing.engine_text.starts_with("MISCONF"), "{ailing:?}");
    assert!(ailing.role.expect("a role").read_only);
    // A fresh login meets the same.
    let fresh = attempt(&mut fixture.prober()).await;
    assert_eq!(found(&fresh), (FindingClass::ReadOnly, Stage::Role, true), "{fresh:?}");

    std::fs::remove_dir(&dump)?;
    let _: String = fixture.server.admin(&["BGSAVE"]).await?;
    attempt_until(FindingClass::Ok, READY, &mut prober).await;
    Ok(())
}

#[tokio::test]
async fn a_connection_test_names_the_step_that_fails() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    use FindingClass::{Auth, Ok as Good, Refused};
    let (dns, tcp) = ((Stage::Dns, Good), (Stage::Tcp, Good));
    let results = test_connection(&fixture.target(), 0).await;
    let all = [
        dns,
        tcp,
        (Stage::Login, Good),
        (Stage::Query, Good),
        (Stage::Role, Good),
    ];
    assert_eq!(steps(&results), all, "{results:?}");
    assert!(results[3].text.starts_with("Redis 7."), "{results:?}");
    assert_eq!(results[4].text, "master, writable");
    let wrong = test_connection(&target(&fixture.server.address(), monitor("wrong")), 0).await;
    assert_eq!(steps(&wrong), [dns, tcp, (Stage::Login, Auth)], "{wrong:?}");
    fixture.server.kill()?;
    let gone = test_connection(&fixture.target(), 0).await;
    assert_eq!(steps(&gone), [dns, (Stage::Tcp, Refused)], "{gone:?}");
    Ok(())
}
