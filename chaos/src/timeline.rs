//! The timeline of one failover, put together from what the appliance recorded and what watchers saw.
//!
//! The appliance counts in cluster time; the switch record carries the wall clock of the same moment, which ties both
//! together. Everything runs on one machine, so wall clocks agree.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

/// One line of the timeline: milliseconds after the kill, and what happened.
#[derive(Debug, Clone)]
pub struct Moment {
    pub after_ms: i64,
    pub text: String,
}

/// A failover from the kill to the last watcher.
#[derive(Debug, Clone)]
pub struct Timeline {
    pub moments: Vec<Moment>,
    /// From the kill to the first failed attempt of any node, ms.
    pub detection_ms: i64,
    /// From the kill to the decision, ms.
    pub decision_ms: i64,
    /// From the kill to the last node's watcher.
    pub total: Duration,
    /// From the decision to the last node's watcher, ms.
    pub publication_ms: i64,
}

/// When a node's watcher saw the new value.
#[derive(Debug, Clone)]
pub struct Sighting {
    pub node: String,
    pub wall: SystemTime,
}

/// Milliseconds since the Unix epoch.
pub fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Timeline {
    /// From the monitor's view after the switch, the moment of the kill and the sightings.
    pub fn new(view: &Value, killed: SystemTime, sightings: &[Sighting]) -> Result<Self> {
        let record = &view["last_switch"];
        let decided_at = record["at"]
            .as_str()
            .with_context(|| format!("no switch is recorded: {view}"))?;
        let decided_at: jiff::Timestamp = decided_at.parse().context("last_switch.at")?;
        let decided_cluster = record["time_ms"].as_i64().context("last_switch.time_ms")?;
        let offset = decided_at.as_millisecond() - decided_cluster;
        let killed_ms = unix_ms(killed);
        let after = |cluster_ms: i64| cluster_ms + offset - killed_ms;
        let from = record["from"].as_str().unwrap_or("dc1");
        let mut moments = vec![Moment {
            after_ms: 0,
            text: format!("the server of {from} is killed"),
        }];
        let mut detection_ms = i64::MAX;
        for vote in view[from]["votes"].as_array().into_iter().flatten() {
            let node = &vote["node"];
            if let Some(began) = vote["began_ms"].as_i64().filter(|_| vote["vote"] == "down") {
                detection_ms = detection_ms.min(after(began));
                let finding = vote["finding"].as_str().unwrap_or_default();
                moments.push(Moment {
                    after_ms: after(began),
                    text: format!("node {node}: first failed attempt ({finding})"),
                });
            }
            if let Some(counted) = vote["time_ms"].as_i64().filter(|_| vote["vote"] == "down") {
                moments.push(Moment {
                    after_ms: after(counted),
                    text: format!("node {node}: vote `down` is in the log"),
                });
            }
        }
        let decision_ms = after(decided_cluster);
        moments.push(Moment {
            after_ms: decision_ms,
            text: decision_text(record),
        });
        let mut last = killed;
        for sighting in sightings {
            last = last.max(sighting.wall);
            let text = format!(
                "watcher on {}: active is {}",
                sighting.node,
                record["to"].as_str().unwrap_or("?")
            );
            moments.push(Moment {
                after_ms: unix_ms(sighting.wall) - killed_ms,
                text,
            });
        }
        moments.sort_by_key(|moment| moment.after_ms);
        let total = last.duration_since(killed).unwrap_or_default();
        let publication_ms = unix_ms(last) - killed_ms - decision_ms;
        Ok(Self {
            moments,
            detection_ms,
            decision_ms,
            total,
            publication_ms,
        })
    }
}

fn decision_text(record: &Value) -> String {
    format!(
        "decision: {} → {}, by node {} at log index {}, epoch {}, revision {}, cause {}",
        record["from"].as_str().unwrap_or("?"),
        record["to"].as_str().unwrap_or("?"),
        record["leader"],
        record["index"],
        record["epoch"],
        record["revision"],
        record["cause"].as_str().unwrap_or("?"),
    )
}

impl std::fmt::Display for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for moment in &self.moments {
            writeln!(f, "  {:>7} ms  {}", moment.after_ms, moment.text)?;
        }
        writeln!(
            f,
            "  {:>7.0} ms  total, from the kill to the last watcher",
            self.total.as_secs_f64() * 1000.0
        )
    }
}
