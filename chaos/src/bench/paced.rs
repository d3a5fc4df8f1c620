//! Puts at a fixed rate, whatever the answers take: latency counts from the moment a put was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::etcd::Client;

/// What is put: for the number of the worker and of its put, key and value. Called when the put is due.
pub type Content = dyn Fn(u64, u64) -> (Bytes, Bytes) + Send + Sync;

/// Workers that put at a rate until they are stopped.
#[derive(Debug)]
pub struct Paced {
    stop: Arc<AtomicBool>,
    workers: JoinSet<(Vec<Sample>, usize)>,
}

/// One put that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it was due.
    pub due: Instant,
    /// From there to its answer.
    pub latency: Duration,
}

impl Paced {
    /// Lets `workers` put `per_second` keys together. Each worker waits for its last put before the next, so there must be
    /// enough of them for the latencies expected.
    pub fn start(connections: &[Client], workers: u64, per_second: u64, content: Arc<Content>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let interval = Duration::from_secs(1) / u32::try_from(per_second).expect("a rate that a machine can reach");
        let mut set = JoinSet::new();
        for worker in 0..workers {
            let client = connections[worker as usize % connections.len()].clone();
            let (stop, content) = (stop.clone(), content.clone());
            let first = begin + interval * u32::try_from(worker).expect("few workers");
            let step = interval * u32::try_from(workers).expect("few workers");
            set.spawn(put_when_due(client, worker, (first, step), content, stop));
        }
        Self { stop, workers: set }
    }

    /// Stops and gives what was acknowledged, and how many puts failed.
    pub async fn finish(mut self) -> Result<(Vec<Sample>, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut samples, mut failed) = (Vec::new(), 0);
        while let Some(worker) = self.workers.join_next().await {
            let (own, failures) = worker?;
            samples.extend(own);
            failed += failures;
        }
        Ok((samples, failed))
    }
}

async fn put_when_due(
    mut client: Client,
    worker: u64,
    (first, step): (Instant, Duration),
    content: Arc<Content>,
    stop: Arc<AtomicBool>,
) -> (Vec<Sample>, usize) {
    let (mut samples, mut failed) = (Vec::with_capacity(4096), 0);
    let (mut due, mut number) = (first, 0);
    loop {
        tokio::time::sleep_until(due.into()).await;
        if stop.load(Ordering::Relaxed) {
            return (samples, failed);
        }
        let (key, value) = content(worker, number);
        match client.put(key, value).await {
            Ok(_) => samples.push(Sample {
                due,
                latency: due.elapsed(),
            }),
            Err(_) => failed += 1,
        }
        due += step;
        number += 1;
    }
}
