//! The story of an API monitor: it switches nothing, it alerts.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quorate_real_parts::api::{ApiServer, Behaviour};
use serde_json::{Value, json};

use super::report::Report;
use crate::cluster::DevCluster;
use crate::scenario::{INSTANCE, create_application, create_tested_monitor};
use crate::sides::wait_event;

const STATE_TIMEOUT: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);

/// The act.
pub async fn play(cluster: &DevCluster, report: &mut Report) -> Result<()> {
    let rest = &cluster.rest;
    report.act("api: two HTTP services run, and a monitor asks for their health");
    let (dc1, dc2) = (
        ApiServer::start(Behaviour::Status(200)).await?,
        ApiServer::start(Behaviour::Status(200)).await?,
    );
    report.say(&format!(
        "dc1 is http://{}/health, dc2 is http://{}/health",
        dc1.address(),
        dc2.address()
    ));
    let side = |address: String| json!({"cloud": "private", "region": "r", "scheme": "http", "address": address, "path": "/health"});
    let application = create_application(rest, "shop-api").await?;
    let body = json!({
        "application": application, "probing": true, "timing": {"retry_interval_ms": 1000},
        "api": {"successes": 1, "failures": 3, "dc1": side(dc1.address()), "dc2": side(dc2.address())},
    });
    let monitor = create_tested_monitor(rest, body).await?;
    wait_states(cluster, &monitor, "healthy", "healthy").await?;
    report.say("both are healthy");

    report.act("api: dc1's service answers 503");
    let began = Instant::now();
    dc1.set(Behaviour::Status(503));
    let view = wait_states(cluster, &monitor, "abnormal", "healthy").await?;
    let told = view["dc1"]["votes"].to_string();
    ensure!(
        told.contains("status 503"),
        "the service's own words are missing: {told}"
    );
    let event = wait_event(rest, "database-abnormal", &monitor, STATE_TIMEOUT).await?;
    report.finding(format!(
        "api: abnormal after {} ms and alerted: {}",
        began.elapsed().as_millis(),
        event["title"]
            .as_str()
            .unwrap_or_else(|| event["code"].as_str().unwrap_or_default())
    ));

    report.act("api: dc1's service recovers");
    dc1.set(Behaviour::Status(200));
    wait_states(cluster, &monitor, "healthy", "healthy").await?;
    report.finding("api: healthy again".to_owned());
    Ok(())
}

async fn wait_states(cluster: &DevCluster, monitor: &str, dc1: &str, dc2: &str) -> Result<Value> {
    let deadline = Instant::now() + STATE_TIMEOUT;
    loop {
        let view = cluster.rest.get(&format!("{INSTANCE}/monitors/{monitor}")).await?;
        if view["dc1"]["state"] == dc1 && view["dc2"]["state"] == dc2 {
            return Ok(view);
        }
        ensure!(Instant::now() < deadline, "the sides are not {dc1} / {dc2}: {view}");
        tokio::time::sleep(POLL).await;
    }
}
