//! The load generator: closed loop, few connections with many streams, the same for both systems.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;

use super::peers::Peer;
use crate::accounting::cpu_time;
use crate::etcd::{Client, PutRequest, RangeRequest};

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// 8 B keys, 256 B values.
    Put,
    /// Linearizable read of one key.
    Get,
}

/// Figures of one row.
#[derive(Debug, Clone)]
pub struct Figures {
    pub per_second: f64,
    pub latencies: Vec<Duration>,
    /// User and system time of all three servers per operation.
    pub server_cpu: Duration,
    pub failures: usize,
}

const VALUE_BYTES: usize = 256;
const KEYS: u64 = 100_000;
const CONNECTIONS_PER_NODE: usize = 4;

/// Runs `clients` for `duration` after a second of warm-up.
pub async fn run(peer: &Peer, operation: Operation, clients: usize, duration: Duration) -> Result<Figures> {
    let mut connections = Vec::new();
    for options in peer.access() {
        for _ in 0..CONNECTIONS_PER_NODE.min(clients) {
            connections.push(Client::connect(&options, Duration::from_secs(10)).await?);
        }
    }
    let (stop, counting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    for index in 0..clients {
        let client = connections
            [index * CONNECTIONS_PER_NODE % connections.len() + index % CONNECTIONS_PER_NODE.min(clients)]
        .clone();
        tasks.push(tokio::spawn(one_client(
            client,
            operation,
            index as u64,
            stop.clone(),
            counting.clone(),
        )));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, started) = (cpu_time(&peer.pids())?, Instant::now());
    counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(duration).await;
    counting.store(false, Ordering::Relaxed);
    let (elapsed, used) = (started.elapsed(), cpu_time(&peer.pids())? - before);
    stop.store(true, Ordering::Relaxed);
    let (mut latencies, mut failures) = (Vec::new(), 0);
    for task in tasks {
        let (own, failed) = task.await?;
        latencies.extend(own);
        failures += failed;
    }
    ensure!(!latencies.is_empty(), "no operation ended in {duration:?}");
    let count = latencies.len();
    Ok(Figures {
        per_second: count as f64 / elapsed.as_secs_f64(),
        latencies,
        server_cpu: used / u32::try_from(count)?,
        failures,
    })
}

async fn one_client(
    mut client: Client,
    operation: Operation,
    seed: u64,
    stop: Arc<AtomicBool>,
    counting: Arc<AtomicBool>,
) -> (Vec<Duration>, usize) {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let (mut latencies, mut failures) = (Vec::with_capacity(4096), 0);
    while !stop.load(Ordering::Relaxed) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let key = Bytes::copy_from_slice(&(state % KEYS).to_be_bytes());
        let started = Instant::now();
        let done = match operation {
            Operation::Put => client
                .put_with(PutRequest {
                    key,
                    value: value.clone(),
                    ..PutRequest::default()
                })
                .await
                .is_ok(),
            Operation::Get => client
                .range(RangeRequest {
                    key,
                    ..RangeRequest::default()
                })
                .await
                .is_ok(),
        };
        if counting.load(Ordering::Relaxed) {
            if done {
                latencies.push(started.elapsed());
            } else {
                failures += 1;
            }
        }
    }
    (latencies, failures)
}
