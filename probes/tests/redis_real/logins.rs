//! Accounts, connection limits and TLS.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage, Tls,
    kept::{FRESH_EVERY_CYCLES, LOGIN_BACKOFF, REACHABILITY_INTERVAL},
    redis::{Account, RedisProber, test_connection},
};
use quorate_real_parts::{ServerDirectory, redis::MONITOR};

use crate::{
    Fixture,
    common::{READY, attempt, certificate, found, skip, steps},
    monitor, target,
};

#[tokio::test]
async fn a_refused_login_pauses_logins_but_not_reachability() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let mut prober = RedisProber::new(target(&fixture.server.address(), monitor("wrong")));
    let refused = attempt(&mut prober).await;
    assert_eq!(found(&refused), (FindingClass::Auth, Stage::Login, true), "{refused:?}");
    assert!(refused.engine_text.contains("WRONGPASS"), "{refused:?}");
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
    let _: String = fixture
        .server
        .admin(&["ACL", "SETUSER", MONITOR.user, ">wrong"])
        .await?;
    skip(LOGIN_BACKOFF).await;
    let back = attempt(&mut prober).await;
    assert_eq!(found(&back), (FindingClass::Ok, Stage::Role, true), "{back:?}");
    Ok(())
}

#[tokio::test]
async fn a_stranger_a_disabled_account_and_a_missing_right_are_faults_of_the_login() -> Result<()> {
    let fixture = Fixture::start().await?;
    let stranger = attempt(&mut RedisProber::new(target(
        &fixture.server.address(),
        Account::default(),
    )))
    .await;
    assert_eq!(
        found(&stranger),
        (FindingClass::Auth, Stage::Login, true),
        "{stranger:?}"
    );
    assert!(stranger.engine_text.contains("NOAUTH"), "{stranger:?}");

    let mut prober = fixture.prober();
    attempt(&mut prober).await;
    let _: String = fixture.server.admin(&["ACL", "SETUSER", MONITOR.user, "-info"]).await?;
    let unable = attempt(&mut fixture.prober()).await;
    assert_eq!(unable.class, FindingClass::Auth, "{unable:?}");
    assert!(unable.engine_text.contains("NOPERM"), "{unable:?}");

    let _: String = fixture
        .server
        .admin(&["ACL", "SETUSER", MONITOR.user, "+info", "off"])
        .await?;
    let mut findings = Vec::new();
    for _ in 0..FRESH_EVERY_CYCLES {
        findings.push(attempt(&mut prober).await.class);
    }
    assert!(findings.contains(&FindingClass::Auth), "{findings:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_without_passwords_needs_none_and_takes_none() -> Result<()> {
    let fixture = Fixture::start_in(ServerDirectory::new()?, |options| options.passwordless = true).await?;
    let address = fixture.server.address();
    let open = attempt(&mut RedisProber::new(target(&address, Account::default()))).await;
    assert_eq!(open.class, FindingClass::Ok, "{open:?}");
    let password_of_nobody = Account {
        password: monitor("any").password,
        ..Account::default()
    };
    let taken = attempt(&mut RedisProber::new(target(&address, password_of_nobody))).await;
    assert_eq!(taken.class, FindingClass::Auth, "{taken:?}");
    Ok(())
}

#[tokio::test]
async fn a_full_server_is_told_apart_and_an_ended_session_is_no_failure() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut with_session = fixture.prober();
    attempt(&mut with_session).await;
    let _: i64 = fixture.server.admin(&["CLIENT", "KILL", "USER", MONITOR.user]).await?;
    let after = attempt(&mut with_session).await;
    assert_eq!(found(&after), (FindingClass::Ok, Stage::Role, true), "{after:?}");

    let _admin = fixture.server.login(quorate_real_parts::redis::ADMIN).await?;
    let _: String = fixture.server.admin(&["CONFIG", "SET", "maxclients", "2"]).await?;
    for _ in 0..5 {
        let full = attempt(&mut fixture.prober()).await;
        assert_eq!(
            found(&full),
            (FindingClass::TooManyConnections, Stage::Login, true),
            "{full:?}"
        );
        assert!(full.engine_text.contains("max number of clients"), "{full:?}");
    }
    let kept = attempt(&mut with_session).await;
    assert_eq!(found(&kept), (FindingClass::Ok, Stage::Role, false), "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn tls_is_required_or_verified_and_plain_text_is_told_so() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let own = certificate(&directory, "own")?;
    let other = certificate(&directory, "other")?;
    let files = (own.certificate.clone(), own.key.clone());
    let fixture = Fixture::start_in(directory, |options| options.tls = Some(files)).await?;
    let verified = |pem: &str| Tls::Verified {
        ca_pem: Some(pem.as_bytes().to_vec()),
    };
    let seen = async |tls: Tls| attempt(&mut RedisProber::new(fixture.target().with_tls(tls).expect("TLS"))).await;
    for tls in [Tls::Required, verified(&own.pem)] {
        let good = seen(tls).await;
        assert_eq!(good.class, FindingClass::Ok, "{good:?}");
    }
    for tls in [Tls::Off, verified(&other.pem)] {
        let bad = seen(tls).await;
        assert_eq!(found(&bad), (FindingClass::Tls, Stage::Tls, true), "{bad:?}");
    }
    let results = test_connection(&fixture.target().with_tls(verified(&own.pem))?, 0).await;
    assert_eq!(results[2].text, format!("logged in as {}, TLS verified", MONITOR.user));

    // And the other way round: a server that has never heard of encryption.
    let plain = Fixture::start().await?;
    let demanding = plain.target().with_tls(Tls::Required)?;
    let results = steps(&test_connection(&demanding, 0).await);
    assert_eq!(results.last().map(|last| last.0), Some(Stage::Tls), "{results:?}");
    Ok(())
}
