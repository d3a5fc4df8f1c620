//! What a driver says, and what becomes of one that does not come back.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage,
    kept::{FRESH_EVERY_CYCLES, LOGIN_BACKOFF, REACHABILITY_INTERVAL},
    oracle::{OracleProber, ThinDriver, driver::Driver, test_connection},
};

use crate::{
    FakeDriver, Told, attempt, found, serves,
    stub::{Listener, accept, refuse_code},
    target,
};

#[tokio::test]
async fn a_primary_keeps_its_session_and_a_standby_is_read_only() -> Result<()> {
    let listener = Listener::start(vec![accept()]).await?;
    let driver = FakeDriver::new(FakeDriver::primary());
    let mut prober = OracleProber::with_driver(target(&listener.address.to_string()), driver.clone());
    for cycle in 0..=FRESH_EVERY_CYCLES {
        let observation = attempt(&mut prober).await;
        assert!(serves(&observation), "{observation:?}");
        assert_eq!(observation.fresh, cycle % FRESH_EVERY_CYCLES == 0, "{cycle}");
        let role = observation.role.context("a role")?;
        assert_eq!(
            (role.read_only, role.server_version.as_str()),
            (false, "Oracle 19.0.0.0.0")
        );
    }
    assert_eq!(driver.logins(), 2);

    driver.is_told(Told::Rows(BTreeMap::from([
        ("DATABASE_ROLE", "PHYSICAL STANDBY"),
        ("V$DATABASE", "READ ONLY WITH APPLY"),
        ("V$DATAGUARD_STATS", "+00 00:01:05"),
    ])));
    let mut prober = OracleProber::with_driver(target(&listener.address.to_string()), driver);
    let standby = attempt(&mut prober).await;
    assert_eq!(
        (standby.class, standby.stage),
        (FindingClass::ReadOnly, Stage::Role),
        "{standby:?}"
    );
    assert_eq!(standby.engine_text, "PHYSICAL STANDBY, READ ONLY WITH APPLY");
    let role = standby.role.context("a role")?;
    assert_eq!((role.read_only, role.replication_lag_seconds), (true, Some(65)));
    Ok(())
}

#[tokio::test]
async fn a_refused_login_pauses_logins_while_the_listener_is_asked_on() -> Result<()> {
    let listener = Listener::start(vec![accept()]).await?;
    let driver = FakeDriver::new(Told::Refuse("ORA-01017: invalid username/password; logon denied"));
    let mut prober = OracleProber::with_driver(target(&listener.address.to_string()), driver.clone());
    let refused = attempt(&mut prober).await;
    assert_eq!(found(&refused), (FindingClass::Auth, Stage::Login, true), "{refused:?}");
    for _ in 0..20 {
        assert_eq!(prober.attempt().await, None);
    }
    skip(REACHABILITY_INTERVAL).await;
    let reachable = attempt(&mut prober).await;
    assert_eq!(
        found(&reachable),
        (FindingClass::Auth, Stage::Login, true),
        "{reachable:?}"
    );
    assert_eq!((driver.logins(), listener.heard().len()), (1, 2));
    driver.is_told(FakeDriver::primary());
    skip(LOGIN_BACKOFF).await;
    assert!(serves(&attempt(&mut prober).await));
    Ok(())
}

#[tokio::test]
async fn a_driver_that_panics_or_hangs_is_contained() -> Result<()> {
    let listener = Listener::start(vec![accept()]).await?;
    let driver = FakeDriver::new(Told::Panic);
    let mut prober = OracleProber::with_driver(target(&listener.address.to_string()), driver.clone());
    let panicked = attempt(&mut prober).await;
    assert_eq!(
        found(&panicked),
        (FindingClass::Misconfigured, Stage::Login, true),
        "{panicked:?}"
    );

    // More often than there are threads: every one of them comes back when its attempt is over.
    driver.is_told(Told::Hang);
    let mut hangers = Vec::new();
    for _ in 0..quorate_probes::oracle::driver::MAX_DRIVER_THREADS {
        let target = target(&listener.address.to_string());
        hangers.push(OracleProber::with_driver(target, driver.clone()));
    }
    let hung = futures_util::future::join_all(hangers.iter_mut().map(attempt)).await;
    for observation in hung {
        assert_eq!(
            found(&observation),
            (FindingClass::Timeout, Stage::Login, true),
            "{observation:?}"
        );
    }
    driver.is_told(FakeDriver::primary());
    let back = attempt(&mut prober).await;
    assert!(serves(&back), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn oracles_own_driver_meets_the_stub_and_comes_back_with_words() -> Result<()> {
    // It accepts and then says nothing that a database would say.
    let listener = Listener::start(vec![accept()]).await?;
    let mut prober = OracleProber::new(target(&listener.address.to_string()));
    let observation = attempt(&mut prober).await;
    assert_eq!(observation.stage, Stage::Login, "{observation:?}");
    assert!(
        matches!(
            observation.class,
            FindingClass::Timeout | FindingClass::WrongAnswer | FindingClass::Misconfigured
        ),
        "{observation:?}"
    );
    assert!(!observation.engine_text.contains("monitor-pw"), "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn a_connection_test_names_the_step_that_fails() -> Result<()> {
    use FindingClass::{Auth, Ok as Good, ServerStarting};
    let listener = Listener::start(vec![accept()]).await?;
    let steps = async |listener: &Listener, told: Told| {
        let driver: Arc<dyn Driver> = FakeDriver::new(told);
        let results = test_connection(&target(&listener.address.to_string()), &driver).await;
        results
            .iter()
            .map(|step| (step.stage, step.class, step.text.clone()))
            .collect::<Vec<_>>()
    };
    let good = steps(&listener, FakeDriver::primary()).await;
    let stages: Vec<_> = good.iter().map(|(stage, class, _)| (*stage, *class)).collect();
    let all = [
        Stage::Dns,
        Stage::Tcp,
        Stage::Tls,
        Stage::Login,
        Stage::Query,
        Stage::Role,
    ];
    assert_eq!(stages, all.map(|stage| (stage, Good)), "{good:?}");
    assert!(good[2].2.contains("reachability only"), "{good:?}");
    assert_eq!(good[5].2, "writable; Oracle 19.0.0.0.0; READ WRITE");

    let refused = steps(&listener, Told::Refuse("ORA-28000: the account is locked")).await;
    assert_eq!(
        refused.last().map(|(stage, class, _)| (*stage, *class)),
        Some((Stage::Login, Auth)),
        "{refused:?}"
    );
    let blocked = Listener::start(vec![refuse_code(12528)]).await?;
    let blocked = steps(&blocked, FakeDriver::primary()).await;
    assert_eq!(
        blocked.last().map(|(_, class, _)| *class),
        Some(ServerStarting),
        "{blocked:?}"
    );
    let _: &dyn Driver = &ThinDriver;
    Ok(())
}

/// Moves the prober's clock; real input and output goes on with the real one.
async fn skip(duration: std::time::Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}
