//! The load generator: closed loop, few connections with many streams, the same for both systems.

mod calls;
mod connection;
mod requests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::peers::Peer;
use crate::accounting::cpu_time;
use crate::etcd::{Client, ConnectOptions, PutRequest, RequestOp, RequestOpKind, TxnRequest};

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// 8 B keys, 256 B values.
    Put,
    /// Linearizable read of one key.
    Get,
    /// By turns a transaction that reads a key and one that writes a key that it has compared.
    Transaction,
}

impl Operation {
    /// Name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "puts",
            Self::Get => "linearizable gets",
            Self::Transaction => "mixed transactions",
        }
    }
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

/// Length of every value.
pub const VALUE_BYTES: usize = 256;
/// How many keys puts and gets choose from.
pub const KEYS: u64 = 100_000;
const CONNECTIONS_PER_NODE: usize = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients that put keys before a measurement.
const FILLERS: u64 = 48;
/// Keys in one transaction of [`fill`]; etcd takes 128 operations.
const FILL_BATCH: u64 = 100;

/// Runs `clients` for `duration` after a second of warm-up.
pub async fn run(peer: &Peer, operation: Operation, clients: usize, duration: Duration) -> Result<Figures> {
    let calls = calls::open(peer, operation, clients).await?;
    let phase = Arc::new(AtomicU8::new(calls::WARMING_UP));
    let tasks: Vec<_> = calls
        .into_iter()
        .map(|calls| tokio::spawn(calls.run(phase.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, started) = (cpu_time(&peer.pids())?, Instant::now());
    phase.store(calls::COUNTING, Ordering::Relaxed);
    tokio::time::sleep(duration).await;
    phase.store(calls::ENDING, Ordering::Relaxed);
    let (elapsed, used) = (started.elapsed(), cpu_time(&peer.pids())? - before);
    let (mut latencies, mut failures) = (Vec::new(), 0);
    for task in tasks {
        let (own, failed) = task.await??;
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

fn put(key: Bytes, value: &Bytes) -> PutRequest {
    PutRequest {
        key,
        value: value.clone(),
        ..PutRequest::default()
    }
}

/// The key of a number: 8 B.
pub fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// Connections to all nodes, as many to each, in turn.
pub async fn connections(peer: &Peer) -> Result<Vec<Client>> {
    connections_to(&peer.access()).await
}

/// The same to some nodes.
pub async fn connections_to(nodes: &[ConnectOptions]) -> Result<Vec<Client>> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS_PER_NODE {
        for options in nodes {
            connections.push(Client::connect(options, CONNECT_TIMEOUT).await?);
        }
    }
    Ok(connections)
}

/// Puts the first `keys` keys, many in one transaction.
pub async fn fill(peer: &Peer, keys: u64) -> Result<()> {
    put_all(peer, keys, FILL_BATCH).await
}

/// Puts the first `keys` keys one by one.
pub async fn put_each(peer: &Peer, keys: u64) -> Result<()> {
    put_all(peer, keys, 1).await
}

/// Divides the numbers below `count` among clients and waits until all keys have been put.
async fn put_all(peer: &Peer, count: u64, batch: u64) -> Result<()> {
    let connections = connections(peer).await?;
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        let mut client = connections[filler as usize % connections.len()].clone();
        fillers.spawn(async move {
            let mut first = filler * batch;
            while first < count {
                put_batch(&mut client, first..(first + batch).min(count)).await?;
                first += FILLERS * batch;
            }
            anyhow::Ok(())
        });
    }
    while let Some(filler) = fillers.join_next().await {
        filler??;
    }
    Ok(())
}

async fn put_batch(client: &mut Client, numbers: Range<u64>) -> Result<()> {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    if numbers.end - numbers.start == 1 {
        client.put_with(put(key(numbers.start), &value)).await?;
        return Ok(());
    }
    let operation = |number| RequestOp {
        request: Some(RequestOpKind::Put(put(key(number), &value))),
    };
    let request = TxnRequest {
        success: numbers.map(operation).collect(),
        ..TxnRequest::default()
    };
    client.txn(request).await?;
    Ok(())
}
