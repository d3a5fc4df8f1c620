//! The story on any kind with two sides: kill of dc1, failover with its timeline, refused switchback, return, switchback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use super::failover::{CATCH_UP_TIMEOUT, sightings, watch_key};
use super::report::Report;
use crate::checkers;
use crate::cluster::DevCluster;
use crate::scenario::{Stage, Timing};
use crate::sides::{self, Sides, WithSides};
use crate::timeline::Timeline;
use crate::watcher::Watcher;

const WRITE_PAUSE: Duration = Duration::from_millis(20);
const WRITES_TIMEOUT: Duration = Duration::from_secs(20);

/// What one failover and one switchback came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub timeline: Timeline,
    /// From the request to the last watcher.
    pub switchback: Duration,
    /// The monitor's view after the failover.
    pub view: Value,
}

/// Starts the sides of `kind` below `directory` and plays the story.
pub async fn play(kind: &str, cluster: &DevCluster, directory: &Path, report: &mut Report) -> Result<Outcome> {
    let mut outcome = None;
    let player = Player {
        cluster,
        report,
        outcome: &mut outcome,
    };
    sides::with_sides(kind, directory, player).await?;
    outcome.context("the story has no end")
}

struct Player<'a> {
    cluster: &'a DevCluster,
    report: &'a mut Report,
    outcome: &'a mut Option<Outcome>,
}

impl WithSides for Player<'_> {
    async fn call<S: Sides>(self, sides: S) -> Result<()> {
        *self.outcome = Some(tell(self.cluster, sides, self.report).await?);
        Ok(())
    }
}

async fn tell<S: Sides>(cluster: &DevCluster, sides: S, report: &mut Report) -> Result<Outcome> {
    let (kind, [dc1, dc2]) = (sides.kind(), sides.addresses());
    report.act(&format!("{kind}: two real servers run, and a monitor watches them"));
    report.say(&format!("dc1 is {dc1}, dc2 is {dc2}"));
    let stage = sides::build(cluster, sides, Timing::FAST).await?;
    let configuration = stage.configuration_for_sides(cluster).await?;
    let key = stage.pair.active_key(&configuration);
    report.say(&format!("both sides are healthy; {key}"));
    let watchers = watch_key(cluster, &key).await?;
    let stage = Arc::new(RwLock::new(stage));
    let application = Application::start(stage.clone(), &watchers)?;
    application.wait_writes("dc1", 30).await?;

    report.act(&format!("{kind}: dc1's server is killed"));
    let before = stage.read().await.view(&cluster.rest).await?;
    let killed = SystemTime::now();
    stage.write().await.pair.kill_dc1()?;
    let seen = sightings(&watchers, "dc2", killed).await?;
    let view = stage.read().await.view(&cluster.rest).await?;
    ensure!(
        view["epoch"].as_u64() == before["epoch"].as_u64().map(|epoch| epoch + 1),
        "the epoch is not one more than {}: {view}",
        before["epoch"]
    );
    let timeline = Timeline::new(&view, killed, &seen)?;
    report.line(&timeline.to_string());
    let total = timeline.total.as_secs_f64() * 1000.0;
    report.finding(format!("{kind}: failover in {total:.0} ms, kill to the last watcher"));
    application.wait_writes("dc2", 30).await?;
    report.say("the application writes to dc2");

    refused_switchback(&stage, cluster, kind, report).await?;
    let switchback = return_to_dc1(&stage, cluster, &watchers, report).await?;
    application.wait_writes("dc1", 30).await?;
    check_numbers(&stage, application, kind, report).await?;
    let mut violations = Vec::new();
    for (name, watcher) in &watchers {
        violations.extend(checkers::active_changes(name, &watcher.record().events, "dc1", 2));
    }
    ensure!(violations.is_empty(), "{}", violations.join("; "));
    report.finding(format!(
        "{kind}: exactly one failover and one switchback, the same for every node's watcher"
    ));
    Ok(Outcome {
        timeline,
        switchback,
        view,
    })
}

async fn refused_switchback<S: Sides>(
    stage: &RwLock<Stage<S>>,
    cluster: &DevCluster,
    kind: &str,
    report: &mut Report,
) -> Result<()> {
    report.act(&format!("{kind}: switching back is refused while dc1 is down"));
    let refused = stage.read().await.switch(&cluster.rest, "dc1", json!({})).await?;
    ensure!(
        (refused.status, refused.code()) == (409, "target-abnormal"),
        "the switchback was not refused as expected: {refused:?}"
    );
    let told = refused.body["detail"].as_str().unwrap_or_default();
    report.finding(format!("{kind}: refused: {} ({told})", refused.code()));
    Ok(())
}

async fn return_to_dc1<S: Sides>(
    stage: &RwLock<Stage<S>>,
    cluster: &DevCluster,
    watchers: &[(String, Watcher)],
    report: &mut Report,
) -> Result<Duration> {
    let mut locked = stage.write().await;
    let kind = locked.pair.kind();
    report.act(&format!("{kind}: dc1 comes back and is switched back to by hand"));
    locked.pair.start_dc1().await?;
    drop(locked);
    let stage = stage.read().await;
    stage
        .wait_sides(&cluster.rest, "healthy", "healthy", CATCH_UP_TIMEOUT)
        .await?;
    let back = SystemTime::now();
    let extra = json!({"reason": "dc1 is back", "acknowledge": true});
    stage.switch(&cluster.rest, "dc1", extra).await?.success()?;
    let seen = sightings(watchers, "dc1", back).await?;
    let after = seen
        .iter()
        .filter_map(|sighting| sighting.wall.duration_since(back).ok());
    let last = after.max().unwrap_or_default();
    let shown = last.as_secs_f64() * 1000.0;
    report.finding(format!(
        "{kind}: switchback, {shown:.0} ms from the request to the last watcher"
    ));
    Ok(last)
}

/// Every acknowledged write is where it was acknowledged; no server lost or made one up.
async fn check_numbers<S: Sides>(
    stage: &RwLock<Stage<S>>,
    application: Application,
    kind: &str,
    report: &mut Report,
) -> Result<()> {
    let written = application.finish().await?;
    let stage = stage.read().await;
    let mut shown = Vec::new();
    for side in ["dc1", "dc2"] {
        let held = stage.pair.numbers(side).await?;
        let own: Vec<i64> = written
            .iter()
            .filter(|(_, at)| **at == side)
            .map(|(number, _)| *number)
            .collect();
        let lost: Vec<_> = own.iter().filter(|number| !held.contains(number)).collect();
        // What a killed Redis had in memory alone is gone with it: that is its promise, not the switch's.
        let keeps = kind != "redis" || side != "dc1";
        ensure!(!keeps || lost.is_empty(), "{side} lost acknowledged writes: {lost:?}");
        shown.push(format!("{} on {side}", own.len()));
    }
    report.finding(format!("{kind}: acknowledged writes: {}", shown.join(", ")));
    Ok(())
}

/// An application process that writes numbers to the side that its own watch of `active` names.
struct Application {
    stop: Arc<AtomicBool>,
    /// Acknowledged on dc1 and dc2.
    counts: Arc<[AtomicI64; 2]>,
    task: JoinHandle<Result<BTreeMap<i64, &'static str>>>,
}

impl Application {
    fn start<S: Sides>(stage: Arc<RwLock<Stage<S>>>, watchers: &[(String, Watcher)]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new([AtomicI64::new(0), AtomicI64::new(0)]);
        let (_, watcher) = watchers.first().context("no watcher")?;
        let (record, stopped, counted) = (watcher.shared(), stop.clone(), counts.clone());
        let task = tokio::spawn(async move {
            let (mut written, mut number) = (BTreeMap::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                let active = record.last_value();
                let side = if active.as_deref() == Some("dc2") { "dc2" } else { "dc1" };
                // The server of dc1 is changed under the lock: a write never races its start.
                if stage.read().await.pair.write(side, number).await.is_ok() {
                    written.insert(number, side);
                    counted[usize::from(side == "dc2")].fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(WRITE_PAUSE).await;
            }
            Ok(written)
        });
        Ok(Self { stop, counts, task })
    }

    /// Waits for this many further acknowledged writes on a side.
    async fn wait_writes(&self, side: &str, count: i64) -> Result<()> {
        let counter = &self.counts[usize::from(side == "dc2")];
        let (target, deadline) = (counter.load(Ordering::Relaxed) + count, Instant::now() + WRITES_TIMEOUT);
        while counter.load(Ordering::Relaxed) < target {
            if Instant::now() > deadline {
                bail!("fewer than {count} writes to {side} within {WRITES_TIMEOUT:?}");
            }
            tokio::time::sleep(WRITE_PAUSE).await;
        }
        Ok(())
    }

    async fn finish(self) -> Result<BTreeMap<i64, &'static str>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}
