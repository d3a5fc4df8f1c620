//! A cluster of three masters.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage,
    redis::{Arrangement, RedisProber, RedisTarget, test_connection},
};
use quorate_real_parts::{
    ServerDirectory,
    redis::{MONITOR, RedisCluster},
};

use crate::{
    common::{ACCESS_TIMEOUT, READY, attempt, attempt_until, found},
    monitor,
};

fn of(addresses: &[String], password: &str) -> RedisTarget {
    RedisTarget::new(addresses, Arrangement::Cluster, monitor(password), ACCESS_TIMEOUT).expect("a target")
}

#[tokio::test]
async fn every_master_counts_and_two_nodes_must_say_that_all_is_well() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let mut cluster = RedisCluster::start(directory.path()).await?;
    let addresses = cluster.addresses();
    let mut prober = RedisProber::new(of(&addresses, MONITOR.password));
    let first = attempt(&mut prober).await;
    assert_eq!(found(&first), (FindingClass::Ok, Stage::Role, true), "{first:?}");
    assert!(first.role.expect("a role").server_version.starts_with("7."));
    let kept = attempt(&mut prober).await;
    assert_eq!(found(&kept), (FindingClass::Ok, Stage::Role, false), "{kept:?}");
    let tested = test_connection(&of(&addresses, MONITOR.password), 2).await;
    assert_eq!(tested[4].text, "cluster_state:ok, every slot served", "{tested:?}");
    let wrong = attempt(&mut RedisProber::new(of(&addresses, "wrong"))).await;
    assert_eq!(found(&wrong), (FindingClass::Auth, Stage::Login, true), "{wrong:?}");

    // Two addresses are known, the third master is found through them.
    let lost = cluster.nodes[2].address();
    let mut by_two = RedisProber::new(of(&addresses[..2], MONITOR.password));
    attempt(&mut by_two).await;
    cluster.nodes[2].kill()?;
    // The prober notices by itself that the master is gone, or the nodes do first; in the end both know.
    let deadline = std::time::Instant::now() + READY;
    loop {
        let gone = attempt(&mut by_two).await;
        let refused = gone.class == FindingClass::Refused && gone.engine_text.contains(&lost);
        let told = gone.class == FindingClass::WrongAnswer && gone.engine_text.contains("slots served");
        assert!(refused || told, "{gone:?}");
        if gone.engine_text.contains("cluster_state:fail") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{gone:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    cluster.nodes[2].start()?;
    attempt_until(FindingClass::Ok, READY, &mut by_two).await;
    cluster.nodes[0].kill()?;
    cluster.nodes[1].kill()?;
    let alone = attempt(&mut by_two).await;
    assert_eq!(alone.class, FindingClass::Refused, "{alone:?}");
    Ok(())
}
