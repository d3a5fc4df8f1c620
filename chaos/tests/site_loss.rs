//! The primary site is lost: its node, which leads, falls silent, and a database of the site dies at the same moment.
//!
//! The links of node 1 are cut in the launcher's fault proxy, so that nothing of its host answers the others. One monitor's
//! database in dc1 goes on, and is still reached by the other nodes; another one's is killed. With the datacenter-level
//! automatic switch off only the dead database moves its monitor; with it on, both move. A killed process, an announced
//! departure and a pause are no lost site, or move nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::checkers;
use quorate_chaos::faults::{Signal, isolation};
use quorate_chaos::harness::{
    Harness, all_see_active, events_of, eventually, is_active_of, no_violations, step, throughout,
};
use quorate_chaos::rest::RestClient;
use quorate_chaos::scenario::{INSTANCE, Stage, Timing, create_monitor, monitor_body};
use quorate_chaos::watcher::Watcher;
use quorate_real_parts::mariadb::{MariaDbPair, PairOptions};
use reqwest::Method;
use serde_json::{Value, json};

/// The node of the primary site.
const PRIMARY: u64 = 1;
/// Silence after which a site counts as lost in this test.
const SITE_TIMEOUT_MS: u64 = 4_000;
const SWITCH_TIMEOUT: Duration = Duration::from_secs(30);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(40);
/// Leadership returns to the primary site a minute after its node is well again.
const LEADER_TIMEOUT: Duration = Duration::from_secs(100);
/// A lapse (1.5 s), the site timeout and an election fit in twice: a switch that was going to happen would have happened.
const QUIET_WINDOW: Duration = Duration::from_secs(13);

type Watchers = [(String, Watcher)];

/// The monitor whose database in dc1 lives on (the stage's), and the one whose database is killed.
struct Two {
    stage: Stage,
    alone: MariaDbPair,
    alone_monitor: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_site_moves_what_is_set_to_move() -> Result<()> {
    let harness = Harness::start(&["--faults"]).await?;
    let test = async |harness: &mut Harness| {
        let mut two = step("two monitors become healthy", two_monitors(harness)).await?;
        let watchers = harness.watch_monitors().await?;
        step("settings", settings(harness)).await?;
        step(
            "off: only the dead database moves its monitor",
            off(harness, &mut two, &watchers),
        )
        .await?;
        step("a killed process is no lost site", killed(harness, &two)).await?;
        step("an announced departure is no lost site", departed(harness, &two)).await?;
        step("the primary leads again", primary_leads(harness)).await?;
        step("on: everything moves", on(harness, &mut two, &watchers)).await?;
        step("every watcher saw the same", judge(&two, &watchers)).await
    };
    harness.run(test).await
}

async fn two_monitors(harness: &Harness) -> Result<Two> {
    let stage = harness.stage(Timing::FAST).await?;
    let rest = &harness.cluster.rest;
    let options = PairOptions {
        monitor_connections: 60,
        ..PairOptions::default()
    };
    let folder = harness.cluster.directory().join("alone");
    let alone = MariaDbPair::start(&folder, options).await?;
    let (dc1, dc2) = (alone.dc1.address(), alone.dc2.address());
    let mut body = monitor_body(&stage.application, "alone", Timing::FAST, &dc1, &dc2);
    let mut pool = rest.get(&stage.path()).await?["connection_pool"].clone();
    pool["dc1"]["source"]["address"] = json!(dc1);
    pool["dc2"]["source"]["address"] = json!(dc2);
    body["connection_pool"] = pool;
    let alone_monitor = create_monitor(rest, body).await?;
    let two = Two {
        stage,
        alone,
        alone_monitor,
    };
    healthy(rest, &two).await?;
    Ok(two)
}

async fn monitor(rest: &RestClient, id: &str) -> Result<Value> {
    rest.get(&format!("{INSTANCE}/monitors/{id}")).await
}

async fn healthy(rest: &RestClient, two: &Two) -> Result<()> {
    for id in [&two.stage.monitor, &two.alone_monitor] {
        eventually("both sides healthy", SETTLE_TIMEOUT, async || {
            let view = monitor(rest, id).await?;
            let sides = (view["dc1"]["state"].as_str(), view["dc2"]["state"].as_str());
            Ok((sides == (Some("healthy"), Some("healthy"))).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Waits until a site has this state.
async fn site_is(rest: &RestClient, site: &str, state: &str) -> Result<Value> {
    eventually(&format!("{site} is {state}"), SETTLE_TIMEOUT, async || {
        let sites = rest.get("/sites").await?;
        let found = sites["items"]
            .as_array()
            .and_then(|sites| sites.iter().find(|found| found["site"] == site));
        Ok((found.context("the site")?["state"] == state).then_some(sites))
    })
    .await
}

/// Sets something; again while a busy machine has no leader for a moment.
async fn put(rest: &RestClient, path: &str, body: Value) -> Result<Value> {
    eventually(path, SETTLE_TIMEOUT, async || {
        let answer = rest.request(Method::PUT, path, Some(body.clone()), None).await?;
        answer.success().map(Some)
    })
    .await
}

/// The links of a healthy cluster answer; the site timeout is shortened; the setting without a witness warns.
async fn settings(harness: &Harness) -> Result<()> {
    let rest = &harness.cluster.rest;
    let sites = site_is(rest, "dc1", "normal").await?;
    let links = eventually("every link is measured", SETTLE_TIMEOUT, async || {
        let sites = rest.get("/sites").await?;
        let links = sites["links"].as_array().cloned().unwrap_or_default();
        let measured = |link: &Value| link["state"] == "up" && link["rtt_us"].as_u64().is_some_and(|rtt| rtt > 0);
        Ok((links.len() == 6 && links.iter().all(measured)).then_some(links))
    })
    .await?;
    println!("  a link: {}", links[0]);
    ensure!(sites["silent_nodes"] == json!([]), "{sites}");
    put(rest, "/sites/settings", json!({"site_timeout_ms": SITE_TIMEOUT_MS})).await?;
    let refused = rest
        .request(
            Method::PUT,
            "/sites/settings",
            Some(json!({"site_timeout_ms": 1})),
            None,
        )
        .await?;
    ensure!(refused.status == 422, "{refused:?}");
    let on = put(rest, &format!("{INSTANCE}/site-switch"), json!({"on": true})).await?;
    let warned = on["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
    ensure!(on["on"] == true && on["concerned_monitors"] == 2 && warned, "{on}");
    let off = put(rest, &format!("{INSTANCE}/site-switch"), json!({"on": false})).await?;
    ensure!(off["on"] == false, "{off}");
    Ok(())
}

async fn primary_leads(harness: &Harness) -> Result<()> {
    eventually("node 1 leads", LEADER_TIMEOUT, async || {
        let leader = harness.cluster.leader(SETTLE_TIMEOUT).await?;
        Ok((leader == PRIMARY).then_some(()))
    })
    .await
}

async fn lose_site(harness: &Harness, two: &mut Two) -> Result<()> {
    two.alone.dc1.kill()?;
    harness
        .cluster
        .fault_proxy()?
        .set(&isolation(PRIMARY, &[1, 2, 3]))
        .await
}

/// Whole links again, and both monitors on dc1, healthy and acknowledged.
async fn restore(harness: &Harness, two: &mut Two) -> Result<()> {
    let rest = &harness.cluster.rest;
    harness.cluster.fault_proxy()?.heal().await?;
    harness.cluster.wait_ready(PRIMARY, SETTLE_TIMEOUT).await?;
    site_is(rest, "dc1", "normal").await?;
    two.alone.dc1.start()?;
    two.alone.dc1.wait_ready(SETTLE_TIMEOUT).await?;
    healthy(rest, two).await
}

async fn switch_back(rest: &RestClient, id: &str) -> Result<Value> {
    let body = json!({"to": "dc1", "reason": "the site is back", "acknowledge": true, "restore_readable": true});
    eventually("the switchback", SWITCH_TIMEOUT, async || {
        let view = monitor(rest, id).await?;
        if view["active"] == "dc1" {
            return Ok(Some(view));
        }
        rest.post(&format!("{INSTANCE}/monitors/{id}/switch"), body.clone())
            .await?;
        Ok(None)
    })
    .await
}

async fn off(harness: &mut Harness, two: &mut Two, watchers: &Watchers) -> Result<()> {
    primary_leads(harness).await?;
    lose_site(harness, two).await?;
    let rest = &harness.cluster.rest;
    let failed_over = eventually("the dead database's monitor", SWITCH_TIMEOUT, async || {
        let view = monitor(rest, &two.alone_monitor).await?;
        Ok((view["active"] == "dc2").then_some(view))
    })
    .await?;
    ensure!(
        failed_over["last_switch"]["cause"] == "source-abnormal",
        "{failed_over}"
    );
    let sites = site_is(rest, "dc1", "lost").await?;
    let warned = sites["warnings"].to_string();
    ensure!(
        warned.contains("may keep writing"),
        "nothing is said of the isolated site: {warned}"
    );
    stay(rest, &[&two.stage.monitor]).await?;
    let view = monitor(rest, &two.stage.monitor).await?;
    ensure!(view["epoch"] == 0, "{view}");
    restore(harness, two).await?;
    let rest = &harness.cluster.rest;
    let view = switch_back(rest, &two.alone_monitor).await?;
    let revision = view["last_switch"]["revision"].as_i64().context("revision")?;
    all_see_active(watchers, &two.alone_monitor, "dc1", revision, SWITCH_TIMEOUT).await?;
    put(rest, &format!("{INSTANCE}/site-switch"), json!({"on": true}))
        .await
        .map(drop)
}

/// The monitors stay on dc1 for long enough. A moment without a leader on a busy machine is no observation; the last look
/// counts in any case.
async fn stay(rest: &RestClient, monitors: &[&String]) -> Result<()> {
    throughout("nothing moves", QUIET_WINDOW, async || {
        for id in monitors {
            if let Ok(view) = monitor(rest, id).await {
                ensure!(view["active"] == "dc1", "{view}");
            }
        }
        Ok(())
    })
    .await?;
    for id in monitors {
        let view = eventually("a last look", SETTLE_TIMEOUT, async || {
            monitor(rest, id).await.map(Some)
        })
        .await?;
        ensure!(view["active"] == "dc1", "{view}");
    }
    Ok(())
}

async fn nothing_moves(rest: &RestClient, two: &Two) -> Result<()> {
    stay(rest, &[&two.stage.monitor, &two.alone_monitor]).await
}

/// Its host refuses connections: it is there.
async fn killed(harness: &mut Harness, two: &Two) -> Result<()> {
    harness.cluster.signal(PRIMARY, Signal::Kill)?;
    site_is(&harness.cluster.rest, "dc1", "down").await?;
    nothing_moves(&harness.cluster.rest, two).await?;
    harness.cluster.restart(PRIMARY).await?;
    harness.cluster.wait_ready(PRIMARY, SETTLE_TIMEOUT).await?;
    site_is(&harness.cluster.rest, "dc1", "normal").await.map(drop)
}

/// By an operator before the links are cut, and by the node itself when it is told to stop.
async fn departed(harness: &mut Harness, two: &Two) -> Result<()> {
    let path = format!("/cluster/nodes/{PRIMARY}/maintenance");
    put(
        &harness.cluster.rest,
        &path,
        json!({"on": true, "reason": "new switch in the rack"}),
    )
    .await?;
    let proxy = harness.cluster.fault_proxy()?;
    proxy.set(&isolation(PRIMARY, &[1, 2, 3])).await?;
    site_is(&harness.cluster.rest, "dc1", "departed").await?;
    nothing_moves(&harness.cluster.rest, two).await?;
    proxy.heal().await?;
    site_is(&harness.cluster.rest, "dc1", "normal").await?;
    put(&harness.cluster.rest, &path, json!({"on": false})).await?;

    harness.cluster.signal(PRIMARY, Signal::Terminate)?;
    site_is(&harness.cluster.rest, "dc1", "departed").await?;
    harness.cluster.restart(PRIMARY).await?;
    harness.cluster.wait_ready(PRIMARY, SETTLE_TIMEOUT).await?;
    let sites = site_is(&harness.cluster.rest, "dc1", "normal").await?;
    let returned = eventually("the departure is over", SETTLE_TIMEOUT, async || {
        let sites = harness.cluster.rest.get("/sites").await?;
        Ok((!sites["items"].to_string().contains("departure")).then_some(()))
    });
    returned.await.with_context(|| format!("{sites}"))
}

/// Paused, a lost site moves nothing; resumed, both monitors move, each once, and the loss is the cause.
async fn on(harness: &mut Harness, two: &mut Two, watchers: &Watchers) -> Result<()> {
    let rest = harness.cluster.rest.clone();
    put(
        &rest,
        "/switching",
        json!({"paused": true, "reason": "watching closely"}),
    )
    .await?;
    lose_site(harness, two).await?;
    site_is(&rest, "dc1", "lost").await?;
    for id in [&two.stage.monitor, &two.alone_monitor] {
        eventually("the pause withholds", SETTLE_TIMEOUT, async || {
            let view = monitor(&rest, id).await?;
            ensure!(view["active"] == "dc1", "{view}");
            Ok((view["withheld"] == "paused" && view["switching_held"] == "paused").then_some(()))
        })
        .await?;
    }
    let cluster = rest.get("/cluster").await?;
    ensure!(cluster["pauses"][0]["reason"] == "watching closely", "{cluster}");
    let page = rest.page(&harness.cluster.node(2)?.console, "/metrics").await?;
    for line in [
        "quorate_switching_paused 1",
        "quorate_sites_lost 1",
        "quorate_failovers_withheld 2",
    ] {
        ensure!(page.contains(line), "{line} is not among the metrics");
    }
    put(&rest, "/switching", json!({"paused": false})).await?;
    let mut revisions = Vec::new();
    for id in [&two.stage.monitor, &two.alone_monitor] {
        let view = eventually("the lost site's monitors", SWITCH_TIMEOUT, async || {
            let view = monitor(&rest, id).await?;
            Ok((view["active"] == "dc2").then_some(view))
        })
        .await?;
        ensure!(view["last_switch"]["cause"] == "site-lost", "{view}");
        revisions.push(view["last_switch"]["revision"].as_i64().context("revision")?);
    }
    ensure!(revisions[0] == revisions[1], "not one revision: {revisions:?}");
    let events = rest.get("/events?code=failover-withheld").await?;
    ensure!(
        events["items"].to_string().contains("paused"),
        "no event tells of the pause: {events}"
    );
    let history = rest
        .get(&format!("{INSTANCE}/monitors/{}/history", two.alone_monitor))
        .await?;
    ensure!(history["items"].to_string().contains("abnormal"), "{history}");
    restore(harness, two).await?;
    for id in [&two.stage.monitor, &two.alone_monitor] {
        all_see_active(watchers, id, "dc2", revisions[0], SWITCH_TIMEOUT).await?;
    }
    // Back as an application: one command, one revision.
    let path = format!("{INSTANCE}/applications/{}/switch", two.stage.application);
    let preview = rest.post(&path, json!({"to": "dc1", "dry_run": true})).await?;
    ensure!(
        preview["allowed"] == true && preview["connected_processes"].is_u64(),
        "{preview}"
    );
    let body = json!({"to": "dc1", "reason": "the site is back", "acknowledge": true, "restore_readable": true});
    let switched = async || rest.post(&path, body.clone()).await.map(Some);
    let back = eventually("the application's switch", SWITCH_TIMEOUT, switched).await?;
    let revision = back["revision"].as_i64().context("revision")?;
    ensure!(
        back["monitors"].as_array().is_some_and(|monitors| monitors.len() == 2),
        "{back}"
    );
    for id in [&two.stage.monitor, &two.alone_monitor] {
        all_see_active(watchers, id, "dc1", revision, SWITCH_TIMEOUT).await?;
    }
    Ok(())
}

async fn judge(two: &Two, watchers: &Watchers) -> Result<()> {
    let mut violations = Vec::new();
    // The stage's: to dc2 and back once. The other's: twice.
    for (id, changes) in [(&two.stage.monitor, 2), (&two.alone_monitor, 4)] {
        let records: Vec<_> = watchers
            .iter()
            .map(|(name, watcher)| {
                let mut events = events_of(watcher, id);
                events.retain(|event| is_active_of(event, id));
                (name.clone(), events)
            })
            .collect();
        violations.extend(checkers::agreement(&records));
        for (name, events) in &records {
            violations.extend(checkers::active_changes(name, events, "dc1", changes));
        }
    }
    no_violations(&violations)
}
