//! Accounts, connection limits and TLS.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage, Tls,
    kept::{FRESH_EVERY_CYCLES, LOGIN_BACKOFF, REACHABILITY_INTERVAL},
    postgresql::{PostgresqlProber, test_connection},
};
use quorate_real_parts::{ServerDirectory, postgresql::MONITOR};

use crate::{
    Fixture,
    common::{READY, attempt, attempt_until, certificate, found, skip, steps},
    target,
};

#[tokio::test]
async fn a_refused_login_pauses_logins_but_not_reachability() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let mut prober = PostgresqlProber::new(target(&fixture.server.address(), "wrong"));
    let refused = attempt(&mut prober).await;
    assert_eq!(found(&refused), (FindingClass::Auth, Stage::Login, true), "{refused:?}");
    assert!(refused.engine_text.contains("28P01"), "{refused:?}");
    assert!(
        refused.engine_text.contains("password authentication failed"),
        "{refused:?}"
    );
    for _ in 0..20 {
        assert_eq!(prober.attempt().await, None);
    }
    for _ in 0..3 {
        skip(REACHABILITY_INTERVAL).await;
        let reachable = attempt(&mut prober).await;
        assert_eq!(
            found(&reachable),
            (FindingClass::Auth, Stage::Login, true),
            "{reachable:?}"
        );
        assert_eq!(prober.attempt().await, None);
    }
    fixture.server.kill()?;
    skip(REACHABILITY_INTERVAL).await;
    let gone = attempt(&mut prober).await;
    assert_eq!(found(&gone), (FindingClass::Refused, Stage::Tcp, true), "{gone:?}");

    fixture.server.start()?;
    fixture.server.wait_ready(READY).await?;
    let corrected = format!("ALTER ROLE {} PASSWORD 'wrong'", MONITOR.user);
    fixture.server.exec(&[&corrected]).await?;
    skip(LOGIN_BACKOFF).await;
    let back = attempt(&mut prober).await;
    assert_eq!(found(&back), (FindingClass::Ok, Stage::Role, true), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn an_expired_password_a_missing_role_and_a_missing_database_are_faults_of_the_login() -> Result<()> {
    let fixture = Fixture::start().await?;
    let expired = format!("ALTER ROLE {} VALID UNTIL '2001-01-01'", MONITOR.user);
    let mut prober = fixture.prober();
    attempt(&mut prober).await;
    fixture.server.exec(&[&expired]).await?;
    // The kept session goes on; the next fresh connection meets the refusal.
    let mut findings = Vec::new();
    for _ in 0..=FRESH_EVERY_CYCLES {
        findings.push(found(&attempt(&mut prober).await));
    }
    let mut expected = vec![(FindingClass::Ok, Stage::Role, false); FRESH_EVERY_CYCLES as usize + 1];
    expected[FRESH_EVERY_CYCLES as usize - 1] = (FindingClass::Auth, Stage::Login, true);
    assert_eq!(findings, expected);

    fixture
        .server
        .exec(&[&format!("ALTER ROLE {} VALID UNTIL 'infinity' NOLOGIN", MONITOR.user)])
        .await?;
    let locked = attempt(&mut fixture.prober()).await;
    assert_eq!(locked.class, FindingClass::Auth, "{locked:?}");
    assert!(locked.engine_text.contains("not permitted to log in"), "{locked:?}");
    Ok(())
}

#[tokio::test]
async fn a_full_server_is_told_apart_and_an_ended_session_is_no_failure() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut with_session = fixture.prober();
    attempt(&mut with_session).await;
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
        MONITOR.user
    );
    fixture.server.exec(&[&end]).await?;
    let after = attempt(&mut with_session).await;
    assert_eq!(found(&after), (FindingClass::Ok, Stage::Role, true), "{after:?}");

    // Full for this role, then for everybody without special rights.
    fixture
        .server
        .exec(&[&format!("ALTER ROLE {} CONNECTION LIMIT 1", MONITOR.user)])
        .await?;
    let limited = attempt(&mut fixture.prober()).await;
    assert_eq!(
        found(&limited),
        (FindingClass::TooManyConnections, Stage::Login, true),
        "{limited:?}"
    );
    assert!(limited.engine_text.contains("53300"), "{limited:?}");
    fixture
        .server
        .exec(&[&format!("ALTER ROLE {} CONNECTION LIMIT -1", MONITOR.user)])
        .await?;
    let mut crowd = Vec::new();
    while let Ok(session) = fixture.server.login(MONITOR, "postgres").await {
        crowd.push(session);
        assert!(crowd.len() < 100, "the server never fills");
    }
    let full = attempt(&mut fixture.prober()).await;
    assert_eq!(
        found(&full),
        (FindingClass::TooManyConnections, Stage::Login, true),
        "{full:?}"
    );
    let kept = attempt(&mut with_session).await;
    assert_eq!(found(&kept), (FindingClass::Ok, Stage::Role, false), "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn tls_is_off_required_or_verified() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let own = certificate(&directory, "own")?;
    let other = certificate(&directory, "other")?;
    let fixture = Fixture::start_in(directory, |options| {
        options.extra_lines = vec![
            "ssl = on".to_owned(),
            format!("ssl_cert_file = '{}'", own.certificate.display()),
            format!("ssl_key_file = '{}'", own.key.display()),
        ];
    })
    .await?;
    let verified = |pem: &str| Tls::Verified {
        ca_pem: Some(pem.as_bytes().to_vec()),
    };
    let seen = async |tls: Tls| attempt(&mut PostgresqlProber::new(fixture.target().with_tls(tls).expect("TLS"))).await;
    for tls in [Tls::Off, Tls::Required, verified(&own.pem)] {
        let good = seen(tls).await;
        assert_eq!(good.class, FindingClass::Ok, "{good:?}");
    }
    let bad = seen(verified(&other.pem)).await;
    assert_eq!(found(&bad), (FindingClass::Tls, Stage::Tls, true), "{bad:?}");

    let encrypted = fixture.target().with_tls(verified(&own.pem))?;
    let results = test_connection(&encrypted).await;
    assert_eq!(results[2].text, format!("logged in as {}, TLS verified", MONITOR.user));

    // A server that takes encrypted connections only refuses the login in its own words.
    let hba = "COPY (SELECT 'hostssl all quorate_mon 127.0.0.1/32 scram-sha-256' UNION ALL \
        SELECT 'host all admin 127.0.0.1/32 scram-sha-256') TO PROGRAM 'cat > pg_hba.conf'";
    fixture.server.exec(&[hba, "SELECT pg_reload_conf()"]).await?;
    let refused = attempt_until(FindingClass::Auth, READY, &mut Fresh(&fixture)).await;
    assert!(refused.engine_text.contains("no encryption"), "{refused:?}");
    let good = seen(Tls::Required).await;
    assert_eq!(good.class, FindingClass::Ok, "{good:?}");
    Ok(())
}

/// A new prober for every attempt.
struct Fresh<'a>(&'a Fixture);

impl quorate_probes::Prober for Fresh<'_> {
    fn attempt(&mut self) -> futures_util::future::BoxFuture<'_, Option<quorate_probes::Observation>> {
        Box::pin(async { self.0.prober().attempt().await })
    }
}

#[tokio::test]
async fn a_server_without_encryption_is_no_server_for_who_demands_it() -> Result<()> {
    let fixture = Fixture::start().await?;
    let demanding = fixture.target().with_tls(Tls::Required)?;
    let refused = attempt(&mut PostgresqlProber::new(demanding.clone())).await;
    assert_eq!(found(&refused), (FindingClass::Tls, Stage::Tls, true), "{refused:?}");
    let results = steps(&test_connection(&demanding).await);
    assert_eq!(results.last(), Some(&(Stage::Tls, FindingClass::Tls)), "{results:?}");
    Ok(())
}
