//! Accounts, connection limits and TLS.

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage,
    mysql::{FRESH_EVERY_CYCLES, LOGIN_BACKOFF, MysqlProber, MysqlTls, REACHABILITY_INTERVAL},
};
use quorate_real_parts::{ServerDirectory, mariadb::MONITOR};

use crate::{Fixture, READY, attempt, found, skip, target};

#[tokio::test]
async fn a_refused_login_pauses_logins_but_not_reachability() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let mut prober = MysqlProber::new(target(&fixture.server.address(), "wrong", "monitored"));
    let refused = attempt(&mut prober).await;
    assert_eq!(found(&refused), (FindingClass::Auth, Stage::Login, true), "{refused:?}");
    assert!(
        refused.engine_text.contains("1045") && refused.engine_text.contains("Access denied"),
        "{refused:?}"
    );

    let before = fixture.status("Connections").await?;
    for _ in 0..20 {
        assert_eq!(prober.attempt().await, None);
    }
    assert_eq!(
        fixture.status("Connections").await? - before,
        1,
        "only the second count itself"
    );

    // Each check is spoken to its end: a refused login of nobody, no aborted handshake (those get a host blocked).
    let denied_before = fixture.status("Access_denied_errors").await?;
    for _ in 0..4 {
        skip(REACHABILITY_INTERVAL).await;
        let reachable = attempt(&mut prober).await;
        assert_eq!(
            found(&reachable),
            (FindingClass::Auth, Stage::Login, true),
            "{reachable:?}"
        );
        assert_eq!(prober.attempt().await, None);
    }
    assert_eq!(fixture.status("Access_denied_errors").await? - denied_before, 4);
    fixture.server.kill()?;
    skip(REACHABILITY_INTERVAL).await;
    let gone = attempt(&mut prober).await;
    assert_eq!(found(&gone), (FindingClass::Refused, Stage::Tcp, true), "{gone:?}");

    // The password is corrected on the server; the next login after the pause succeeds.
    fixture.server.restart(READY).await?;
    let corrected = format!("ALTER USER {} IDENTIFIED BY 'wrong'", MONITOR.user);
    fixture.server.exec(&[&corrected]).await?;
    skip(LOGIN_BACKOFF).await;
    let back = attempt(&mut prober).await;
    assert_eq!(found(&back), (FindingClass::Ok, Stage::Role, true), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_login_refused_later_leaves_the_kept_session_working() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut prober = MysqlProber::new(fixture.target());
    attempt(&mut prober).await;
    let changed = format!("ALTER USER {} IDENTIFIED BY 'other'", MONITOR.user);
    fixture.server.exec(&[&changed]).await?;
    let mut findings = Vec::new();
    for _ in 0..=FRESH_EVERY_CYCLES {
        findings.push(found(&attempt(&mut prober).await));
    }
    let kept = (FindingClass::Ok, Stage::Role, false);
    let mut expected = vec![kept; FRESH_EVERY_CYCLES as usize + 1];
    expected[FRESH_EVERY_CYCLES as usize - 1] = (FindingClass::Auth, Stage::Login, true);
    assert_eq!(findings, expected);
    Ok(())
}

#[tokio::test]
async fn a_full_server_is_told_apart_and_an_ended_session_is_no_failure() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut with_session = MysqlProber::new(fixture.target());
    attempt(&mut with_session).await;

    let sessions = format!(
        "SELECT id FROM information_schema.processlist WHERE user = '{}'",
        MONITOR.user
    );
    let session: u64 = fixture.server.query_first(&sessions).await?.context("a session")?;
    fixture.server.exec(&[&format!("KILL CONNECTION {session}")]).await?;
    let after_kill = attempt(&mut with_session).await;
    assert_eq!(
        found(&after_kill),
        (FindingClass::Ok, Stage::Role, true),
        "{after_kill:?}"
    );

    fixture.server.exec(&["SET GLOBAL max_connections = 10"]).await?;
    let mut crowd = Vec::new();
    while crowd.len() < 20 {
        match fixture.server.root_connection().await {
            Ok(connection) => crowd.push(connection),
            Err(_) => break,
        }
    }
    let mut newcomer = MysqlProber::new(fixture.target());
    let full = attempt(&mut newcomer).await;
    assert_eq!(
        found(&full),
        (FindingClass::TooManyConnections, Stage::Login, true),
        "{full:?}"
    );
    assert!(full.engine_text.contains("1040"), "{full:?}");
    let kept = attempt(&mut with_session).await;
    assert_eq!(found(&kept), (FindingClass::Ok, Stage::Role, false), "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn tls_is_verified_against_the_given_ca() -> Result<()> {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let files = ServerDirectory::new()?;
    let (cert, key) = (files.path().join("server.crt"), files.path().join("server.key"));
    std::fs::write(&cert, own.cert.pem())?;
    std::fs::write(&key, own.signing_key.serialize_pem())?;
    let lines = vec![
        format!("ssl-cert={}", cert.display()),
        format!("ssl-key={}", key.display()),
    ];
    let fixture = Fixture::start_with(lines).await?;

    let verify = |pem: String| MysqlTls::Verify {
        ca_pem: pem.into_bytes(),
    };
    let mut trusted = MysqlProber::new(fixture.target().with_tls(verify(own.cert.pem())));
    let good = attempt(&mut trusted).await;
    assert_eq!(good.class, FindingClass::Ok, "{good:?}");
    let mut distrusted = MysqlProber::new(fixture.target().with_tls(verify(other.cert.pem())));
    let bad = attempt(&mut distrusted).await;
    assert_eq!(found(&bad), (FindingClass::Tls, Stage::Tls, true), "{bad:?}");
    Ok(())
}
