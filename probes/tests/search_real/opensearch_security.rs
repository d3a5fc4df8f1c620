//! OpenSearch with its security plugin: passwords and TLS.

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage, Tls,
    elasticsearch::{ElasticsearchProber, test_connection},
};
use quorate_real_parts::search::MONITOR;

use crate::{ACCESS_TIMEOUT, attempt, found, secured_opensearch, serves, target, verified};

#[tokio::test]
async fn the_security_plugin_is_no_other_product() -> Result<()> {
    let shared = secured_opensearch().await?;
    shared.server.turn_green().await?;
    let address = shared.server.address();
    for tls in [verified(&shared.certificate), Tls::Required] {
        let target = target(&[&address], Some(MONITOR.password), tls, ACCESS_TIMEOUT);
        let observation = attempt(&mut ElasticsearchProber::new(target)).await;
        assert!(serves(&observation), "{observation:?}");
        let role = observation.role.context("a role")?;
        assert_eq!(
            (role.read_only, role.server_version.as_str()),
            (false, "OpenSearch 2.19.1")
        );
    }
    // A block is seen by an account that may read the cluster's state.
    shared.server.set_read_only(true).await?;
    let seen = target(
        &[&address],
        Some(MONITOR.password),
        verified(&shared.certificate),
        ACCESS_TIMEOUT,
    );
    let observation = attempt(&mut ElasticsearchProber::new(seen)).await;
    shared.server.set_read_only(false).await?;
    assert_eq!(observation.class, FindingClass::ReadOnly, "{observation:?}");

    let tested = target(
        &[&address],
        Some(MONITOR.password),
        verified(&shared.certificate),
        ACCESS_TIMEOUT,
    );
    let tests = test_connection(&tested).await;
    let steps = &tests.first().context("one address")?.steps;
    let stages: Vec<Stage> = steps.iter().map(|step| step.stage).collect();
    assert_eq!(
        stages,
        [
            Stage::Dns,
            Stage::Tcp,
            Stage::Tls,
            Stage::Login,
            Stage::Query,
            Stage::Role
        ],
        "{steps:?}"
    );
    assert!(steps.iter().all(|step| step.class == FindingClass::Ok), "{steps:?}");

    // Refusals last, each with an account of its own: they rest for a quarter of an hour.
    for password in [Some("wrong"), None] {
        let refused = target(&[&address], password, verified(&shared.certificate), ACCESS_TIMEOUT);
        let observation = attempt(&mut ElasticsearchProber::new(refused)).await;
        assert_eq!(
            found(&observation),
            (FindingClass::Auth, Stage::Login, true),
            "{password:?}: {observation:?}"
        );
    }
    Ok(())
}
