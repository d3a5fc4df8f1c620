//! Faults of Quorate's own nodes while a database fails: the leader killed, a clock stepped, a node paused.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::databases::{DatabaseFault, Subject};
use super::mariadb::MariaDbSubject;
use super::scene::{MonitorParts, Scene};
use super::table::Row;
use super::trial::Trial;
use super::{Expected, MARIADB, Options, Reason, Scenario};
use crate::clocks;
use crate::cluster::DevCluster;
use crate::faults::Signal;
use crate::harness::eventually;
use crate::scenario::Timing;

const LEADER_KILLED: Scenario = Scenario {
    name: "leader-killed",
    what: "dc1's server is killed; the leader is killed once all have voted and before the monitor timeout (3 s here) is over",
    quick: true,
};
const CLOCK_STEPPED: Scenario = Scenario {
    name: "clock-stepped",
    what: "one node's wall clock is put forward by an hour, and dc1's server is killed",
    quick: false,
};
const NODE_PAUSED: Scenario = Scenario {
    name: "node-paused",
    what: "the leader is stopped (SIGSTOP) for 30 s, dc1's server killed meanwhile, then it goes on",
    quick: false,
};

/// In the order of the table.
pub const SCENARIOS: &[Scenario] = &[LEADER_KILLED, CLOCK_STEPPED, NODE_PAUSED];

const TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(30);
const HOUR_AHEAD: std::ops::Range<Duration> = Duration::from_secs(3500)..Duration::from_secs(3700);

/// Runs those that are wanted.
pub async fn play(
    options: &Options,
    scene: &mut Scene,
    subject: &mut MariaDbSubject,
    keep: &mut impl FnMut(Row),
) -> Result<()> {
    for scenario in SCENARIOS.iter().filter(|scenario| options.wants(scenario)) {
        let row = if *scenario == LEADER_KILLED {
            leader_killed(scene, subject).await
        } else if *scenario == CLOCK_STEPPED {
            clock_stepped(scene, subject).await
        } else {
            node_paused(scene, subject).await
        };
        keep(row.with_context(|| scenario.name.to_owned())?);
    }
    Ok(())
}

async fn monitor(scene: &Scene, subject: &MariaDbSubject, timing: Timing) -> Result<Trial> {
    let parts = MonitorParts {
        kind: subject.kind(),
        section: subject.section(DatabaseFault::Refused),
        pool: subject.pool(DatabaseFault::Refused),
        timing,
    };
    scene.monitor(parts).await
}

async fn leader_killed(scene: &mut Scene, subject: &mut MariaDbSubject) -> Result<Row> {
    let timing = Timing {
        monitor_timeout_ms: 3000,
        ..Timing::FAST
    };
    let mut trial = monitor(scene, subject, timing).await?;
    let leader = scene.cluster.leader(TIMEOUT).await?;
    trial.strike();
    subject.inject(DatabaseFault::Refused).await?;
    trial
        .wait(scene, "every node's vote", |view| {
            view["dc1"]["failing"] == true && all_vote_down(view) && view["epoch"] == 0
        })
        .await?;
    scene.cluster.signal(leader, Signal::Kill)?;
    // Of the killed node stays what it said last.
    let expected = Expected::failover(Reason::Any);
    let mut observed = trial.observe(scene, &expected).await?;
    let view = trial.wait(scene, "a view", |_| true).await?;
    if view["last_switch"]["leader"] == leader {
        observed.differ(format!("node {leader} decided before it was killed"));
    }
    scene.cluster.restart(leader).await?;
    scene.cluster.wait_ready(leader, TIMEOUT).await?;
    finish(scene, subject, trial, &LEADER_KILLED, expected, observed).await
}

fn all_vote_down(view: &Value) -> bool {
    let votes = view["dc1"]["votes"].as_array();
    votes.is_some_and(|votes| votes.iter().filter(|vote| vote["vote"] == "down").count() == 3)
}

async fn finish(
    scene: &Scene,
    subject: &mut MariaDbSubject,
    trial: Trial,
    scenario: &Scenario,
    expected: Expected,
    observed: super::trial::Observed,
) -> Result<Row> {
    let row = trial.conclude(scene, MARIADB, scenario, expected, observed).await?;
    scene.dismiss(trial).await?;
    subject.undo(DatabaseFault::Refused).await?;
    Ok(row)
}

async fn clock_stepped(scene: &mut Scene, subject: &mut MariaDbSubject) -> Result<Row> {
    let node = scene.cluster.leader(TIMEOUT).await? % 3 + 1;
    let file = scene.cluster.directory().join("clock");
    clocks::set(&file, 0)?;
    restart_with_clock(&mut scene.cluster, node, &file).await?;
    let mut trial = monitor(scene, subject, Timing::FAST).await?;
    clocks::set(&file, 3600)?;
    let console = scene.cluster.node(node)?.console.clone();
    eventually("the node's clock is an hour ahead", TIMEOUT, async || {
        let ahead = scene
            .cluster
            .rest
            .clock_of(&console)
            .await?
            .duration_since(SystemTime::now());
        let ahead = ahead.context("the node's clock is behind")?;
        ensure!(HOUR_AHEAD.contains(&ahead), "{ahead:?} ahead");
        Ok(Some(()))
    })
    .await?;
    trial.strike();
    subject.inject(DatabaseFault::Refused).await?;
    let expected = Expected::failover(Reason::all("refused", "refused"));
    let observed = trial.observe(scene, &expected).await?;
    let row = finish(scene, subject, trial, &CLOCK_STEPPED, expected, observed).await?;
    scene.cluster.signal(node, Signal::Terminate)?;
    scene.cluster.restart(node).await?;
    scene.cluster.wait_ready(node, TIMEOUT).await?;
    Ok(row)
}

async fn restart_with_clock(cluster: &mut DevCluster, node: u64, file: &Path) -> Result<()> {
    let environment = clocks::environment(file)?;
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    cluster.signal(node, Signal::Terminate)?;
    cluster.restart_with(node, &environment).await?;
    cluster.wait_ready(node, TIMEOUT).await.map(drop)
}

async fn node_paused(scene: &mut Scene, subject: &mut MariaDbSubject) -> Result<Row> {
    let mut trial = monitor(scene, subject, Timing::FAST).await?;
    let leader = scene.cluster.leader(TIMEOUT).await?;
    let everybody = scene.cluster.rest.clone();
    // A stopped node takes a question and never answers it.
    scene.cluster.rest = everybody.without(&scene.cluster.node(leader)?.console);
    scene.cluster.signal(leader, Signal::Stop)?;
    let stopped = Instant::now();
    let outcome = paused(scene, subject, &mut trial, leader, stopped).await;
    scene.cluster.signal(leader, Signal::Continue)?;
    scene.cluster.rest = everybody;
    let mut observed = outcome?;
    scene.cluster.wait_ready(leader, TIMEOUT).await?;
    // What the woken node still believes moves nothing, and it comes to the others' view.
    let expected = Expected::failover(Reason::all("refused", "refused"));
    observed.add(trial.observe(scene, &expected).await?);
    finish(scene, subject, trial, &NODE_PAUSED, expected, observed).await
}

/// One switch by the two others, while the old leader stands still.
async fn paused(
    scene: &Scene,
    subject: &mut MariaDbSubject,
    trial: &mut Trial,
    leader: u64,
    stopped: Instant,
) -> Result<super::trial::Observed> {
    eventually("another leader", TIMEOUT, async || {
        let view = scene.cluster.rest.get("/cluster").await?;
        Ok(view["leader"].as_u64().filter(|other| *other != leader))
    })
    .await?;
    trial.strike();
    subject.inject(DatabaseFault::Refused).await?;
    let observed = trial.observe(scene, &Expected::failover(Reason::Any)).await?;
    tokio::time::sleep(PAUSE.saturating_sub(stopped.elapsed())).await;
    Ok(observed)
}
