//! A whole application of 100 monitors switches: one revision, and the time to the last watcher.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use quorate_real_parts::redis::RedisPair;
use serde_json::json;

use super::{Programs, cluster, directory};
use crate::cluster::DevCluster;
use crate::kv;
use crate::scenario::{INSTANCE, create_application, create_monitor};
use crate::statistics::summary;
use crate::watcher::Watcher;

const MONITORS: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(120);
const SWITCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Switches there and back `runs` times and prints the figures.
///
/// # Errors
/// A switch that is refused, is not one revision, or is not seen by a watcher.
pub async fn run(programs: &Programs, runs: usize) -> Result<()> {
    let directory = directory()?;
    let cluster = cluster(programs, &directory).await?;
    let redis = RedisPair::start(&directory.path().join("databases"), false).await?;
    let application = create_application(&cluster.rest, "hundred").await?;
    for number in 0..MONITORS {
        create_monitor(&cluster.rest, monitor(&application, number, &redis)).await?;
    }
    super::monitors::wait_all_healthy(&cluster, MONITORS, TIMEOUT).await?;
    let mut watchers = Vec::new();
    for node in &cluster.info.nodes {
        let watcher = Watcher::start(kv::as_sdk(&cluster.info, &node.kv)?, "/mas-monitor/status/", 0);
        watcher.wait_watching(SWITCH_TIMEOUT).await?;
        watchers.push((node.name.clone(), watcher));
    }
    let (mut answers, mut watched) = (Vec::new(), Vec::new());
    for number in 0..runs * 2 {
        let to = if number % 2 == 0 { "dc2" } else { "dc1" };
        let (answer, last) = switch(&cluster, &application, to, &watchers).await?;
        answers.push(answer);
        watched.push(last);
    }
    println!(
        "an application of {MONITORS} monitors, {} switches, each one revision",
        runs * 2
    );
    println!("request to answer:       {}", summary(&mut answers));
    println!("request to last watcher: {} (promised 100 ms)", summary(&mut watched));
    drop(redis);
    cluster.stop().await
}

fn monitor(application: &str, number: usize, redis: &RedisPair) -> serde_json::Value {
    let account = quorate_real_parts::redis::MONITOR;
    let side = |address: String, region: &str| {
        json!({
            "cloud": "private", "region": region, "zones": [], "addresses": [address],
            "user": account.user, "password": account.password,
        })
    };
    json!({
        "application": application,
        "name": format!("member-{number}"),
        "probing": true,
        "automatic_switch": true,
        "redis": {
            "mode": "normal",
            "routing": "single-read-async-double-write",
            "dc1": side(redis.dc1.address(), "region-1"),
            "dc2": side(redis.dc2.address(), "region-2"),
        },
    })
}

/// Time to the answer, and to the last node's watcher that has seen all of them.
async fn switch(
    cluster: &DevCluster,
    application: &str,
    to: &str,
    watchers: &[(String, Watcher)],
) -> Result<(Duration, Duration)> {
    let path = format!("{INSTANCE}/applications/{application}/switch");
    let (asked, started) = (SystemTime::now(), Instant::now());
    let body = json!({"to": to, "reason": "measurement", "acknowledge": true});
    cluster.rest.post(&path, body).await?;
    let answered = started.elapsed();
    let mut last = asked;
    for (name, watcher) in watchers {
        let seen = wait_all(watcher, to, asked).await.with_context(|| name.clone())?;
        last = last.max(seen);
    }
    Ok((answered, last.duration_since(asked).unwrap_or_default()))
}

/// When this watcher had every monitor at `to`, all in one revision.
async fn wait_all(watcher: &Watcher, to: &str, since: SystemTime) -> Result<SystemTime> {
    let deadline = Instant::now() + SWITCH_TIMEOUT;
    loop {
        let events = watcher.record().events;
        let own: Vec<_> = events
            .iter()
            .filter(|event| event.wall >= since && event.key.ends_with("/active") && event.value.as_deref() == Some(to))
            .collect();
        let first: BTreeSet<_> = own.iter().map(|event| &event.key).collect();
        if first.len() == MONITORS {
            let revision = own[0].revision;
            let of_switch: Vec<_> = own.iter().filter(|event| event.revision == revision).collect();
            ensure!(
                of_switch.len() == MONITORS,
                "revision {revision} holds {} of {MONITORS}",
                of_switch.len()
            );
            return of_switch.iter().map(|event| event.wall).max().context("events");
        }
        ensure!(
            Instant::now() < deadline,
            "{} of {MONITORS} monitors were seen at {to}",
            first.len()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
