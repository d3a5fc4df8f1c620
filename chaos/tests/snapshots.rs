//! Snapshots in real life: a node that was away for longer than the log reaches back returns by one, all three start from
//! theirs, and a damaged one that nothing can replace keeps its node from starting.
//!
//! The nodes make a snapshot every few hundred entries, so that a test need not write the hundred thousand of production.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::checkers;
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::demo::read_all;
use quorate_chaos::etcd::{Client, PutRequest};
use quorate_chaos::faults::{Signal, process_alive};
use quorate_chaos::harness::{Harness, eventually, no_violations, step};
use quorate_chaos::kv;
use quorate_chaos::scenario::{INSTANCE, create_application};
use quorate_chaos::writers::{Write, WriterOptions, Writers};
use tokio::process::Command;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that is going to refuse its files does so at once; this also bounds one that wrongly starts.
const EXIT_TIMEOUT: Duration = Duration::from_secs(15);
const EVERY_ENTRIES: u64 = 400;
const SETTINGS: [(&str, &str); 1] = [("QUORATE_LIMITS_SNAPSHOT_EVERY_ENTRIES", "400")];
const PREFIX: &str = "/snapshots/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_carry_everything_and_damaged_ones_are_refused() -> Result<()> {
    let harness = Harness::start_with(&[], &SETTINGS).await?;
    let test = async |harness: &mut Harness| {
        let cluster = &mut harness.cluster;
        let leader = cluster.leader(READY_TIMEOUT).await?;
        let away = leader % 3 + 1;
        let mut writes = Vec::new();
        step("a node returns by a snapshot", returns(cluster, away, &mut writes)).await?;
        step("all start from their snapshots", all_start(cluster, &writes)).await?;
        step("damaged snapshots", damaged(cluster, away)).await?;
        everything_is_there(cluster, &writes).await
    };
    harness.run(test).await
}

/// Kills `away`, writes until the others have thrown away what it knows, and lets it return.
async fn returns(cluster: &mut DevCluster, away: u64, writes: &mut Vec<Write>) -> Result<()> {
    let mut client = root(cluster, away).await?;
    let lease = client.lease_grant(600).await?.id;
    let leased = PutRequest {
        key: "/leased".into(),
        value: "v".into(),
        lease,
        ..PutRequest::default()
    };
    client.put_with(leased).await?;
    cluster.signal(away, Signal::Kill)?;
    create_application(&cluster.rest, "made while one was away").await?;
    let others = cluster.info.nodes.iter().filter(|node| node.id != away);
    let paths = others
        .map(|node| kv::as_root(&cluster.info, &node.kv))
        .collect::<Result<Vec<_>>>()?;
    let options = WriterOptions {
        per_path: 16,
        pause: Duration::ZERO,
        deadline: CALL_TIMEOUT,
        prefix: PREFIX.to_owned(),
    };
    let writers = Writers::start(&paths, &options).await?;
    let enough = usize::try_from(3 * EVERY_ENTRIES)?;
    writers.wait_acknowledged(enough, READY_TIMEOUT).await?;
    let others: Vec<PathBuf> = cluster
        .info
        .nodes
        .iter()
        .filter(|node| node.id != away)
        .map(|node| node.data_dir.clone())
        .collect();
    eventually("the others make snapshots", READY_TIMEOUT, async || {
        let made = others.iter().map(|data| snapshots(data)).collect::<Result<Vec<_>>>()?;
        Ok(made.iter().all(|files| files.len() >= 2).then_some(()))
    })
    .await?;
    writes.extend(writers.finish().await);
    let data = cluster.node(away)?.data_dir.clone();
    ensure!(
        snapshots(&data)?.is_empty(),
        "the node that was away has a snapshot already"
    );
    cluster.restart(away).await?;
    cluster.wait_ready(away, READY_TIMEOUT).await?;
    everything_is_there(cluster, writes).await?;
    ensure!(!snapshots(&data)?.is_empty(), "the node returned without a snapshot");
    let left = root(cluster, away).await?.lease_time_to_live(lease).await?;
    ensure!(left.ttl > 0 && left.keys == ["/leased"], "the lease: {left:?}");
    Ok(())
}

async fn all_start(cluster: &mut DevCluster, writes: &[Write]) -> Result<()> {
    for node in 1..=3 {
        cluster.signal(node, Signal::Kill)?;
    }
    for node in 1..=3 {
        cluster.restart(node).await?;
    }
    for node in 1..=3 {
        cluster.wait_ready(node, READY_TIMEOUT).await?;
    }
    let applications = cluster.rest.get(&format!("{INSTANCE}/applications")).await?;
    ensure!(
        applications.to_string().contains("made while one was away"),
        "{applications}"
    );
    everything_is_there(cluster, writes).await
}

type Damage = fn(&mut Vec<u8>);

/// With every snapshot of a node damaged, nothing reaches back to where its log begins.
async fn damaged(cluster: &mut DevCluster, node: u64) -> Result<()> {
    let info = cluster.node(node)?.clone();
    let pid = cluster.pid(node)?;
    let damages: [(&str, Damage); 2] = [
        ("truncated", |bytes| bytes.truncate(bytes.len() / 2)),
        ("one bit flipped", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }),
    ];
    cluster.signal(node, Signal::Kill)?;
    eventually("the node is gone", CALL_TIMEOUT, async || {
        Ok((!process_alive(pid)).then_some(()))
    })
    .await?;
    let files = snapshots(&info.data_dir)?;
    let sound = files.iter().map(std::fs::read).collect::<std::io::Result<Vec<_>>>()?;
    for (what, damage) in damages {
        for (file, sound) in files.iter().zip(&sound) {
            let mut bytes = sound.clone();
            damage(&mut bytes);
            std::fs::write(file, bytes)?;
        }
        let (program, arguments) = info.argv.split_first().context("argv is empty")?;
        let mut command = Command::new(program);
        command.args(arguments).envs(SETTINGS).kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let output = tokio::time::timeout(EXIT_TIMEOUT, command.spawn()?.wait_with_output()).await;
        let output = output.with_context(|| format!("{what}: the node starts"))??;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = told.lines().last().unwrap_or_default();
        let newest = files.last().and_then(|file| file.to_str()).context("a snapshot")?;
        let refused = !output.status.success() && last.starts_with("error:") && last.contains(newest);
        ensure!(
            refused && !told.contains("panicked"),
            "{what}: it does not name {newest}: {told}"
        );
        println!("  {what}: {last}");
        let other = root(cluster, node % 3 + 1).await?.put("/others", what).await;
        other.with_context(|| format!("{what}: the others serve on"))?;
    }
    for (file, sound) in files.iter().zip(&sound) {
        std::fs::write(file, sound)?;
    }
    cluster.restart(node).await?;
    cluster.wait_ready(node, READY_TIMEOUT).await.map(drop)
}

async fn root(cluster: &DevCluster, node: u64) -> Result<Client> {
    Client::connect(&kv::as_root(&cluster.info, &cluster.node(node)?.kv)?, CALL_TIMEOUT).await
}

/// The finished snapshots of a node, the oldest first.
fn snapshots(data: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(data.join("snapshots"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "snapshot") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

async fn everything_is_there(cluster: &DevCluster, writes: &[Write]) -> Result<()> {
    let mut violations = Vec::new();
    for node in &cluster.info.nodes {
        violations.extend(checkers::lost_writes(
            writes,
            &read_all(&cluster.info, &node.kv, PREFIX).await?,
        ));
    }
    no_violations(&violations)
}
