//! SIGKILL of nodes: one after the other under a load, in the middle of a failover, and all three at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quorate_chaos::checkers;
use quorate_chaos::cluster::{DevCluster, NodeInfo};
use quorate_chaos::demo::ApplicationLoad;
use quorate_chaos::etcd::{Client, PutRequest, RangeRequest, revision};
use quorate_chaos::faults::Signal;
use quorate_chaos::harness::{Harness, all_see_active, events_of, eventually, no_violations, step};
use quorate_chaos::kv;
use quorate_chaos::kv_load::{KvLoad, KvRecord};
use quorate_chaos::scenario::{Stage, Timing};
use quorate_chaos::watcher::Watcher;
use quorate_chaos::writers::{Write, failures, longest_gap};
use serde_json::{Value, json};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const SWITCH_TIMEOUT: Duration = Duration::from_secs(20);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(40);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_nodes_lose_nothing_and_return() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        step("each node in turn under a load", in_turn(&mut harness.cluster)).await?;
        step("the leader hangs and wakes up", hung_leader(&harness.cluster)).await?;
        let mut stage = step("both sides become healthy", harness.stage(Timing::FAST)).await?;
        let watchers = harness.watch_monitors().await?;
        for moment in [Moment::WithTheDatabase, Moment::AtTheFirstVote, Moment::AtTheSwitch] {
            let name = format!("the leader is killed in a failover: {moment:?}");
            step(&name, in_failover(&mut harness.cluster, &mut stage, &watchers, moment)).await?;
        }
        step(
            "every watcher saw exactly the switches that were due",
            judge(&stage, &watchers),
        )
        .await?;
        step("all three at once", all_at_once(&mut harness.cluster, &stage)).await
    };
    harness.run(test).await
}

/// The leader first, so that the others are followers once and leaders maybe.
async fn in_turn(cluster: &mut DevCluster) -> Result<()> {
    let load = KvLoad::start(cluster, "/in-turn/").await?;
    load.wait_acknowledged(100, READY_TIMEOUT).await?;
    let leader = cluster.leader(READY_TIMEOUT).await?;
    let order: Vec<u64> = (0..3).map(|offset| (leader - 1 + offset) % 3 + 1).collect();
    let mut absences = Vec::new();
    for node in order {
        let others: Vec<u64> = (1..=3).filter(|other| *other != node).collect();
        let before: Vec<u32> = others.iter().map(|other| load.watch_broken(*other)).collect();
        let killed = Instant::now();
        cluster.signal(node, Signal::Kill)?;
        load.wait_acknowledged(100, READY_TIMEOUT)
            .await
            .with_context(|| format!("node {node} is dead"))?;
        let after: Vec<u32> = others.iter().map(|other| load.watch_broken(*other)).collect();
        ensure!(
            before == after,
            "the loss of node {node} broke watches on {others:?}: {before:?} → {after:?}"
        );
        cluster.restart(node).await?;
        cluster.wait_ready(node, READY_TIMEOUT).await?;
        load.wait_acknowledged(100, READY_TIMEOUT)
            .await
            .with_context(|| format!("node {node} is back"))?;
        load.wait_watching().await?;
        absences.push((node, killed, Instant::now()));
    }
    let record = load.finish(cluster).await?;
    let KvRecord { writes, reads, .. } = &record;
    println!("  {} writes and {} reads checked", writes.len(), reads.len());
    for (node, killed, back) in absences {
        let during = |write: &&Write| write.ended >= killed && write.ended <= back;
        let own = |write: &&Write| write.key.starts_with(&format!("/in-turn/{}-", node - 1));
        let others: Vec<Write> = writes
            .iter()
            .filter(during)
            .filter(|write| !own(write))
            .cloned()
            .collect();
        let (gap, failed) = (longest_gap(&others), failures(&others));
        // A figure, not a bound: `cargo xtask bench` measures.
        println!(
            "  node {node} killed: write gap {gap:.0?}, {} of {} puts through the others failed",
            failed.len(),
            others.len()
        );
        for failure in failed.iter().take(3) {
            println!(
                "    {:?} after {:.0?}",
                failure.outcome,
                failure.ended - failure.started
            );
        }
    }
    Ok(())
}

/// A leader that sleeps through its own replacement answers nothing from the past when it wakes up.
async fn hung_leader(cluster: &DevCluster) -> Result<()> {
    let load = KvLoad::start(cluster, "/hung/").await?;
    load.wait_acknowledged(50, READY_TIMEOUT).await?;
    let leader = cluster.leader(READY_TIMEOUT).await?;
    cluster.signal(leader, Signal::Stop)?;
    load.wait_acknowledged(100, READY_TIMEOUT)
        .await
        .context("the others go on")?;
    cluster.signal(leader, Signal::Continue)?;
    cluster.wait_ready(leader, READY_TIMEOUT).await?;
    load.wait_acknowledged(100, READY_TIMEOUT).await?;
    load.finish(cluster).await.map(drop)
}

/// When the leader is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    WithTheDatabase,
    AtTheFirstVote,
    AtTheSwitch,
}

/// dc1's database and the leader die in one failover; application processes on every node follow it.
async fn in_failover(
    cluster: &mut DevCluster,
    stage: &mut Stage,
    watchers: &[(String, Watcher)],
    moment: Moment,
) -> Result<()> {
    let before = stage.view(&cluster.rest).await?;
    let since = cluster_revision(cluster).await?;
    let epoch = before["epoch"].as_u64().context("epoch")?;
    let applications = ApplicationLoad::start(cluster, stage).await?;
    let load = KvLoad::start(cluster, &format!("/failover/{epoch}/")).await?;
    applications.wait_rows(10).await?;
    let leader = cluster.leader(READY_TIMEOUT).await?;
    stage.pair.dc1.kill()?;
    wait_for(moment, cluster, stage, watchers, since).await?;
    cluster.signal(leader, Signal::Kill)?;
    let survivors: Vec<_> = cluster.info.nodes.iter().filter(|node| node.id != leader).collect();
    for (name, watcher) in watchers
        .iter()
        .filter(|(name, _)| survivors.iter().any(|node| node.name == *name))
    {
        let seen = watcher.wait_for(SWITCH_TIMEOUT, |event| {
            event.revision > since && event.key.ends_with("/active") && event.value.as_deref() == Some("dc2")
        });
        seen.await.with_context(|| format!("{name} waits for dc2"))?;
    }
    for client in applications.clients() {
        client.wait_active("dc2", SWITCH_TIMEOUT).await?;
    }
    applications.wait_rows(10).await?;
    cluster.restart(leader).await?;
    cluster.wait_ready(leader, READY_TIMEOUT).await?;
    all_see_active(watchers, &stage.monitor, "dc2", since, SWITCH_TIMEOUT).await?;
    load.wait_acknowledged(50, READY_TIMEOUT).await?;
    load.finish(cluster).await?;

    stage.pair.dc1.start()?;
    stage.pair.dc1.wait_ready(SETTLE_TIMEOUT).await?;
    stage
        .wait_sides(&cluster.rest, "healthy", "healthy", SETTLE_TIMEOUT)
        .await?;
    let view = stage.view(&cluster.rest).await?;
    ensure!(
        view["active"] == "dc2" && view["epoch"] == epoch + 1,
        "not exactly one switch: {view}"
    );
    let extra = json!({"reason": "next round", "acknowledge": true, "restore_readable": true});
    stage.switch(&cluster.rest, "dc1", extra).await?.success()?;
    for client in applications.clients() {
        client.wait_active("dc1", SWITCH_TIMEOUT).await?;
    }
    let (clients, _) = applications.finish().await?;
    let misdirected: Vec<_> = clients.iter().flat_map(|client| client.misdirected()).collect();
    ensure!(
        misdirected.is_empty(),
        "statements on a side that was no longer active: {misdirected:?}"
    );
    Ok(())
}

async fn wait_for(
    moment: Moment,
    cluster: &DevCluster,
    stage: &Stage,
    watchers: &[(String, Watcher)],
    since: i64,
) -> Result<()> {
    match moment {
        Moment::WithTheDatabase => {}
        Moment::AtTheFirstVote => {
            eventually("a node votes down", SWITCH_TIMEOUT, async || {
                let votes = stage.view(&cluster.rest).await?["dc1"]["votes"].to_string();
                Ok(votes.contains("\"down\"").then_some(()))
            })
            .await?;
        }
        Moment::AtTheSwitch => {
            let (_, watcher) = watchers.first().context("a watcher")?;
            let switched = watcher.wait_for(SWITCH_TIMEOUT, |event| {
                event.revision > since && event.key.ends_with("/active") && event.value.as_deref() == Some("dc2")
            });
            switched.await?;
        }
    }
    Ok(())
}

async fn judge(stage: &Stage, watchers: &[(String, Watcher)]) -> Result<()> {
    let records: Vec<_> = watchers
        .iter()
        .map(|(name, watcher)| (name.clone(), events_of(watcher, &stage.monitor)))
        .collect();
    let mut violations = checkers::agreement(&records);
    for (name, events) in &records {
        // A failover and a switchback for each of three moments.
        violations.extend(checkers::active_changes(name, events, "dc1", 6));
    }
    no_violations(&violations)
}

async fn root(cluster: &DevCluster, node: &NodeInfo) -> Result<Client> {
    Client::connect(&kv::as_root(&cluster.info, &node.kv)?, CALL_TIMEOUT).await
}

async fn cluster_revision(cluster: &DevCluster) -> Result<i64> {
    let node = cluster.info.nodes.first().context("a node")?;
    Ok(revision(root(cluster, node).await?.get("any").await?.header.as_ref()))
}

/// Keys with a history and a lease, as they were acknowledged.
struct Past {
    lease: i64,
    /// Revisions of the two values of `/all/key`.
    first: i64,
    second: i64,
    /// Revision of the keyspace after everything.
    last: i64,
}

impl Past {
    async fn write(cluster: &DevCluster) -> Result<Self> {
        let mut client = root(cluster, cluster.node(1)?).await?;
        let lease = client.lease_grant(600).await?.id;
        let first = revision(client.put("/all/key", "first").await?.header.as_ref());
        let second = revision(client.put("/all/key", "second").await?.header.as_ref());
        let leased = PutRequest {
            key: "/all/leased".into(),
            value: "v".into(),
            lease,
            ..PutRequest::default()
        };
        client.put_with(leased).await?;
        let last = cluster_revision(cluster).await?;
        Ok(Self {
            lease,
            first,
            second,
            last,
        })
    }

    async fn check(&self, cluster: &DevCluster, node: &NodeInfo) -> Result<()> {
        let Self {
            lease,
            first,
            second,
            last,
        } = *self;
        let mut client = root(cluster, node).await?;
        let now = client.get("/all/key").await?;
        ensure!(
            revision(now.header.as_ref()) >= last,
            "the revision fell below {last}: {now:?}"
        );
        let kv = now.kvs.first().context("/all/key is gone")?;
        ensure!(
            (&kv.value[..], kv.mod_revision, kv.version) == (b"second", second, 2),
            "{kv:?}"
        );
        let past = RangeRequest {
            key: "/all/key".into(),
            revision: first,
            ..RangeRequest::default()
        };
        let past = client.range(past).await?;
        ensure!(
            past.kvs.first().is_some_and(|kv| &kv.value[..] == b"first"),
            "history: {past:?}"
        );
        let left = client.lease_time_to_live(lease).await?;
        ensure!(left.ttl > 0 && left.keys == ["/all/leased"], "the lease: {left:?}");
        let mut watch = client.watch_prefix("/all/", first).await?;
        let mut seen = 0;
        while seen < 3 {
            let message = tokio::time::timeout(CALL_TIMEOUT, watch.message())
                .await
                .context("history by watch")??;
            seen += message.context("the watch ended")?.events.len();
        }
        Ok(())
    }
}

/// Everything that was acknowledged before is there afterwards, on every node.
async fn all_at_once(cluster: &mut DevCluster, stage: &Stage) -> Result<()> {
    let past = Past::write(cluster).await?;
    // dc2 is active and unacknowledged: the state of a monitor in the middle of its story.
    stage
        .switch(&cluster.rest, "dc2", json!({"reason": "before the lights go out"}))
        .await?
        .success()?;
    let before = remembered(cluster, stage).await?;

    for node in 1..=3 {
        cluster.signal(node, Signal::Kill)?;
    }
    for node in 1..=3 {
        cluster.restart(node).await?;
    }
    for node in 1..=3 {
        cluster.wait_ready(node, READY_TIMEOUT).await?;
    }
    let after = remembered(cluster, stage).await?;
    for name in ["monitor", "audit", "applications", "quotas"] {
        ensure!(
            before[name] == after[name],
            "{name} was {} and is {}",
            before[name],
            after[name]
        );
    }
    for node in &cluster.info.nodes {
        past.check(cluster, node).await.with_context(|| node.name.clone())?;
    }
    root(cluster, cluster.node(2)?).await?.put("/all/after", "v").await?;
    Ok(())
}

/// What the machine remembers, without what a restart changes: votes, what ails a side (its replication comes back in this time),
/// contact, positions in the log.
async fn remembered(cluster: &DevCluster, stage: &Stage) -> Result<Value> {
    let rest = &cluster.rest;
    stage.wait_sides(rest, "healthy", "healthy", SETTLE_TIMEOUT).await?;
    let mut monitor = stage.view(rest).await?;
    for side in ["dc1", "dc2"] {
        monitor[side]["votes"] = Value::Null;
        monitor[side]["sub_health"] = Value::Null;
    }
    Ok(json!({
        "monitor": monitor,
        "audit": rest.get("/audit?limit=500").await?,
        "applications": rest.get("/instances/default/applications").await?,
        "quotas": rest.get("/quotas").await?,
    }))
}
