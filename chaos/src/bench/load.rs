//! The load generator: closed loop, few connections with many streams, the same for both systems.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::peers::Peer;
use crate::accounting::cpu_time;
use crate::etcd::{
    Client, Compare, CompareTarget, ConnectOptions, PutRequest, RangeRequest, RequestOp, RequestOpKind, TxnRequest,
};

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
    let mut connections = Vec::new();
    for options in peer.access() {
        for _ in 0..CONNECTIONS_PER_NODE.min(clients) {
            connections.push(Client::connect(&options, CONNECT_TIMEOUT).await?);
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
            Operation::Transaction => client.txn(transaction(key, &value, state)).await.is_ok(),
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

fn transaction(key: Bytes, value: &Bytes, random: u64) -> TxnRequest {
    const GREATER: i32 = 1;
    const CREATE_REVISION: i32 = 1;
    let operation = |kind| vec![RequestOp { request: Some(kind) }];
    if random & (1 << 40) == 0 {
        let range = RangeRequest {
            key,
            ..RangeRequest::default()
        };
        return TxnRequest {
            success: operation(RequestOpKind::Range(range)),
            ..TxnRequest::default()
        };
    }
    let present = Compare {
        result: GREATER,
        target: CREATE_REVISION,
        key: key.clone(),
        operand: Some(CompareTarget::CreateRevision(0)),
        range_end: Bytes::new(),
    };
    TxnRequest {
        compare: vec![present],
        success: operation(RequestOpKind::Put(put(key, value))),
        failure: Vec::new(),
    }
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
