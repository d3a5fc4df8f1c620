//! Detection and failover of every engine, fast profile: the published formula beside what was measured.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::json;

use super::failover::Fault;
use super::{Programs, cluster, directory};
use crate::cluster::DevCluster;
use crate::demo::{sightings, watch_key};
use crate::scenario::{Stage, Timing};
use crate::sides::{self, Sides, WithSides};
use crate::statistics::{milliseconds, percentile};
use crate::timeline::Timeline;

/// Engines measured when none is named.
pub const ENGINES: [&str; 5] = ["mysql", "postgresql", "redis", "mongodb", "elasticsearch"];

const SETTLE_TIMEOUT: Duration = Duration::from_secs(90);
const TIMING: Timing = Timing::FAST;
const DECISION_TO_WATCHER: Duration = Duration::from_millis(50);

/// The promise from the fault to the last watcher: p50 and p99.
const fn promise(fault: Fault) -> (Duration, Duration) {
    match fault {
        Fault::Refused => (Duration::from_millis(1350), Duration::from_millis(1600)),
        Fault::BlackHole => (Duration::from_millis(2500), Duration::from_millis(3500)),
    }
}

/// The published formula: the longest time from the fault to the decision. Every node has tried once after one interval, or, where
/// nothing answers, one interval and the access timeout; from then on the monitor timeout runs.
const fn formula(fault: Fault) -> (&'static str, Duration) {
    let interval = Duration::from_millis(TIMING.retry_interval_ms as u64);
    let access = Duration::from_millis(TIMING.access_timeout_ms as u64);
    let timeout = Duration::from_millis(TIMING.monitor_timeout_ms as u64);
    match fault {
        Fault::Refused => ("interval + monitor timeout", interval.saturating_add(timeout)),
        Fault::BlackHole => (
            "interval + access timeout + monitor timeout",
            interval.saturating_add(access).saturating_add(timeout),
        ),
    }
}

/// One engine and fault.
struct Measured {
    engine: String,
    fault: Fault,
    detection: Vec<Duration>,
    decision: Vec<Duration>,
    publication: Vec<Duration>,
    total: Vec<Duration>,
}

/// Runs `runs` failovers of each engine and fault on one cluster, and prints the table.
///
/// # Errors
/// A server that does not start, or a failover that does not come.
pub async fn run(programs: &Programs, runs: usize, engines: &[String]) -> Result<()> {
    let directory = directory()?;
    let cluster = cluster(programs, &directory).await?;
    let mut measured = Vec::new();
    for engine in engines {
        let databases = directory.path().join("databases").join(engine);
        let player = Player {
            cluster: &cluster,
            runs,
            measured: &mut measured,
        };
        sides::with_sides(engine, &databases, player).await?;
    }
    print(&mut measured, runs);
    cluster.stop().await
}

struct Player<'a> {
    cluster: &'a DevCluster,
    runs: usize,
    measured: &'a mut Vec<Measured>,
}

impl WithSides for Player<'_> {
    async fn call<S: Sides>(self, sides: S) -> Result<()> {
        let mut stage = sides::build(self.cluster, sides, TIMING).await?;
        for fault in [Fault::Refused, Fault::BlackHole] {
            let mut of_fault = Measured {
                engine: stage.pair.kind().to_owned(),
                fault,
                detection: Vec::new(),
                decision: Vec::new(),
                publication: Vec::new(),
                total: Vec::new(),
            };
            for number in 1..=self.runs {
                let timeline = one(self.cluster, &mut stage, fault)
                    .await
                    .with_context(|| format!("{} {fault:?}, run {number}", of_fault.engine))?;
                let positive = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
                of_fault.detection.push(positive(timeline.detection_ms));
                of_fault.decision.push(positive(timeline.decision_ms));
                of_fault.publication.push(positive(timeline.publication_ms));
                of_fault.total.push(timeline.total);
                println!(
                    "{} {fault:?} {number}: {} ms",
                    of_fault.engine,
                    milliseconds(timeline.total)
                );
            }
            self.measured.push(of_fault);
        }
        // Nobody probes a server that is about to go.
        let path = stage.path();
        let etag = self
            .cluster
            .rest
            .request(reqwest::Method::GET, &path, None, None)
            .await?
            .etag;
        let deleted = self
            .cluster
            .rest
            .request(reqwest::Method::DELETE, &path, None, etag)
            .await?;
        deleted.success().map(drop)
    }
}

async fn one<S: Sides>(cluster: &DevCluster, stage: &mut Stage<S>, fault: Fault) -> Result<Timeline> {
    let key = stage.pair.active_key(&stage.configuration_for_sides(cluster).await?);
    let watchers = watch_key(cluster, &key).await?;
    let struck = SystemTime::now();
    match fault {
        Fault::Refused => stage.pair.kill_dc1()?,
        Fault::BlackHole => stage.pair.pause_dc1()?,
    }
    let seen = sightings(&watchers, "dc2", struck).await?;
    let timeline = Timeline::new(&stage.view(&cluster.rest).await?, struck, &seen)?;
    match fault {
        Fault::Refused => stage.pair.start_dc1().await?,
        Fault::BlackHole => stage.pair.resume_dc1().await?,
    }
    stage
        .wait_sides(&cluster.rest, "healthy", "healthy", SETTLE_TIMEOUT)
        .await?;
    let mut extra = json!({"reason": "next run", "acknowledge": true});
    if stage.view(&cluster.rest).await?["dc1"]["readable"] == false {
        extra["restore_readable"] = true.into();
    }
    stage.switch(&cluster.rest, "dc1", extra).await?.success()?;
    Ok(timeline)
}

fn print(measured: &mut [Measured], runs: usize) {
    println!(
        "\nFast profile: retry {} ms, access timeout {} ms, monitor timeout {} ms, precision 1; {runs} runs each; milliseconds",
        TIMING.retry_interval_ms, TIMING.access_timeout_ms, TIMING.monitor_timeout_ms
    );
    println!(
        "| engine | fault | formula, at most | first failed attempt p50 / p99 | decision p50 / p99 | fault to last watcher p50 / p99 | promised | decision to last watcher p50 / p99 | kept |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in measured {
        let (formula, bound) = formula(row.fault);
        let (p50, p99) = promise(row.fault);
        let kept = percentile(&mut row.total, 50) <= p50
            && percentile(&mut row.total, 99) <= p99
            && percentile(&mut row.publication, 99) <= DECISION_TO_WATCHER;
        let pair = |sample: &mut Vec<Duration>| {
            let (half, most) = (percentile(sample, 50), percentile(sample, 99));
            format!(
                "{:.0} / {:.0}",
                half.as_secs_f64() * 1000.0,
                most.as_secs_f64() * 1000.0
            )
        };
        println!(
            "| {} | {} | {formula}: {} | {} | {} | {} | {} / {} | {} | {} |",
            row.engine,
            match row.fault {
                Fault::Refused => "refused",
                Fault::BlackHole => "black hole",
            },
            bound.as_millis(),
            pair(&mut row.detection),
            pair(&mut row.decision),
            pair(&mut row.total),
            p50.as_millis(),
            p99.as_millis(),
            pair(&mut row.publication),
            if kept { "yes" } else { "**no**" },
        );
    }
}
