//! Keep-alives of 1000 leases: each on a stream of its own, the next as soon as the last was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use super::Options;
use super::figures::{Figure, Target, Unit};
use crate::accounting::cpu_time;
use crate::bench::load;
use crate::bench::peers::Peer;
use crate::etcd::Client;
use crate::statistics::percentile;
use crate::wire::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};

const LEASES: usize = 1000;
const TTL_SECONDS: i64 = 60;
/// How long all leases may take until each has been kept alive once.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What the holders of leases share.
#[derive(Default)]
struct Shared {
    /// Leases that have been kept alive.
    open: AtomicUsize,
    counting: AtomicBool,
    stop: AtomicBool,
}

/// Rate, latency and CPU of keep-alives; none may find its lease gone.
pub async fn measure(peer: &Peer, options: &Options) -> Result<Vec<Figure>> {
    let connections = load::connections(peer).await?;
    let shared = Arc::new(Shared::default());
    let mut holders = JoinSet::new();
    for number in 0..LEASES {
        let client = connections[number % connections.len()].clone();
        holders.spawn(hold(client, shared.clone()));
    }
    let begun = Instant::now();
    while shared.open.load(Ordering::Relaxed) < LEASES {
        if let Some(ended) = holders.try_join_next() {
            ended??;
        }
        ensure!(
            begun.elapsed() < OPEN_TIMEOUT,
            "not all leases were kept alive within {OPEN_TIMEOUT:?}"
        );
        tokio::time::sleep(POLL).await;
    }
    let (before, started) = (cpu_time(&peer.pids())?, Instant::now());
    shared.counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    shared.counting.store(false, Ordering::Relaxed);
    let (elapsed, used) = (started.elapsed(), cpu_time(&peer.pids())? - before);
    shared.stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(holder) = holders.join_next().await {
        latencies.extend(holder??);
    }
    ensure!(!latencies.is_empty(), "no keep-alive was answered in {elapsed:?}");
    let (count, row) = (latencies.len() as f64, "keep-alives, 1000 leases");
    let mut ms = |percent| percentile(&mut latencies, percent).as_secs_f64() * 1e3;
    let (p50, p99) = (ms(50), ms(99));
    let rate = count / elapsed.as_secs_f64();
    Ok(vec![
        Figure::new(row, "rate", Unit::PerSecond, rate, Target::RatioAtLeast(1.5)),
        Figure::new(row, "p50", Unit::Milliseconds, p50, Target::None),
        Figure::new(row, "p99", Unit::Milliseconds, p99, Target::None),
        Figure::new(
            row,
            "server CPU",
            Unit::CpuMicroseconds,
            used.as_secs_f64() * 1e6 / count,
            Target::None,
        ),
    ])
}

async fn hold(mut client: Client, shared: Arc<Shared>) -> Result<Vec<Duration>> {
    let lease = client.lease_grant(TTL_SECONDS).await?.id;
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    requests.send(LeaseKeepAliveRequest { id: lease }).await?;
    let mut replies = client
        .stream::<_, LeaseKeepAliveResponse>("/etcdserverpb.Lease/LeaseKeepAlive", receiver)
        .await?;
    let (mut started, mut latencies) = (Instant::now(), Vec::with_capacity(4096));
    let mut first = true;
    while !shared.stop.load(Ordering::Relaxed) {
        let reply = replies.message().await?.context("the stream of keep-alives ended")?;
        ensure!(reply.ttl > 0, "lease {lease} is gone");
        if std::mem::take(&mut first) {
            shared.open.fetch_add(1, Ordering::Relaxed);
        }
        if shared.counting.load(Ordering::Relaxed) {
            latencies.push(started.elapsed());
        }
        started = Instant::now();
        requests.send(LeaseKeepAliveRequest { id: lease }).await?;
    }
    Ok(latencies)
}
