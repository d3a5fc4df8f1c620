//! A master behind three sentinels.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage,
    redis::{Account, Arrangement, RedisProber, RedisTarget, test_connection},
};
use quorate_real_parts::{
    ServerDirectory,
    redis::{MASTER_NAME, MONITOR, RedisSentinels},
};

use crate::{
    common::{ACCESS_TIMEOUT, READY, attempt, attempt_until, found, steps},
    monitor,
};

fn behind(addresses: &[String], master: &str, account: Account) -> RedisTarget {
    let arrangement = Arrangement::Sentinel {
        master: master.to_owned(),
        account: Account::default(),
    };
    RedisTarget::new(addresses, arrangement, account, ACCESS_TIMEOUT).expect("a target")
}

#[tokio::test]
async fn the_master_is_found_followed_and_needs_two_witnesses() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let mut group = RedisSentinels::start(directory.path()).await?;
    let addresses = group.addresses();
    let target = behind(&addresses, MASTER_NAME, monitor(MONITOR.password));
    let mut prober = RedisProber::new(target.clone());
    let first = attempt(&mut prober).await;
    assert_eq!(found(&first), (FindingClass::Ok, Stage::Role, true), "{first:?}");
    let kept = attempt(&mut prober).await;
    assert_eq!(found(&kept), (FindingClass::Ok, Stage::Role, false), "{kept:?}");
    let tested = test_connection(&target, 1).await;
    assert_eq!(tested.len(), 5, "{tested:?}");
    assert_eq!(tested[4].text, format!("{}: master, writable", group.master.address()));

    let unknown = attempt(&mut RedisProber::new(behind(&addresses, "nobody", monitor("x")))).await;
    assert_eq!(unknown.class, FindingClass::Misconfigured, "{unknown:?}");
    let wrong = attempt(&mut RedisProber::new(behind(&addresses, MASTER_NAME, monitor("wrong")))).await;
    assert_eq!(found(&wrong), (FindingClass::Auth, Stage::Login, true), "{wrong:?}");

    // The sentinels replace the master inside their data center: a failure that passes by itself.
    group.master.kill()?;
    let gone = attempt(&mut prober).await;
    assert_eq!(gone.class, FindingClass::Refused, "{gone:?}");
    assert!(gone.engine_text.contains(&group.master.address()), "{gone:?}");
    attempt_until(FindingClass::Ok, READY, &mut prober).await;
    let tested = test_connection(&target, 0).await;
    assert_eq!(tested[4].text, format!("{}: master, writable", group.replica.address()));

    // One sentinel is no witness; two are.
    group.sentinels[0].1.kill()?;
    let two = attempt(&mut prober).await;
    assert_eq!(two.class, FindingClass::Ok, "{two:?}");
    group.sentinels[1].1.kill()?;
    let one = attempt(&mut prober).await;
    assert_eq!(one.class, FindingClass::Refused, "{one:?}");
    assert!(one.engine_text.contains("fewer than 2 sentinels agree"), "{one:?}");
    assert_eq!(
        steps(&test_connection(&target, 0).await)[1],
        (Stage::Tcp, FindingClass::Refused)
    );
    Ok(())
}

#[tokio::test]
async fn a_silent_sentinel_holds_nobody_up() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let mut group = RedisSentinels::start(directory.path()).await?;
    group.sentinels[0].1.pause()?;
    let mut prober = RedisProber::new(behind(&group.addresses(), MASTER_NAME, monitor(MONITOR.password)));
    for _ in 0..3 {
        let seen = attempt(&mut prober).await;
        assert_eq!(seen.class, FindingClass::Ok, "{seen:?}");
    }
    Ok(())
}
