//! Recording readers: each gets, linearizably, a key that was acknowledged a moment ago, and keeps what it was told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinHandle;

use crate::etcd::{Client, ConnectOptions, revision};
use crate::writers::{WriteLog, WriteOutcome};

/// A linearizable read that was answered.
#[derive(Debug, Clone)]
pub struct Read {
    pub started: Instant,
    pub ended: Instant,
    /// Header revision of the reply.
    pub revision: i64,
    /// The key asked for: put once, and acknowledged before the read began.
    pub key: String,
    /// Revision at which it had been acknowledged.
    pub acknowledged: i64,
    /// Revision at which the read found it; `None` if it found nothing.
    pub found: Option<i64>,
}

/// Readers that run until they are stopped: one on each access path.
#[derive(Debug)]
pub struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<Mutex<Vec<Read>>>,
    tasks: Vec<JoinHandle<()>>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between two reads, and of a reader whose node cannot be reached or that has nothing to look for yet.
const PAUSE: Duration = Duration::from_millis(10);

impl Readers {
    /// Lets one reader run on each path; `log` is what the writers record.
    pub fn start(paths: &[ConnectOptions], log: &WriteLog) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(Mutex::new(Vec::new()));
        let start = |path: &ConnectOptions| {
            tokio::spawn(read_until_stopped(
                path.clone(),
                log.clone(),
                stop.clone(),
                reads.clone(),
            ))
        };
        let tasks = paths.iter().map(start).collect();
        Self { stop, reads, tasks }
    }

    /// Stops and gives every read that was answered. What failed promised nothing and is not kept.
    pub async fn finish(self) -> Result<Vec<Read>> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(std::mem::take(&mut *self.reads.lock().expect("not poisoned")))
    }
}

async fn read_until_stopped(path: ConnectOptions, log: WriteLog, stop: Arc<AtomicBool>, reads: Arc<Mutex<Vec<Read>>>) {
    let mut connected: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(PAUSE).await;
        let Some((key, acknowledged)) = newest_acknowledged(&log) else {
            continue;
        };
        let Some(mut client) = connected.take() else {
            connected = Client::connect(&path, CONNECT_TIMEOUT).await.ok();
            continue;
        };
        let started = Instant::now();
        let Ok(Ok(reply)) = tokio::time::timeout(READ_TIMEOUT, client.get(key.clone())).await else {
            continue;
        };
        connected = Some(client);
        reads.lock().expect("not poisoned").push(Read {
            started,
            ended: Instant::now(),
            revision: revision(reply.header.as_ref()),
            key,
            acknowledged,
            found: reply.kvs.first().map(|kv| kv.mod_revision),
        });
    }
}

fn newest_acknowledged(log: &WriteLog) -> Option<(String, i64)> {
    let writes = log.lock().expect("not poisoned");
    writes.iter().rev().find_map(|write| match write.outcome {
        WriteOutcome::Acknowledged(revision) => Some((write.key.clone(), revision)),
        WriteOutcome::Failed(_) => None,
    })
}
