//! Passwords, TLS and the connection test, against a real Elasticsearch.

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage, Tls,
    elasticsearch::{ElasticsearchProber, ElasticsearchTarget, LOGIN_BACKOFF, test_connection},
    kept::{FRESH_EVERY_CYCLES, REACHABILITY_INTERVAL},
};
use quorate_real_parts::search::MONITOR;

use crate::{ACCESS_TIMEOUT, attempt, counting, elasticsearch, found, plain, serves, skip, socket, target, verified};

const REFUSAL: &str = r#"{"error":{"type":"security_exception","reason":"unable to authenticate"},"status":401}"#;

#[tokio::test]
async fn a_login_over_verified_tls_reads_the_health() -> Result<()> {
    let shared = elasticsearch().await?;
    shared.server.turn_green().await?;
    let address = shared.server.address();
    for tls in [verified(&shared.certificate), Tls::Required] {
        let mut prober =
            ElasticsearchProber::new(target(&[&address], Some(MONITOR.password), tls.clone(), ACCESS_TIMEOUT));
        let observation = attempt(&mut prober).await;
        assert!(serves(&observation), "{observation:?}");
        let role = observation.role.context("a role")?;
        assert_eq!(
            (role.read_only, role.server_version.as_str()),
            (false, "Elasticsearch 8.19.4")
        );
    }
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let distrusted = target(
        &[&address],
        Some(MONITOR.password),
        verified(&other.cert.pem()),
        ACCESS_TIMEOUT,
    );
    let observation = attempt(&mut ElasticsearchProber::new(distrusted)).await;
    assert_eq!(
        found(&observation),
        (FindingClass::Tls, Stage::Tls, true),
        "{observation:?}"
    );
    // Without TLS the server hangs up; that is no health either.
    let unencrypted = plain(&[&address], ACCESS_TIMEOUT);
    let observation = attempt(&mut ElasticsearchProber::new(unencrypted)).await;
    assert_eq!(
        (observation.class, observation.fresh),
        (FindingClass::WrongAnswer, true),
        "{observation:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_real_refusal_pauses_every_login_for_fifteen_minutes() -> Result<()> {
    let mut shared = elasticsearch().await?;
    shared.server.turn_green().await?;
    let proxy = counting::proxy(socket(&shared.server.address())).await?;
    let address = proxy.address.to_string();
    let wrong = || {
        target(
            &[&address],
            Some("wrong"),
            verified(&shared.certificate),
            ACCESS_TIMEOUT,
        )
    };
    let mut prober = ElasticsearchProber::new(wrong());
    let refused = attempt(&mut prober).await;
    assert_eq!(found(&refused), (FindingClass::Auth, Stage::Login, true), "{refused:?}");
    assert!(
        refused
            .engine_text
            .contains("unable to authenticate user [quorate_mon]")
            && refused.engine_text.contains("15 minutes"),
        "{refused:?}"
    );
    for _ in 0..20 {
        assert_eq!(prober.attempt().await, None);
    }
    assert_eq!(proxy.counts.connections(), 1);

    // The reachability check gets an answer without a login.
    skip(REACHABILITY_INTERVAL).await;
    let reachable = attempt(&mut prober).await;
    assert_eq!(
        found(&reachable),
        (FindingClass::Auth, Stage::Login, true),
        "{reachable:?}"
    );
    assert_eq!(proxy.counts.connections(), 2);

    // A silent server is seen in spite of the pause.
    shared.server.pause()?;
    skip(REACHABILITY_INTERVAL).await;
    let silent = attempt(&mut prober).await;
    shared.server.resume()?;
    assert_eq!(silent.class, FindingClass::Timeout, "{silent:?}");
    Ok(())
}

#[tokio::test]
async fn one_login_leaves_for_a_refused_account_whoever_asks() -> Result<()> {
    let node = counting::node("401 Unauthorized", REFUSAL).await?;
    let address = node.address.to_string();
    let second = counting::node("401 Unauthorized", REFUSAL).await?;
    let of = |password: &str| -> ElasticsearchTarget {
        let addresses = [address.as_str(), &second.address.to_string()].map(str::to_owned);
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        target(&addresses, Some(password), Tls::Off, ACCESS_TIMEOUT)
    };
    let logins = || node.counts.logins() + second.counts.logins();
    let mut prober = ElasticsearchProber::new(of("wrong"));
    assert_eq!(attempt(&mut prober).await.class, FindingClass::Auth);
    assert_eq!(logins(), 1, "the second node is not asked");

    // Every ten seconds, to the end of the pause less one interval: reachability only.
    let checks = LOGIN_BACKOFF.as_secs() / REACHABILITY_INTERVAL.as_secs() - 2;
    for _ in 0..checks {
        skip(REACHABILITY_INTERVAL).await;
        let checked = attempt(&mut prober).await;
        assert_eq!(checked.class, FindingClass::Auth, "{checked:?}");
    }
    // A new prober of the same account (the monitor was retimed, the task failed) and a connection test know of it.
    let mut restarted = ElasticsearchProber::new(of("wrong"));
    let remembered = attempt(&mut restarted).await;
    assert_eq!(
        found(&remembered),
        (FindingClass::Auth, Stage::Login, true),
        "{remembered:?}"
    );
    for test in test_connection(&of("wrong")).await {
        let last = test.steps.last().context("a step")?;
        assert_eq!((last.stage, last.class), (Stage::Login, FindingClass::Auth), "{test:?}");
    }
    assert_eq!(logins(), 1);

    // A corrected password is another login, tried once at once.
    let mut corrected = ElasticsearchProber::new(of("corrected"));
    assert_eq!(attempt(&mut corrected).await.class, FindingClass::Auth);
    assert_eq!(corrected.attempt().await, None);
    assert_eq!(logins(), 2);

    // The pause ends, for the restarted prober with the first refusal's.
    skip(REACHABILITY_INTERVAL * 3).await;
    assert_eq!(attempt(&mut restarted).await.class, FindingClass::Auth);
    assert_eq!(logins(), 3);
    Ok(())
}

#[tokio::test]
async fn a_password_changed_under_a_kept_connection_is_one_login_too() -> Result<()> {
    let banner = r#"{"cluster_name":"c","version":{"number":"8.19.4"},"status":"green"}"#;
    let good = counting::node("200 OK", banner).await?;
    let refusing = counting::node("401 Unauthorized", REFUSAL).await?;
    // What the first node is dialled as; moved to the second one by dropping it.
    let addresses = [good.address.to_string(), refusing.address.to_string()];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut prober = ElasticsearchProber::new(target(&addresses, Some("pw"), Tls::Off, ACCESS_TIMEOUT));
    for _ in 0..FRESH_EVERY_CYCLES / 2 {
        assert!(serves(&attempt(&mut prober).await));
    }
    assert_eq!(refusing.counts.logins(), 0);
    drop(good);
    let refused = loop {
        let observation = attempt(&mut prober).await;
        if !serves(&observation) {
            break observation;
        }
    };
    assert_eq!(refused.class, FindingClass::Auth, "{refused:?}");
    for _ in 0..20 {
        prober.attempt().await;
    }
    assert_eq!(refusing.counts.logins(), 1);
    Ok(())
}

#[tokio::test]
async fn a_connection_test_names_the_step_that_fails() -> Result<()> {
    let shared = elasticsearch().await?;
    shared.server.turn_green().await?;
    let address = shared.server.address();
    let ports = quorate_real_parts::PortBlock::claim()?;
    let dead = crate::dead_address(&ports);
    let good = target(
        &[&dead, &address],
        Some(MONITOR.password),
        verified(&shared.certificate),
        ACCESS_TIMEOUT,
    );
    let tests = test_connection(&good).await;
    let steps = |index: usize| -> Vec<(Stage, FindingClass)> {
        let results = &tests[index].steps;
        results.iter().map(|result| (result.stage, result.class)).collect()
    };
    use FindingClass::{Auth, Ok as Good, Refused};
    assert_eq!(steps(0), vec![(Stage::Dns, Good), (Stage::Tcp, Refused)]);
    let all = [
        Stage::Dns,
        Stage::Tcp,
        Stage::Tls,
        Stage::Login,
        Stage::Query,
        Stage::Role,
    ];
    assert_eq!(steps(1), all.map(|stage| (stage, Good)));
    let texts: Vec<&str> = tests[1].steps.iter().map(|result| result.text.as_str()).collect();
    assert_eq!(texts[2], "TLS verified");
    assert_eq!(texts[3], "logged in as quorate_mon");
    assert!(
        texts[4].starts_with("Elasticsearch 8.19.4, cluster quorate-"),
        "{texts:?}"
    );
    assert_eq!(texts[5], "green, 1 nodes, 0 unassigned shards");

    let wrong = target(
        &[&address],
        Some("wrong too"),
        verified(&shared.certificate),
        ACCESS_TIMEOUT,
    );
    let tests = test_connection(&wrong).await;
    let last = tests[0].steps.last().context("a step")?;
    assert_eq!((last.stage, last.class), (Stage::Login, Auth), "{last:?}");
    Ok(())
}
