//! Failover time, fast profile: from the fault to the last node's watcher.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::json;

use super::{Programs, cluster, directory};
use crate::cluster::DevCluster;
use crate::demo::{sightings, watch_active};
use crate::scenario::{Stage, Timing};
use crate::statistics::summary;
use crate::timeline::Timeline;

/// What happens to dc1's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL: connections are refused.
    Refused,
    /// SIGSTOP: connections are accepted and nothing answers.
    BlackHole,
}

const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs `runs` failovers of each kind and prints the figures.
pub async fn run(programs: &Programs, runs: usize) -> Result<()> {
    let directory = directory()?;
    let cluster = cluster(programs, &directory).await?;
    let mut stage = Stage::build(&cluster, &directory.path().join("databases"), Timing::FAST).await?;
    println!("fast profile: retry 300 ms, access 500 ms, monitor timeout 1000 ms, precision 1; {runs} runs each");
    for fault in [Fault::Refused, Fault::BlackHole] {
        let (mut totals, mut publications, mut detections) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=runs {
            let timeline = one(&cluster, &mut stage, fault)
                .await
                .with_context(|| format!("{fault:?}, run {number}"))?;
            totals.push(timeline.total);
            let positive = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
            publications.push(positive(timeline.publication_ms));
            detections.push(positive(timeline.detection_ms));
        }
        println!("{fault:?}: fault to last watcher      {}", summary(&mut totals));
        println!(
            "{fault:?}: fault to first failed attempt, 0 if it was under way {}",
            summary(&mut detections)
        );
        println!("{fault:?}: decision to last watcher   {}", summary(&mut publications));
    }
    drop(stage);
    cluster.stop().await
}

async fn one(cluster: &DevCluster, stage: &mut Stage, fault: Fault) -> Result<Timeline> {
    let watchers = watch_active(cluster, stage).await?;
    let struck = SystemTime::now();
    match fault {
        Fault::Refused => stage.pair.dc1.kill()?,
        Fault::BlackHole => stage.pair.dc1.pause()?,
    }
    let seen = sightings(&watchers, "dc2", struck).await?;
    let timeline = Timeline::new(&stage.view(&cluster.rest).await?, struck, &seen)?;
    match fault {
        Fault::Refused => stage.pair.dc1.start()?,
        Fault::BlackHole => stage.pair.dc1.resume()?,
    }
    stage.pair.dc1.wait_ready(SETTLE_TIMEOUT).await?;
    stage
        .pair
        .wait_caught_up(&stage.pair.dc2, &stage.pair.dc1, SETTLE_TIMEOUT)
        .await?;
    stage
        .wait_sides(&cluster.rest, "healthy", "healthy", SETTLE_TIMEOUT)
        .await?;
    let extra = json!({"reason": "next run", "acknowledge": true, "restore_readable": true});
    stage.switch(&cluster.rest, "dc1", extra).await?.success()?;
    Ok(timeline)
}
