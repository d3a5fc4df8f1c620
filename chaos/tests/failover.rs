//! A real database fails: automatic failover, the way back, and everything that must not switch.
//!
//! One cluster and one MariaDB pair serve all steps, in order; each step leaves dc1 active, healthy and acknowledged.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::checkers;
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::demo::{ApplicationLoad, rows_of};
use quorate_chaos::harness::{
    Harness, all_see_active, events_of, eventually, is_active_of, no_violations, step, throughout,
};
use quorate_chaos::rest::RestClient;
use quorate_chaos::scenario::{INSTANCE, Stage, Timing, create_monitor, monitor_body};
use quorate_chaos::watcher::Watcher;
use reqwest::Method;
use serde_json::{Value, json};

const SWITCH_TIMEOUT: Duration = Duration::from_secs(20);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(40);
/// Covers retry interval (0.3 s), access timeout (0.5 s) and monitor timeout (1 s) of the fast profile twice: a switch
/// that was going to happen would have happened.
const QUIET_WINDOW: Duration = Duration::from_secs(4);

type Watchers = [(String, Watcher)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_fails_over_and_back() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let mut stage = step("both sides become healthy", harness.stage(Timing::FAST)).await?;
        let (cluster, watchers) = (&harness.cluster, harness.watch_monitors().await?);
        step("a killed database", killed(cluster, &mut stage, &watchers)).await?;
        step("a hanging database", hanging(cluster, &mut stage, &watchers)).await?;
        step("a flapping database", flapping(cluster, &mut stage, &watchers)).await?;
        step("monitors that cannot begin", cannot_begin(cluster, &stage)).await?;
        step("every watcher saw the same", judge(&stage, &watchers)).await
    };
    harness.run(test).await
}

async fn killed(cluster: &DevCluster, stage: &mut Stage, watchers: &Watchers) -> Result<()> {
    let rest = &cluster.rest;
    let load = ApplicationLoad::start(cluster, stage).await?;
    load.wait_rows(30).await?;
    let before = stage.view(rest).await?;
    stage.pair.dc1.kill()?;
    all_see_active(watchers, &stage.monitor, "dc2", 1, SWITCH_TIMEOUT).await?;
    for client in load.clients() {
        client.wait_active("dc2", SWITCH_TIMEOUT).await?;
    }
    load.wait_rows(30).await?;
    let view = stage.view(rest).await?;
    ensure!(
        view["last_switch"]["cause"] == "source-abnormal",
        "{}",
        view["last_switch"]
    );
    ensure!(
        view["epoch"].as_u64() > before["epoch"].as_u64(),
        "the epoch does not rise: {view}"
    );
    one_revision(stage, watchers, &view, "dc2", "false")?;

    refused_switchbacks(stage, rest).await?;

    stage.pair.dc1.start()?;
    return_to_dc1(
        stage,
        rest,
        json!({"reason": "dc1 is back", "acknowledge": true, "restore_readable": true}),
    )
    .await?;
    for client in load.clients() {
        client.wait_active("dc1", SWITCH_TIMEOUT).await?;
    }
    let view = stage.view(rest).await?;
    let revision = view["last_switch"]["revision"].as_i64().context("revision")?;
    all_see_active(watchers, &stage.monitor, "dc1", revision, SWITCH_TIMEOUT).await?;
    one_revision(stage, watchers, &view, "dc1", "true")?;
    load.wait_rows(30).await?;

    let (clients, acknowledged) = load.finish().await?;
    stage
        .pair
        .wait_caught_up(&stage.pair.dc1, &stage.pair.dc2, SETTLE_TIMEOUT)
        .await?;
    let (dc1, dc2) = (rows_of(&stage.pair.dc1).await?, rows_of(&stage.pair.dc2).await?);
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|row| !dc1.contains(*row) || !dc2.contains(*row))
        .collect();
    ensure!(
        lost.is_empty(),
        "acknowledged rows that are not on both sides: {lost:?}"
    );
    let misdirected: Vec<_> = clients.iter().flat_map(|client| client.misdirected()).collect();
    ensure!(
        misdirected.is_empty(),
        "statements on a side that was no longer active: {misdirected:?}"
    );
    Ok(())
}

/// While dc1 is down nothing but a forced switch with a reason goes there, and a refusal changes nothing.
async fn refused_switchbacks(stage: &Stage, rest: &RestClient) -> Result<()> {
    let before = stage.view(rest).await?;
    let refused = stage.switch(rest, "dc1", json!({"reason": "too early"})).await?;
    ensure!(
        (refused.status, refused.code()) == (409, "target-abnormal"),
        "{refused:?}"
    );
    let preview = stage.switch(rest, "dc1", json!({"dry_run": true})).await?.success()?;
    ensure!(
        preview["allowed"] == false && preview["refusal"]["code"] == "target-abnormal",
        "{preview}"
    );
    let no_reason = stage.switch(rest, "dc1", json!({"force": true})).await?;
    ensure!(
        (no_reason.status, no_reason.code()) == (422, "reason-required"),
        "{no_reason:?}"
    );
    let after = stage.view(rest).await?;
    ensure!(
        after["active"] == "dc2" && after["epoch"] == before["epoch"],
        "a refusal changed something: {after}"
    );
    Ok(())
}

/// Waits until dc1 has what dc2 has and is healthy, and switches back by hand.
async fn return_to_dc1(stage: &mut Stage, rest: &RestClient, extra: Value) -> Result<()> {
    stage.pair.dc1.wait_ready(SETTLE_TIMEOUT).await?;
    stage
        .pair
        .wait_caught_up(&stage.pair.dc2, &stage.pair.dc1, SETTLE_TIMEOUT)
        .await?;
    stage.wait_sides(rest, "healthy", "healthy", SETTLE_TIMEOUT).await?;
    stage.switch(rest, "dc1", extra).await?.success()?;
    Ok(())
}

/// The revision of the last switch holds `active` and the readable flag of dc1, for every watcher.
fn one_revision(stage: &Stage, watchers: &Watchers, view: &Value, active: &str, dc1_readable: &str) -> Result<()> {
    let revision = view["last_switch"]["revision"].as_i64().context("revision")?;
    for (name, watcher) in watchers {
        let events = events_of(watcher, &stage.monitor);
        let value = |leaf: &str| {
            let event = events
                .iter()
                .find(|event| event.revision == revision && event.key.ends_with(leaf));
            event.and_then(|event| event.value.clone())
        };
        let found = (value("/active"), value("/dc1/readable"));
        let expected = (Some(active.to_owned()), Some(dc1_readable.to_owned()));
        ensure!(
            found == expected,
            "{name}: revision {revision} has {found:?}, not {expected:?}"
        );
    }
    Ok(())
}

/// SIGSTOP: connections are accepted and nothing answers.
async fn hanging(cluster: &DevCluster, stage: &mut Stage, watchers: &Watchers) -> Result<()> {
    let rest = &cluster.rest;
    let since = stage.view(rest).await?["last_switch"]["revision"]
        .as_i64()
        .context("revision")?;
    stage.pair.dc1.pause()?;
    all_see_active(watchers, &stage.monitor, "dc2", since, SWITCH_TIMEOUT).await?;
    stage.wait_sides(rest, "abnormal", "healthy", SETTLE_TIMEOUT).await?;
    stage.pair.dc1.resume()?;
    return_to_dc1(stage, rest, json!({"reason": "awake again", "acknowledge": true})).await
}

/// A database that fails again and again causes one switch; after a plain switchback the next one is withheld until an
/// operator acknowledges.
async fn flapping(cluster: &DevCluster, stage: &mut Stage, watchers: &Watchers) -> Result<()> {
    let rest = &cluster.rest;
    let first = stage.view(rest).await?["epoch"].as_u64().context("epoch")?;
    for _ in 0..3 {
        stage.pair.dc1.kill()?;
        stage.wait_sides(rest, "abnormal", "healthy", SETTLE_TIMEOUT).await?;
        stage.pair.dc1.start()?;
        stage.wait_sides(rest, "healthy", "healthy", SETTLE_TIMEOUT).await?;
    }
    let view = stage.view(rest).await?;
    ensure!(
        view["active"] == "dc2" && view["epoch"] == first + 1,
        "not exactly one switch: {view}"
    );
    return_to_dc1(
        stage,
        rest,
        json!({"reason": "a plain switchback acknowledges nothing"}),
    )
    .await?;

    stage.pair.dc1.kill()?;
    stage.wait_sides(rest, "abnormal", "healthy", SETTLE_TIMEOUT).await?;
    throughout("the repeat block holds", QUIET_WINDOW, async || {
        let view = stage.view(rest).await?;
        let blocked = view["active"] == "dc1" && view["epoch"] == first + 2;
        ensure!(blocked && view["withheld"] == "repeat-block", "{view}");
        Ok(())
    })
    .await?;
    let events = rest
        .get(&format!("/events?code=failover-withheld&monitor={}", stage.monitor))
        .await?;
    ensure!(
        events["items"].as_array().is_some_and(|items| !items.is_empty()),
        "no event tells of it: {events}"
    );

    rest.post(
        &format!("{}/acknowledge", stage.path()),
        json!({"comment": "looked into"}),
    )
    .await?;
    let revision = eventually("the acknowledged failover", SWITCH_TIMEOUT, async || {
        let view = stage.view(rest).await?;
        Ok((view["active"] == "dc2" && view["epoch"] == first + 3).then(|| view["last_switch"]["revision"].as_i64()))
    })
    .await?;
    all_see_active(
        watchers,
        &stage.monitor,
        "dc2",
        revision.context("revision")?,
        SWITCH_TIMEOUT,
    )
    .await?;
    stage.pair.dc1.start()?;
    return_to_dc1(stage, rest, json!({"reason": "calm again", "acknowledge": true})).await
}

/// A wrong password, a name that does not resolve and a port that nobody listens on: yellow, never a switch.
async fn cannot_begin(cluster: &DevCluster, stage: &Stage) -> Result<()> {
    let rest = &cluster.rest;
    let (dc1, dc2) = (stage.pair.dc1.address(), stage.pair.dc2.address());
    let mut wrong_password = monitor_body(&stage.application, "wrong-password", Timing::FAST, &dc1, &dc2);
    wrong_password["mysql"]["password"] = json!("not the password");
    let no_name = monitor_body(
        &stage.application,
        "no-name",
        Timing::FAST,
        "db1.invalid:3306",
        "db2.invalid:3306",
    );
    let nobody = monitor_body(&stage.application, "nobody", Timing::FAST, "127.0.0.1:1", "127.0.0.1:2");
    let mut ids = Vec::new();
    for mut body in [wrong_password, no_name, nobody] {
        body["connection_pool"] = rest.get(&stage.path()).await?["connection_pool"].clone();
        ids.push(create_monitor(rest, body).await?);
    }
    let state = async |id: &String| {
        let view = rest.get(&format!("{INSTANCE}/monitors/{id}")).await?;
        ensure!(
            view["active"] == "dc1" && view["epoch"] == 0,
            "{} was switched: {view}",
            view["name"]
        );
        let states = (view["dc1"]["state"].clone(), view["dc2"]["state"].clone());
        Ok((states == (json!("init-failed"), json!("init-failed"))).then_some(()))
    };
    for id in &ids {
        eventually("init-failed", SETTLE_TIMEOUT, async || state(id).await).await?;
    }
    throughout("yellow stays yellow", QUIET_WINDOW, async || {
        for id in &ids {
            state(id)
                .await?
                .with_context(|| format!("{id} is no longer init-failed"))?;
        }
        Ok(())
    })
    .await?;
    let view = rest.get(&format!("{INSTANCE}/monitors/{}", ids[0])).await?;
    let told = view["dc1"]["votes"].to_string();
    ensure!(told.contains("1045"), "the engine's own words are missing: {told}");
    for id in &ids {
        let path = format!("{INSTANCE}/monitors/{id}");
        let etag = rest.request(Method::GET, &path, None, None).await?.etag;
        rest.request(Method::DELETE, &path, None, etag).await?.success()?;
    }
    Ok(())
}

async fn judge(stage: &Stage, watchers: &Watchers) -> Result<()> {
    let records: Vec<_> = watchers
        .iter()
        .map(|(name, watcher)| (name.clone(), events_of(watcher, &stage.monitor)))
        .collect();
    let mut violations = checkers::agreement(&records);
    for (name, events) in &records {
        // Two of the killed database, two of the hanging one, four of the flapping one.
        violations.extend(checkers::active_changes(name, events, "dc1", 8));
        let mut revisions: Vec<i64> = events
            .iter()
            .filter(|event| is_active_of(event, &stage.monitor))
            .map(|event| event.revision)
            .collect();
        let count = revisions.len();
        revisions.dedup();
        if revisions.len() != count {
            violations.push(format!("{name}: a revision holds `active` more than once"));
        }
    }
    no_violations(&violations)
}
