//! Faults between the nodes and a database that is well: blind nodes, dead names, links that come and go.

use std::time::Duration;

use anyhow::{Context, Result};
use quorate_real_parts::DnsMode;
use serde_json::json;

use super::databases::{DatabaseFault, Subject};
use super::mariadb::MariaDbSubject;
use super::scene::{MonitorParts, NAMES, NODES, Scene};
use super::table::Row;
use super::trial::Trial;
use super::{Expected, MARIADB, Options, Reason, Scenario, Scenes};
use crate::faults::LinkFault;
use crate::harness::eventually;
use crate::scenario::{INSTANCE, Timing};

const fn scenario(name: &'static str, what: &'static str, quick: bool) -> Scenario {
    Scenario { name, what, quick }
}

const FLAPPING: Scenario = scenario(
    "flapping",
    "dc1 is unreachable for 2 s and reachable for 2 s, four times",
    false,
);
const FLAPPING_BELOW: Scenario = scenario(
    "flapping-below-the-timeout",
    "the same with a monitor timeout of 4 s, which no outage reaches",
    false,
);
const DNS_DEAD: Scenario = scenario(
    "dns-dead",
    "the name servers fall silent for longer than addresses are remembered (5 s here)",
    false,
);
const DNS_AND_DATABASE: Scenario = scenario(
    "dns-and-database-dead",
    "the name servers fall silent and dc1's server is killed",
    true,
);
const ONE_BLIND: Scenario = scenario("one-node-blind", "node 2 does not reach dc1", true);
const TWO_BLIND: Scenario = scenario("two-nodes-blind", "nodes 2 and 3 do not reach dc1; precision 1", true);
const TWO_BLIND_PRECISION_2: Scenario = scenario(
    "two-nodes-blind-precision-2",
    "nodes 2 and 3 do not reach dc1; precision 2",
    true,
);
const LEADER_BLIND: Scenario = scenario("leader-blind", "the leader's node does not reach dc1", true);

/// In the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    FLAPPING,
    FLAPPING_BELOW,
    DNS_DEAD,
    DNS_AND_DATABASE,
    ONE_BLIND,
    TWO_BLIND,
    TWO_BLIND_PRECISION_2,
    LEADER_BLIND,
];

const FLAPS: u32 = 4;
/// How long the links are cut, and whole, in turn.
const FLAP: Duration = Duration::from_secs(2);
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs those that are wanted.
pub async fn play(
    options: &Options,
    scenes: &Scenes,
    subject: &mut MariaDbSubject,
    keep: &mut impl FnMut(Row),
) -> Result<()> {
    for scenario in SCENARIOS.iter().filter(|scenario| options.wants(scenario)) {
        // The launcher's proxy would resolve names in the nodes' place.
        let of_names = [DNS_DEAD, DNS_AND_DATABASE].contains(scenario);
        let scene = if of_names { &scenes.direct } else { &scenes.linked };
        let row = one(scene, subject, scenario).await;
        keep(row.with_context(|| scenario.name.to_owned())?);
    }
    Ok(())
}

async fn one(scene: &Scene, subject: &mut MariaDbSubject, scenario: &Scenario) -> Result<Row> {
    let blind = |nodes: usize| {
        Expected::calm(Reason::Found {
            finding: "timeout",
            words: "",
            nodes,
        })
    };
    match scenario.name {
        name if name == FLAPPING.name => {
            let expected = Expected {
                states: ["healthy", "healthy"],
                ..Expected::failover(Reason::Well)
            };
            flapping(scene, subject, scenario, Timing::FAST, expected).await
        }
        name if name == FLAPPING_BELOW.name => {
            let timing = Timing {
                monitor_timeout_ms: 4000,
                ..Timing::FAST
            };
            flapping(scene, subject, scenario, timing, Expected::calm(Reason::Well)).await
        }
        name if name == DNS_DEAD.name => dns_dead(scene, subject, scenario).await,
        name if name == DNS_AND_DATABASE.name => dns_and_database(scene, subject, scenario).await,
        name if name == ONE_BLIND.name => blinded(scene, subject, scenario, &[2], 1, blind(1)).await,
        name if name == TWO_BLIND.name => blinded(scene, subject, scenario, &[2, 3], 1, blind(2)).await,
        name if name == TWO_BLIND_PRECISION_2.name => {
            let expected = Expected::failover(Reason::Found {
                finding: "timeout",
                words: "",
                nodes: 2,
            });
            blinded(scene, subject, scenario, &[2, 3], 2, expected).await
        }
        _ => {
            let leader = scene.cluster.leader(LEADER_TIMEOUT).await?;
            blinded(scene, subject, scenario, &[leader], 1, blind(1)).await
        }
    }
}

async fn monitor(scene: &Scene, subject: &MariaDbSubject, timing: Timing) -> Result<Trial> {
    let [dc1, dc2] = subject.addresses(DatabaseFault::Refused);
    monitor_at(scene, subject, timing, &dc1, &dc2).await
}

async fn monitor_at(scene: &Scene, subject: &MariaDbSubject, timing: Timing, dc1: &str, dc2: &str) -> Result<Trial> {
    let parts = MonitorParts {
        kind: subject.kind(),
        section: subject.section_at(dc1, dc2),
        pool: Some(subject.own_pool()),
        timing,
    };
    scene.monitor(parts).await
}

/// Monitor by names that the run's name server answers.
async fn named_monitor(scene: &Scene, subject: &MariaDbSubject) -> Result<Trial> {
    let ports = [subject.pair.dc1.port(), subject.pair.dc2.port()];
    let [dc1, dc2] = [0, 1].map(|side| format!("{}:{}", NAMES[side], ports[side]));
    monitor_at(scene, subject, Timing::FAST, &dc1, &dc2).await
}

async fn flapping(
    scene: &Scene,
    subject: &MariaDbSubject,
    scenario: &Scenario,
    timing: Timing,
    expected: Expected,
) -> Result<Row> {
    let mut trial = monitor(scene, subject, timing).await?;
    let [dc1, _] = subject.addresses(DatabaseFault::Refused);
    trial.strike();
    for _ in 0..FLAPS {
        scene.cut(&NODES, &dc1, LinkFault::Reset).await?;
        tokio::time::sleep(FLAP).await;
        scene.links()?.heal().await?;
        tokio::time::sleep(FLAP).await;
    }
    let row = trial.judge(scene, MARIADB, scenario, expected).await?;
    scene.dismiss(trial).await?;
    Ok(row)
}

async fn dns_dead(scene: &Scene, subject: &MariaDbSubject, scenario: &Scenario) -> Result<Row> {
    let mut trial = named_monitor(scene, subject).await?;
    trial.strike();
    scene.names()?.set_mode(DnsMode::Silent);
    let expected = Expected {
        reasons: [Reason::all("dns", ""); 2],
        ..Expected::calm(Reason::Any)
    };
    let row = trial.judge(scene, MARIADB, scenario, expected).await?;
    scene.dismiss(trial).await?;
    Ok(row)
}

/// Name servers stand in the data centers that fail: what is remembered is enough.
async fn dns_and_database(scene: &Scene, subject: &mut MariaDbSubject, scenario: &Scenario) -> Result<Row> {
    let mut trial = named_monitor(scene, subject).await?;
    trial.strike();
    scene.names()?.set_mode(DnsMode::Silent);
    subject.inject(DatabaseFault::Refused).await?;
    let expected = Expected {
        // They fade into `dns` once nothing is remembered any more.
        reasons: [Reason::Any; 2],
        ..Expected::failover(Reason::Any)
    };
    let row = trial.judge(scene, MARIADB, scenario, expected).await?;
    scene.dismiss(trial).await?;
    subject.undo(DatabaseFault::Refused).await?;
    Ok(row)
}

async fn blinded(
    scene: &Scene,
    subject: &MariaDbSubject,
    scenario: &Scenario,
    nodes: &[u64],
    precision: u32,
    expected: Expected,
) -> Result<Row> {
    set_precision(scene, precision).await?;
    let mut trial = monitor(scene, subject, Timing::FAST).await?;
    let [dc1, _] = subject.addresses(DatabaseFault::Refused);
    trial.strike();
    scene.cut(nodes, &dc1, LinkFault::Cut).await?;
    let row = trial.judge(scene, MARIADB, scenario, expected).await?;
    scene.dismiss(trial).await?;
    set_precision(scene, 1).await?;
    Ok(row)
}

async fn set_precision(scene: &Scene, precision: u32) -> Result<()> {
    let settings = json!({"retry_interval_ms": 3000, "monitor_timeout_ms": 10_000, "access_timeout_ms": 3000,
        "health_precision": precision});
    let path = format!("{INSTANCE}/kind-settings/mysql");
    eventually("the precision is set", LEADER_TIMEOUT, async || {
        let set = scene.cluster.rest.put_with_etag(&path, settings.clone(), None).await?;
        set.success().map(|_| Some(()))
    })
    .await
}
