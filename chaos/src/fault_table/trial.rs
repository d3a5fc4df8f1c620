//! One scenario's monitor: its keys before the fault, and the judgement on what became of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::scene::Scene;
use super::table::Row;
use super::{Expected, Scenario, Seen};
use crate::etcd::Client;
use crate::harness::{eventually, is_active_of};
use crate::kv;
use crate::scenario::INSTANCE;
use crate::watcher::SeenEvent;

/// Far above what any expectation takes: a changed finding alone is told at most every 10 s, and a refused login meets a kept
/// session only at the next fresh connection.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Covers retry interval (0.3 s), access timeout (0.5 s) and monitor timeout (1 s) of the fast profile: a switch that was
/// going to happen would have happened.
const QUIET_WINDOW: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);
const KV_TIMEOUT: Duration = Duration::from_secs(5);
/// After it every node has what the last command changed.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);

type Keys = BTreeMap<String, String>;

/// A scenario under way.
pub struct Trial {
    pub monitor: String,
    keys: Keys,
    struck: Instant,
}

/// What the console showed of a scenario.
pub struct Observed {
    after: Option<Duration>,
    seen: Seen,
    differences: Vec<String>,
}

impl Observed {
    /// Something else that is not as expected.
    pub fn differ(&mut self, difference: String) {
        self.differences.push(difference);
    }

    /// What a later look showed; the time of the first one counts.
    pub fn add(&mut self, later: Self) {
        self.seen = later.seen;
        self.after = self.after.filter(|_| later.after.is_some());
        self.differences.extend(later.differences);
    }
}

impl Trial {
    /// Takes note of the monitor's keys, which are the same on every node.
    pub async fn begin(scene: &Scene, monitor: String) -> Result<Self> {
        let node = scene.cluster.info.nodes.first().context("a node")?;
        // A moment without a leader, as a busy machine has it, is no answer.
        let keys = eventually("the monitor's SDK keys", TIMEOUT, async || {
            let keys = keys_at(scene, &node.kv, &monitor).await?;
            anyhow::ensure!(!keys.is_empty(), "monitor {monitor} has no SDK keys");
            Ok(Some(keys))
        })
        .await?;
        Ok(Self {
            monitor,
            keys,
            struck: Instant::now(),
        })
    }

    /// Path of the monitor below `/api/v1`.
    pub fn path(&self) -> String {
        format!("{INSTANCE}/monitors/{}", self.monitor)
    }

    /// The fault begins now: times count from here.
    pub fn strike(&mut self) {
        self.struck = Instant::now();
    }

    /// The monitor with its live state.
    pub async fn view(&self, scene: &Scene) -> Result<Value> {
        scene.cluster.rest.get(&self.path()).await
    }

    /// Waits for a condition of the view.
    pub async fn wait(&self, scene: &Scene, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(what, TIMEOUT, async || {
            let view = self.view(scene).await?;
            anyhow::ensure!(wanted(&view), "{view}");
            Ok(Some(view))
        })
        .await
    }

    /// Waits until everything is as expected, sees that it stays so, and looks at the keys on every node.
    pub async fn judge(
        &self,
        scene: &Scene,
        engine: &'static str,
        scenario: &Scenario,
        expected: Expected,
    ) -> Result<Row> {
        let observed = self.observe(scene, &expected).await?;
        self.conclude(scene, engine, scenario, expected, observed).await
    }

    /// The first half of [`Self::judge`]: what the console shows, while nodes may be down.
    pub async fn observe(&self, scene: &Scene, expected: &Expected) -> Result<Observed> {
        let (after, view) = self.settle(scene, expected).await?;
        let mut observed = Observed {
            after,
            seen: Seen::of(&view),
            differences: Vec::new(),
        };
        if after.is_none() {
            observed.differences.push(format!("not as expected after {TIMEOUT:?}"));
        } else if let Some(moved) = self.moves(scene, expected).await? {
            observed.differences.push("it did not stay so".to_owned());
            observed.seen = Seen::of(&moved);
        }
        Ok(observed)
    }

    /// The second half: the keys, once every node serves.
    pub async fn conclude(
        &self,
        scene: &Scene,
        engine: &'static str,
        scenario: &Scenario,
        expected: Expected,
        observed: Observed,
    ) -> Result<Row> {
        let mut differences = observed.differences;
        let mut keys_right = 0;
        for node in &scene.cluster.info.nodes {
            match self.keys_of_node(scene, &node.name, &node.kv, &expected).await {
                Ok(()) => keys_right += 1,
                Err(error) => differences.push(format!("{}: {error:#}", node.name)),
            }
        }
        Ok(Row {
            engine,
            name: scenario.name,
            what: scenario.what.to_owned(),
            expected,
            seen: observed.seen,
            after: observed.after,
            keys_right,
            differences,
        })
    }

    /// The time until it was as expected, and the last view.
    async fn settle(&self, scene: &Scene, expected: &Expected) -> Result<(Option<Duration>, Value)> {
        let deadline = Instant::now() + TIMEOUT;
        let mut last = Value::Null;
        while Instant::now() < deadline {
            // A moment without a leader is no observation.
            if let Ok(view) = self.view(scene).await {
                if expected.holds(&view) {
                    return Ok((Some(self.struck.elapsed()), view));
                }
                last = view;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok((None, last))
    }

    /// The first view of the quiet window in which something else is seen.
    async fn moves(&self, scene: &Scene, expected: &Expected) -> Result<Option<Value>> {
        let end = Instant::now() + QUIET_WINDOW;
        while Instant::now() < end {
            if let Ok(view) = self.view(scene).await
                && !expected.moved_as_expected(&view)
            {
                return Ok(Some(view));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(None)
    }

    /// Every key of the monitor as it must be, and a watcher that saw exactly the switches.
    async fn keys_of_node(&self, scene: &Scene, name: &str, address: &str, expected: &Expected) -> Result<()> {
        let wanted = self.wanted_keys(expected);
        eventually("SDK keys", KEYS_TIMEOUT, async || {
            let found = keys_at(scene, address, &self.monitor).await?;
            anyhow::ensure!(found == wanted, "{}", key_differences(&wanted, &found));
            Ok(Some(()))
        })
        .await?;
        let watcher = scene.watchers.iter().find(|(watched, _)| watched == name);
        let (_, watcher) = watcher.context("a watcher")?;
        eventually("the watcher", KEYS_TIMEOUT, async || {
            let events = watcher.record().events;
            self.watched_right(&events, expected).map(Some)
        })
        .await
    }

    /// After a switch `active` names the other side, and dc1 is no longer readable where there is such a key.
    fn wanted_keys(&self, expected: &Expected) -> Keys {
        let mut keys = self.keys.clone();
        for (key, value) in &mut keys {
            if key.ends_with("/active") {
                expected.active().clone_into(value);
            } else if key.ends_with("/dc1/readable") && expected.switches > 0 {
                "false".clone_into(value);
            }
        }
        keys
    }

    fn watched_right(&self, events: &[SeenEvent], expected: &Expected) -> Result<()> {
        let own = |event: &&SeenEvent| is_active_of(event, &self.monitor);
        let active: Vec<&SeenEvent> = events.iter().filter(own).collect();
        let mut values: Vec<&str> = active.iter().filter_map(|event| event.value.as_deref()).collect();
        values.dedup();
        let wanted: Vec<&str> = (0..=expected.switches)
            .map(|number| if number % 2 == 0 { "dc1" } else { "dc2" })
            .collect();
        anyhow::ensure!(values == wanted, "`active` was seen as {values:?}, not {wanted:?}");
        let Some(switch) = active.iter().find(|event| event.value.as_deref() == Some("dc2")) else {
            return Ok(());
        };
        let readable = |key: &str| key.contains(&format!("/{}/", self.monitor)) && key.ends_with("/dc1/readable");
        if self.keys.keys().any(|key| readable(key)) {
            let together = events.iter().any(|event| {
                event.revision == switch.revision && readable(&event.key) && event.value.as_deref() == Some("false")
            });
            anyhow::ensure!(together, "revision {} holds `active` alone", switch.revision);
        }
        Ok(())
    }
}

/// The monitor's keys as one node serves them to an SDK.
async fn keys_at(scene: &Scene, address: &str, monitor: &str) -> Result<Keys> {
    let mut client = Client::connect(&kv::as_sdk(&scene.cluster.info, address)?, KV_TIMEOUT).await?;
    let reply = tokio::time::timeout(KV_TIMEOUT, client.get_prefix("/mas-monitor/")).await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pairs = reply.kvs.iter().map(|pair| (text(&pair.key), text(&pair.value)));
    Ok(pairs.filter(|(key, _)| key.contains(&format!("/{monitor}/"))).collect())
}

fn key_differences(wanted: &Keys, found: &Keys) -> String {
    let all = wanted
        .keys()
        .chain(found.keys())
        .collect::<std::collections::BTreeSet<_>>();
    let differing = all.into_iter().filter(|key| wanted.get(*key) != found.get(*key));
    let told: Vec<String> = differing
        .map(|key| format!("{key} is {:?}, not {:?}", found.get(key), wanted.get(key)))
        .collect();
    told.join(", ")
}
