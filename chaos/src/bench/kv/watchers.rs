//! Watches: many on keys of their own beside a consumer that does not read, and many on one key.

mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;

use super::Options;
use super::figures::{Figure, Target, Unit};
use super::memory::largest_mib;
use crate::accounting::cpu_time;
use crate::bench::load::{self, VALUE_BYTES};
use crate::bench::paced::{Content, Paced};
use crate::bench::peers::Peer;
use crate::statistics::percentile;
use streams::{Stalled, Streams};

const EVENT_P99_MS: f64 = 25.0;
/// What all watch queues of a node may hold together (design, "Watch": global cap).
const QUEUES_CAP_MIB: f64 = 256.0;
/// How often resident memory is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What is watched and put.
struct Plan {
    row: &'static str,
    /// Watched keys; every worker puts its own ones, in turn.
    keys: u64,
    /// Streams, and watches on each of them.
    streams: u64,
    per_stream: u64,
    workers: u64,
    puts_per_second: u64,
    stalled: bool,
}

/// 10,000 watchers of 10,000 keys on 100 streams, 1,000 puts a second, one consumer of all keys that does not read.
pub async fn distinct(peer: &Peer, options: &Options) -> Result<Vec<Figure>> {
    let plan = Plan {
        row: "watch, 10,000 keys, 1,000 events/s, one consumer stalled",
        keys: 10_000,
        streams: 100,
        per_stream: 100,
        workers: 100,
        puts_per_second: 1000,
        stalled: true,
    };
    measure(peer, options, &plan).await
}

/// 100 watchers of one key on streams of their own, 100 puts a second.
pub async fn fan_out(peer: &Peer, options: &Options) -> Result<Vec<Figure>> {
    let plan = Plan {
        row: "fan-out, 100 watchers × 100 events/s",
        keys: 1,
        streams: 100,
        per_stream: 1,
        workers: 1,
        puts_per_second: 100,
        stalled: false,
    };
    measure(peer, options, &plan).await
}

const WATCHED_PREFIX: &str = "watched/";

/// The key of a number.
fn watched_key(number: u64) -> String {
    format!("{WATCHED_PREFIX}{number:05}")
}

/// How often each key has been put.
type Published = Arc<Vec<AtomicU64>>;

/// Values hold the number of the put of their key, and the microseconds from the beginning to the put.
fn content(keys: u64, workers: u64, begin: Instant, published: Published) -> Arc<Content> {
    Arc::new(move |worker, number| {
        let key = worker + number % (keys / workers) * workers;
        let sequence = published[key as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let micros = begin.elapsed().as_micros() as u64;
        let mut value = vec![0; VALUE_BYTES];
        value[..8].copy_from_slice(&sequence.to_be_bytes());
        value[8..16].copy_from_slice(&micros.to_be_bytes());
        (watched_key(key).into(), Bytes::from(value))
    })
}

async fn measure(peer: &Peer, options: &Options, plan: &Plan) -> Result<Vec<Figure>> {
    let begin = Instant::now();
    let published: Published = Arc::new((0..plan.keys).map(|_| AtomicU64::new(0)).collect());
    let connections = load::connections(peer).await?;
    let before = largest_mib(peer)?;
    let streams = Streams::open(&connections, plan.streams, plan.per_stream, plan.keys, begin).await?;
    let stalled = if plan.stalled {
        Some(Stalled::open(peer).await?)
    } else {
        None
    };
    let watching = largest_mib(peer)?;
    let content = content(plan.keys, plan.workers, begin, published.clone());
    let (cpu, started) = (cpu_time(&peer.pids())?, Instant::now());
    let puts = Paced::start(&connections, plan.workers, plan.puts_per_second, content);
    let mut peak = watching;
    while started.elapsed() < Duration::from_secs(options.seconds) {
        tokio::time::sleep(LOOK).await;
        peak = peak.max(largest_mib(peer)?);
    }
    let (_, failed) = puts.finish().await?;
    ensure!(failed == 0, "{failed} puts failed: gaps cannot be told from them");
    let (elapsed, used) = (started.elapsed(), cpu_time(&peer.pids())? - cpu);
    let mut seen = streams.finish(&published).await?;
    let count = seen.latencies.len() as f64;
    let mut ms = |percent| percentile(&mut seen.latencies, percent).as_secs_f64() * 1e3;
    let (p50, p99) = (ms(50), ms(99));
    let figure = |what: &str, unit, value, target| Figure::new(plan.row, what, unit, value, target);
    use Target::{AtMost, None as Untold};
    let mut figures = vec![
        figure("events", Unit::PerSecond, count / elapsed.as_secs_f64(), Untold),
        figure("put to event p50", Unit::Milliseconds, p50, Untold),
        figure("put to event p99", Unit::Milliseconds, p99, AtMost(EVENT_P99_MS)),
        figure("gaps and repetitions", Unit::Count, seen.gaps as f64, AtMost(0.0)),
        figure(
            "server CPU per event, the puts' included",
            Unit::CpuMicroseconds,
            used.as_secs_f64() * 1e6 / count,
            Untold,
        ),
        figure(
            "resident memory for the watches",
            Unit::Mebibytes,
            watching - before,
            Untold,
        ),
        figure(
            "resident memory, growth under load",
            Unit::Mebibytes,
            peak - watching,
            AtMost(QUEUES_CAP_MIB),
        ),
    ];
    if let Some(stalled) = stalled {
        let gaps = stalled.read_to_end(&published).await?;
        figures.push(figure(
            "gaps of the stalled consumer once it reads",
            Unit::Count,
            gaps as f64,
            AtMost(0.0),
        ));
    }
    Ok(figures)
}
