//! The primary site is lost: its node, which leads, falls silent at the moment in which a database of the site dies.
//!
//! Two monitors: the database in dc1 of one dies, the other's lives on and is still reached by the other nodes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_real_parts::mariadb::{MariaDbPair, PairOptions};
use reqwest::Method;
use serde_json::{Value, json};

use super::databases::{DatabaseFault, Subject};
use super::mariadb::MariaDbSubject;
use super::scene::{MonitorParts, NODES, Scene};
use super::table::Row;
use super::trial::Trial;
use super::{Expected, MARIADB, Options, Reason, Scenario};
use crate::faults::isolation;
use crate::harness::eventually;
use crate::scenario::{INSTANCE, Timing};

const OFF_DEAD: Scenario = Scenario {
    name: "site-lost-d4-off-database-dead",
    what: "node 1, which leads and is dc1's, falls silent, and dc1's server is killed; datacenter-level switch off",
    quick: false,
};
const OFF_ALIVE: Scenario = Scenario {
    name: "site-lost-d4-off-database-alive",
    what: "the same moment, seen by a monitor whose server in dc1 lives on",
    quick: false,
};
const ON_DEAD: Scenario = Scenario {
    name: "site-lost-d4-on-database-dead",
    what: "as above with the datacenter-level switch on; site timeout 6 s here",
    quick: false,
};
const ON_ALIVE: Scenario = Scenario {
    name: "site-lost-d4-on-database-alive",
    what: "the same moment, seen by a monitor whose server in dc1 lives on",
    quick: false,
};

/// In the order of the table.
pub const SCENARIOS: &[Scenario] = &[OFF_DEAD, OFF_ALIVE, ON_DEAD, ON_ALIVE];

/// The node of the primary site.
const PRIMARY: u64 = 1;
const SITE_TIMEOUT_MS: u64 = 6000;
const TIMEOUT: Duration = Duration::from_secs(40);
/// Leadership returns to the primary site a minute after its node is well again.
const LEADER_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs both halves if any scenario of them is wanted.
pub async fn play(options: &Options, scene: &Scene, databases: &Path, keep: &mut impl FnMut(Row)) -> Result<()> {
    let halves = [(false, [OFF_DEAD, OFF_ALIVE]), (true, [ON_DEAD, ON_ALIVE])];
    if !SCENARIOS.iter().any(|scenario| options.wants(scenario)) {
        return Ok(());
    }
    let mut dead = MariaDbSubject::start(&databases.join("dead")).await?;
    let options_alive = PairOptions {
        monitor_connections: 60,
        ..PairOptions::default()
    };
    let alive = MariaDbPair::start(&databases.join("alive"), options_alive).await?;
    put(scene, "/sites/settings", json!({"site_timeout_ms": SITE_TIMEOUT_MS})).await?;
    for (on, scenarios) in halves {
        if scenarios.iter().any(|scenario| options.wants(scenario)) {
            let rows = half(scene, &mut dead, &alive, on, &scenarios).await;
            let rows = rows.with_context(|| scenarios[0].name.to_owned())?;
            rows.into_iter().for_each(&mut *keep);
        }
    }
    put(scene, &format!("{INSTANCE}/site-switch"), json!({"on": false})).await
}

async fn half(
    scene: &Scene,
    dead: &mut MariaDbSubject,
    alive: &MariaDbPair,
    on: bool,
    scenarios: &[Scenario; 2],
) -> Result<[Row; 2]> {
    put(scene, &format!("{INSTANCE}/site-switch"), json!({"on": on})).await?;
    eventually("node 1 leads", LEADER_TIMEOUT, async || {
        let leader = scene.cluster.leader(TIMEOUT).await?;
        Ok((leader == PRIMARY).then_some(()))
    })
    .await?;
    let mut of_dead = monitor(scene, dead, &dead.pair).await?;
    let mut of_alive = monitor(scene, dead, alive).await?;
    // Of the silent node stays what it said last.
    let expected_dead = Expected::failover(Reason::Any);
    let expected_alive = if on {
        Expected {
            states: ["healthy", "healthy"],
            reasons: [Reason::Any; 2],
            cause: "site-lost",
            ..expected_dead
        }
    } else {
        Expected::calm(Reason::Any)
    };
    of_dead.strike();
    of_alive.strike();
    dead.inject(DatabaseFault::Refused).await?;
    scene.links()?.set(&isolation(PRIMARY, &NODES)).await?;
    // The calm one is looked at once the site counts as lost: before, nothing was due.
    site_is(scene, "lost").await?;
    let (seen_dead, seen_alive) = tokio::try_join!(
        of_dead.observe(scene, &expected_dead),
        of_alive.observe(scene, &expected_alive)
    )?;
    scene.links()?.heal().await?;
    scene.cluster.wait_ready(PRIMARY, TIMEOUT).await?;
    site_is(scene, "normal").await?;
    let row_dead = of_dead
        .conclude(scene, MARIADB, &scenarios[0], expected_dead, seen_dead)
        .await?;
    let row_alive = of_alive
        .conclude(scene, MARIADB, &scenarios[1], expected_alive, seen_alive)
        .await?;
    scene.dismiss(of_dead).await?;
    scene.dismiss(of_alive).await?;
    dead.undo(DatabaseFault::Refused).await?;
    Ok([row_dead, row_alive])
}

async fn monitor(scene: &Scene, subject: &MariaDbSubject, pair: &MariaDbPair) -> Result<Trial> {
    let (dc1, dc2) = (pair.dc1.address(), pair.dc2.address());
    let mut pool = subject.own_pool();
    pool["dc1"]["source"]["address"] = json!(dc1);
    pool["dc2"]["source"]["address"] = json!(dc2);
    let parts = MonitorParts {
        kind: subject.kind(),
        section: subject.section_at(&dc1, &dc2),
        pool: Some(pool),
        timing: Timing::FAST,
    };
    scene.monitor(parts).await
}

async fn put(scene: &Scene, path: &str, body: Value) -> Result<()> {
    eventually(path, TIMEOUT, async || {
        let rest = &scene.cluster.rest;
        let answer = rest.request(Method::PUT, path, Some(body.clone()), None).await?;
        answer.success().map(|_| Some(()))
    })
    .await
}

async fn site_is(scene: &Scene, state: &str) -> Result<()> {
    eventually(&format!("dc1's site is {state}"), TIMEOUT, async || {
        let sites = scene.cluster.rest.get("/sites").await?;
        let found = sites["items"]
            .as_array()
            .and_then(|sites| sites.iter().find(|found| found["site"] == "dc1"));
        ensure!(found.context("the site")?["state"] == state, "{sites}");
        Ok(Some(()))
    })
    .await
}
