//! A node cut off from the others while its process and its clients' network are well.
//!
//! Its links to and from the other nodes fail in the launcher's fault proxy; clients and databases are still reached.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use quorate_chaos::cluster::{DevCluster, NodeInfo};
use quorate_chaos::etcd::{Client, Watch};
use quorate_chaos::faults::{Link, LinkFault, isolation};
use quorate_chaos::harness::{Harness, all_see_active, step, throughout};
use quorate_chaos::kv;
use quorate_chaos::kv_load::KvLoad;
use quorate_chaos::scenario::{Stage, Timing};
use quorate_chaos::sdk::SdkClient;
use quorate_chaos::watcher::Watcher;
use serde_json::json;
use tonic::{Code, Status};

const TIMEOUT: Duration = Duration::from_secs(20);
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// A node answers UNAVAILABLE once it has been without a quorum for 800 ms; an SDK gives it 1 s.
const UNAVAILABLE_WITHIN: Duration = Duration::from_secs(1);
/// A watch stream lives for 2 s without a leader; 5 s later it must be gone.
const WATCH_BROKEN: std::ops::Range<Duration> = Duration::from_millis(1900)..Duration::from_millis(3500);
/// Several elections long: one that was going to happen would have happened.
const QUIET_WINDOW: Duration = Duration::from_secs(3);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_node_says_so_and_its_clients_move_on() -> Result<()> {
    let harness = Harness::start(&["--faults"]).await?;
    let test = async |harness: &mut Harness| {
        let mut stage = step("both sides become healthy", harness.stage(Timing::FAST)).await?;
        let watchers = harness.watch_monitors().await?;
        let cluster = &harness.cluster;
        let leader = cluster.leader(READY_TIMEOUT).await?;
        let follower = leader % 3 + 1;
        step(
            "a follower is cut off",
            cut_off(cluster, &mut stage, &watchers, follower),
        )
        .await?;
        let leader = cluster.leader(READY_TIMEOUT).await?;
        step("the leader is cut off", cut_off(cluster, &mut stage, &watchers, leader)).await?;
        step("one link of the leader is cut", one_link(cluster)).await?;
        step("the leader hears but is not heard", not_heard(cluster)).await
    };
    harness.run(test).await
}

async fn cut_off(cluster: &DevCluster, stage: &mut Stage, watchers: &[(String, Watcher)], node: u64) -> Result<()> {
    let (lonely, proxy) = (cluster.node(node)?, cluster.fault_proxy()?);
    let epoch = stage.view(&cluster.rest).await?["epoch"].as_u64().context("epoch")?;
    let load = KvLoad::start(cluster, &format!("/cut/{node}/{epoch}/")).await?;
    load.wait_acknowledged(50, READY_TIMEOUT).await?;
    let mut configuration = stage.sdk_configuration(cluster).await?;
    configuration.endpoints.sort_by_key(|endpoint| *endpoint != lonely.kv);
    let sdk = SdkClient::start(&configuration).await?;
    let caller = Client::connect(&kv::as_root(&cluster.info, &lonely.kv)?, TIMEOUT).await?;
    let mut watching = caller.clone();
    let mut watch = watching.watch_prefix("/nothing/", 0).await?;
    watch.message().await?.context("the watch was not created")?;

    proxy.set(&isolation(node, &[1, 2, 3])).await?;
    let cut = Instant::now();
    unavailable(caller.clone(), lonely, cut).await?;
    let after = broken(&mut watch, cut).await?;
    load.wait_acknowledged(50, READY_TIMEOUT)
        .await
        .context("the others serve on")?;
    let starting = Instant::now();
    let fresh = SdkClient::start(&configuration)
        .await
        .context("an SDK that starts now takes the next endpoint")?;
    let started = starting.elapsed();
    stage.pair.dc1.kill()?;
    for client in [&sdk, &fresh] {
        client
            .wait_active("dc2", TIMEOUT)
            .await
            .context("an SDK follows the switch through another node")?;
    }
    println!("  watch broken after {after:?}; an SDK started in {started:?}");

    proxy.heal().await?;
    cluster.wait_ready(node, READY_TIMEOUT).await?;
    let view = stage.view(&cluster.rest).await?;
    ensure!(
        view["active"] == "dc2" && view["epoch"] == epoch + 1,
        "not exactly one switch: {view}"
    );
    let revision = view["last_switch"]["revision"].as_i64().context("revision")?;
    all_see_active(watchers, &stage.monitor, "dc2", revision, TIMEOUT)
        .await
        .context("the node rejoins")?;
    load.finish(cluster).await?;
    stage.pair.dc1.start()?;
    stage
        .wait_sides(&cluster.rest, "healthy", "healthy", READY_TIMEOUT)
        .await?;
    let extra = json!({"reason": "healed", "acknowledge": true, "restore_readable": true});
    stage.switch(&cluster.rest, "dc1", extra).await?.success()?;
    sdk.wait_active("dc1", TIMEOUT).await.map(drop)
}

/// Waits until the server breaks the watch, as older SDKs need it; gives the time after the cut.
async fn broken(watch: &mut Watch, cut: Instant) -> Result<Duration> {
    let broken = tokio::time::timeout(TIMEOUT, async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => bail!("the stream ended without a status, which ends older watchers for good"),
                Err(status) => return Ok(status),
            }
        }
    });
    let status = broken.await.context("the watch lives on")??;
    let after = cut.elapsed();
    ensure!(
        status.code() == Code::Unavailable && status.message() != "etcdserver: no leader",
        "{status:?}"
    );
    ensure!(
        WATCH_BROKEN.contains(&after),
        "the watch was broken {after:?} after the cut, not within {WATCH_BROKEN:?}"
    );
    Ok(after)
}

/// A call under way when the node is cut off, and calls afterwards, end with UNAVAILABLE inside an SDK's second.
async fn unavailable(mut client: Client, node: &NodeInfo, cut: Instant) -> Result<()> {
    let status = refused(client.put("/cut/lonely", "v").await)?;
    let first = cut.elapsed();
    ensure!(status.code() == Code::Unavailable, "{}: {status:?}", node.name);
    ensure!(
        first < UNAVAILABLE_WITHIN + SLACK,
        "{}: the first answer took {first:?}",
        node.name
    );
    for name in ["put", "get"] {
        let started = Instant::now();
        let status = match name {
            "put" => refused(client.put("/cut/lonely", "v").await)?,
            _ => refused(client.get("/cut/lonely").await)?,
        };
        let took = started.elapsed();
        ensure!(status.code() == Code::Unavailable, "{}: {name}: {status:?}", node.name);
        ensure!(took < SLACK, "{}: {name} was answered only after {took:?}", node.name);
    }
    Ok(())
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Result<Status> {
    match answer {
        Ok(reply) => bail!("a node without a quorum answered {reply:?}"),
        Err(status) => Ok(status),
    }
}

/// A follower that alone has lost the leader says so and disturbs nobody: no election while the others have a leader.
async fn one_link(cluster: &DevCluster) -> Result<()> {
    let leader = cluster.leader(READY_TIMEOUT).await?;
    let (lonely, proxy) = (cluster.node(leader % 3 + 1)?, cluster.fault_proxy()?);
    let load = KvLoad::start(cluster, "/one-link/").await?;
    load.wait_acknowledged(50, READY_TIMEOUT).await?;
    let caller = Client::connect(&kv::as_root(&cluster.info, &lonely.kv)?, TIMEOUT).await?;
    let term = cluster.rest.get("/cluster").await?["term"].clone();
    proxy.set(&isolation(lonely.id, &[leader])).await?;
    unavailable(caller, lonely, Instant::now()).await?;
    throughout("the leader stays", QUIET_WINDOW, async || {
        let view = cluster.rest.get("/cluster").await?;
        ensure!(
            view["leader"] == leader && view["term"] == term,
            "term {term}, leader {leader}: {view}"
        );
        Ok(())
    })
    .await?;
    load.wait_acknowledged(50, READY_TIMEOUT).await?;
    proxy.heal().await?;
    cluster.wait_ready(lonely.id, READY_TIMEOUT).await?;
    load.finish(cluster).await.map(drop)
}

/// What the leader sends on its own connections vanishes, what the others send on theirs arrives: they replace it, and
/// nothing that was acknowledged is lost.
async fn not_heard(cluster: &DevCluster) -> Result<()> {
    let (leader, proxy) = (cluster.leader(READY_TIMEOUT).await?, cluster.fault_proxy()?);
    let load = KvLoad::start(cluster, "/not-heard/").await?;
    load.wait_acknowledged(50, READY_TIMEOUT).await?;
    let others = (1..=3).filter(|other| *other != leader);
    let links: Vec<_> = others
        .map(|other| Link::from(leader, format!("node-{other}"), LinkFault::OneWay))
        .collect();
    proxy.set(&links).await?;
    load.wait_acknowledged(200, READY_TIMEOUT)
        .await
        .context("the others go on")?;
    proxy.heal().await?;
    for node in 1..=3 {
        cluster.wait_ready(node, READY_TIMEOUT).await?;
    }
    load.wait_acknowledged(50, READY_TIMEOUT).await?;
    load.finish(cluster).await.map(drop)
}
