//! 2,000 puts a second while something else goes on, beside the same puts undisturbed, in interleaved pairs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use super::Options;
use super::figures::{Figure, Target, Unit, median};
use crate::bench::load::{self, VALUE_BYTES, key};
use crate::bench::paced::{Content, Paced, Sample};
use crate::bench::peers::Peer;
use crate::etcd::{Client, ConnectOptions, revision};
use crate::statistics::percentile;
use crate::wire::etcdserverpb as pb;

/// What disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// A client takes a snapshot of every node, of all at once.
    Snapshot,
    /// Everything but the newest versions is compacted.
    Compaction,
    /// A follower is removed with its data and comes back empty.
    Rebuild,
}

const PUTS_PER_SECOND: u64 = 2000;
/// Enough for half a second of latency.
const WORKERS: u64 = 1000;
/// Keys that are there, and that are put again.
const KEYS: u64 = 100_000;
const TARGET: f64 = 1.5;
/// Puts before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// What is counted at least from the beginning of a disturbance, so that a percentile means something.
const SHORTEST: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// p99 with and without the disturbance, and their ratio: medians of the pairs.
pub async fn measure(peer: &mut Peer, options: &Options, upkeep: Upkeep) -> Result<Vec<Figure>> {
    load::fill(peer, KEYS).await?;
    let (mut undisturbed, mut disturbed, mut ratios, mut lasted) = (vec![], vec![], vec![], vec![]);
    for _ in 0..options.pairs {
        if upkeep == Upkeep::Compaction {
            // History to compact: another version of every key.
            load::fill(peer, KEYS).await?;
        }
        let leader = peer.leader().await?;
        let without = (upkeep == Upkeep::Rebuild).then_some(follower_of(leader));
        let calm = calm(peer, without, Duration::from_secs(options.seconds)).await?;
        let (troubled, time) = troubled(peer, upkeep, leader, without).await?;
        ratios.push(troubled / calm);
        undisturbed.push(calm);
        disturbed.push(troubled);
        lasted.push(time.as_secs_f64() * 1e3);
    }
    let row = match upkeep {
        Upkeep::Snapshot => "snapshot of all nodes under 2,000 puts/s",
        Upkeep::Compaction => "compaction under 2,000 puts/s",
        Upkeep::Rebuild => "rebuild of a node under 2,000 puts/s",
    };
    let ms = |what, values: &[f64]| Figure::new(row, what, Unit::Milliseconds, median(values), Target::None);
    Ok(vec![
        ms("put p99 undisturbed", &undisturbed),
        ms("put p99 disturbed", &disturbed),
        Figure::new(
            row,
            "disturbed to undisturbed",
            Unit::Times,
            median(&ratios),
            Target::AtMost(TARGET),
        ),
        ms("lasts", &lasted),
    ])
}

fn follower_of(leader: usize) -> usize {
    (leader + 1) % 3
}

/// Puts through the nodes, without the one that is to go.
async fn start_puts(peer: &Peer, without: Option<usize>) -> Result<Paced> {
    let mut nodes = peer.access();
    if let Some(number) = without {
        nodes.remove(number);
    }
    let connections = load::connections_to(&nodes).await?;
    let value = bytes::Bytes::from(vec![b'y'; VALUE_BYTES]);
    let content: Arc<Content> = Arc::new(move |worker, number| {
        let spread = (worker + number * WORKERS).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (key(spread % KEYS), value.clone())
    });
    let puts = Paced::start(&connections, WORKERS, PUTS_PER_SECOND, content);
    tokio::time::sleep(WARM_UP).await;
    Ok(puts)
}

async fn calm(peer: &Peer, without: Option<usize>, duration: Duration) -> Result<f64> {
    let puts = start_puts(peer, without).await?;
    let from = Instant::now();
    tokio::time::sleep(duration).await;
    let until = Instant::now();
    let (samples, _) = puts.finish().await?;
    p99_ms(&samples, from, until)
}

/// p99 of the puts on their way while the disturbance lasted, and how long it did.
async fn troubled(peer: &mut Peer, upkeep: Upkeep, leader: usize, without: Option<usize>) -> Result<(f64, Duration)> {
    let puts = start_puts(peer, without).await?;
    let from = Instant::now();
    match upkeep {
        Upkeep::Snapshot => take_snapshots(peer).await?,
        Upkeep::Compaction => compact(&peer.access()[leader]).await?,
        Upkeep::Rebuild => peer.rebuild(follower_of(leader)).await?,
    }
    let lasted = from.elapsed();
    tokio::time::sleep(SHORTEST.saturating_sub(lasted)).await;
    let until = Instant::now();
    let (samples, _) = puts.finish().await?;
    Ok((p99_ms(&samples, from, until)?, lasted))
}

fn p99_ms(samples: &[Sample], from: Instant, until: Instant) -> Result<f64> {
    let within = samples
        .iter()
        .filter(|sample| sample.due + sample.latency >= from && sample.due < until);
    let mut latencies: Vec<Duration> = within.map(|sample| sample.latency).collect();
    ensure!(!latencies.is_empty(), "no put was acknowledged");
    Ok(percentile(&mut latencies, 99).as_secs_f64() * 1e3)
}

async fn take_snapshots(peer: &Peer) -> Result<()> {
    let mut takers = JoinSet::new();
    for options in peer.access() {
        takers.spawn(take_snapshot(options));
    }
    while let Some(taken) = takers.join_next().await {
        ensure!(taken?? > 0, "an empty snapshot");
    }
    Ok(())
}

/// Reads a whole snapshot; gives its bytes.
async fn take_snapshot(options: ConnectOptions) -> Result<usize> {
    let mut client = Client::connect(&options, CONNECT_TIMEOUT).await?;
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    requests.try_send(pb::SnapshotRequest {}).context("the first request")?;
    drop(requests);
    let mut chunks = client
        .stream::<_, pb::SnapshotResponse>("/etcdserverpb.Maintenance/Snapshot", receiver)
        .await?;
    let mut bytes = 0;
    while let Some(chunk) = chunks.message().await? {
        bytes += chunk.blob.len();
    }
    Ok(bytes)
}

async fn compact(options: &ConnectOptions) -> Result<()> {
    let mut client = Client::connect(options, CONNECT_TIMEOUT).await?;
    let now = revision(client.get("ready").await?.header.as_ref());
    let request = pb::CompactionRequest {
        revision: now,
        physical: true,
    };
    let _: pb::CompactionResponse = client.unary("/etcdserverpb.KV/Compact", request).await?;
    Ok(())
}
