//! Kill of the active database, failover, refused and accepted switchback, and the rows.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::load::{ApplicationLoad, rows_of};
use super::report::Report;
use crate::checkers;
use crate::cluster::DevCluster;
use crate::kv;
use crate::scenario::Stage;
use crate::timeline::{Sighting, Timeline};
use crate::watcher::Watcher;

const SWITCH_TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);

/// One watcher of the monitor's `active` key on every node.
pub async fn watch_active(cluster: &DevCluster, stage: &Stage) -> Result<Vec<(String, Watcher)>> {
    watch_key(
        cluster,
        &stage.sdk_configuration(cluster).await?.key("status", "active"),
    )
    .await
}

/// One watcher of `key` on every node.
pub async fn watch_key(cluster: &DevCluster, key: &str) -> Result<Vec<(String, Watcher)>> {
    let mut watchers = Vec::new();
    for node in &cluster.info.nodes {
        let watcher = Watcher::start(kv::as_sdk(&cluster.info, &node.kv)?, key, 1);
        watcher
            .wait_watching(SWITCH_TIMEOUT)
            .await
            .with_context(|| format!("watch on {}", node.name))?;
        watchers.push((node.name.clone(), watcher));
    }
    Ok(watchers)
}

/// Waits until every watcher has seen `active` become `to` after `since`.
pub async fn sightings(watchers: &[(String, Watcher)], to: &str, since: SystemTime) -> Result<Vec<Sighting>> {
    let mut sightings = Vec::new();
    for (node, watcher) in watchers {
        let event = watcher
            .wait_for(SWITCH_TIMEOUT, |event| {
                event.wall >= since && event.value.as_deref() == Some(to)
            })
            .await
            .with_context(|| format!("watcher on {node} waits for {to}"))?;
        sightings.push(Sighting {
            node: node.clone(),
            wall: event.wall,
        });
    }
    Ok(sightings)
}

/// The act; takes the load over and stops it.
pub async fn run(cluster: &DevCluster, stage: &mut Stage, load: ApplicationLoad, report: &mut Report) -> Result<()> {
    let watchers = watch_active(cluster, stage).await?;
    report.act("dc1's database is killed");
    let killed = SystemTime::now();
    stage.pair.dc1.kill()?;
    let seen = sightings(&watchers, "dc2", killed).await?;
    let timeline = Timeline::new(&stage.view(&cluster.rest).await?, killed, &seen)?;
    report.line(&timeline.to_string());
    report.finding(format!(
        "failover in {:.0} ms, kill to the last watcher",
        timeline.total.as_secs_f64() * 1000.0
    ));
    for client in load.clients() {
        client.wait_active("dc2", SWITCH_TIMEOUT).await?;
    }
    let on_dc2_after_kill = rows_of(&stage.pair.dc2).await?;
    load.wait_rows(50).await?;
    report.say("the processes write to dc2");

    report.act("Switching back is refused while dc1 is down");
    let refused = stage.switch(&cluster.rest, "dc1", json!({})).await?;
    ensure!(refused.status >= 400, "the switchback was accepted: {}", refused.body);
    report.finding(format!(
        "refused: {} ({})",
        refused.code(),
        refused.body["detail"].as_str().unwrap_or_default()
    ));

    report.act("dc1 comes back, catches up with dc2, and is switched back to by hand");
    stage.pair.dc1.start()?;
    stage.pair.dc1.wait_ready(CATCH_UP_TIMEOUT).await?;
    stage
        .pair
        .wait_caught_up(&stage.pair.dc2, &stage.pair.dc1, CATCH_UP_TIMEOUT)
        .await?;
    report.say("dc1 has applied dc2's position");
    stage
        .wait_sides(&cluster.rest, "healthy", "healthy", CATCH_UP_TIMEOUT)
        .await?;
    let back = SystemTime::now();
    let extra = json!({"reason": "dc1 is back", "acknowledge": true, "restore_readable": true});
    stage.switch(&cluster.rest, "dc1", extra).await?.success()?;
    let seen = sightings(&watchers, "dc1", back).await?;
    let last = seen
        .iter()
        .filter_map(|sighting| sighting.wall.duration_since(back).ok())
        .max()
        .unwrap_or_default();
    report.finding(format!(
        "switchback: {:.0} ms from the request to the last watcher",
        last.as_secs_f64() * 1000.0
    ));
    for client in load.clients() {
        client.wait_active("dc1", SWITCH_TIMEOUT).await?;
    }
    load.wait_rows(50).await?;

    report.act("Every acknowledged row is on both sides");
    check_rows(stage, load, &on_dc2_after_kill, report).await?;
    let expected_changes = 2;
    let mut violations = Vec::new();
    for (name, watcher) in &watchers {
        violations.extend(checkers::active_changes(
            name,
            &watcher.record().events,
            "dc1",
            expected_changes,
        ));
    }
    ensure!(violations.is_empty(), "{}", violations.join("; "));
    report.finding("exactly one failover and one switchback, the same for the watchers of all nodes".to_owned());
    Ok(())
}

async fn check_rows(
    stage: &Stage,
    load: ApplicationLoad,
    on_dc2_after_kill: &std::collections::BTreeSet<super::load::Row>,
    report: &mut Report,
) -> Result<()> {
    let before_kill_marks = on_dc2_after_kill.clone();
    let (clients, acknowledged) = load.finish().await?;
    stage
        .pair
        .wait_caught_up(&stage.pair.dc1, &stage.pair.dc2, CATCH_UP_TIMEOUT)
        .await?;
    stage
        .pair
        .wait_caught_up(&stage.pair.dc2, &stage.pair.dc1, CATCH_UP_TIMEOUT)
        .await?;
    let (dc1, dc2) = (rows_of(&stage.pair.dc1).await?, rows_of(&stage.pair.dc2).await?);
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|row| !dc1.contains(*row) || !dc2.contains(*row))
        .collect();
    ensure!(
        missing.is_empty(),
        "{} acknowledged rows are not on both sides: {missing:?}",
        missing.len()
    );
    let late = late_rows(&clients, &before_kill_marks);
    report.finding(format!("{} acknowledged rows, all on both sides", acknowledged.len()));
    report.say(&format!(
        "{} of them had not been replicated to dc2 at the kill; they came with dc1's return",
        late.len()
    ));
    for row in late.iter().take(10) {
        report.say(&format!("  late: {} number {}", row.0, row.1));
    }
    let misdirected: Vec<_> = clients.iter().flat_map(|client| client.misdirected()).collect();
    ensure!(
        misdirected.is_empty(),
        "statements ran on a side that was no longer active: {misdirected:?}"
    );
    report.finding("no statement ran on a side that was no longer active".to_owned());
    Ok(())
}

/// Rows that a process had acknowledged by dc1 before it moved to dc2, and that dc2 did not have then.
fn late_rows(
    clients: &[std::sync::Arc<crate::sdk::SdkClient>],
    on_dc2_after_kill: &std::collections::BTreeSet<super::load::Row>,
) -> Vec<super::load::Row> {
    let mut late = Vec::new();
    for client in clients {
        let Some(moved) = client.changes().first().map(|change| change.at) else {
            continue;
        };
        for statement in client.statements() {
            let acknowledged = statement.outcome == crate::sdk::StatementOutcome::Done;
            if acknowledged
                && statement.chosen_at < moved
                && statement.data_center == "dc1"
                && let Some(row) = row_of(&statement.sql).filter(|row| !on_dc2_after_kill.contains(row))
            {
                late.push(row);
            }
        }
    }
    late
}

fn row_of(sql: &str) -> Option<super::load::Row> {
    let values = sql.rsplit_once("VALUES (")?.1.trim_end_matches(')');
    let (client, number) = values.split_once(", ")?;
    Some((client.trim_matches('\'').to_owned(), number.parse().ok()?))
}
