//! Recording writers: each puts keys of its own with a deadline, one after the other, and keeps what it was told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinHandle;

use crate::etcd::{Client, ConnectOptions, revision};

/// One put and what became of it.
#[derive(Debug, Clone)]
pub struct Write {
    pub key: String,
    pub value: String,
    pub started: Instant,
    pub ended: Instant,
    pub outcome: WriteOutcome,
}

/// What the writer was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Acknowledged at this revision.
    Acknowledged(i64),
    /// Nothing was promised: it may or may not have happened.
    Failed(String),
}

/// What writers have recorded so far, in order of their ends.
pub type WriteLog = Arc<Mutex<Vec<Write>>>;

/// Writers that run until they are stopped.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    writes: WriteLog,
    tasks: Vec<JoinHandle<()>>,
}

/// How writers behave.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Number of writers on each access path.
    pub per_path: usize,
    /// Deadline of one put.
    pub deadline: Duration,
    /// Pause between two puts of one writer.
    pub pause: Duration,
    /// Prefix of the keys.
    pub prefix: String,
}

/// Pause of a writer whose node cannot be reached.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            per_path: 4,
            deadline: Duration::from_secs(1),
            pause: Duration::from_millis(2),
            prefix: "/load/".to_owned(),
        }
    }
}

impl Writers {
    /// Connects all writers and lets them run.
    pub async fn start(paths: &[ConnectOptions], options: &WriterOptions) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let writes = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let client = Client::connect(path, Duration::from_secs(5)).await?;
            for writer in 0..options.per_path {
                let name = format!("{}{index}-{writer}/", options.prefix);
                let state = (stop.clone(), writes.clone());
                tasks.push(tokio::spawn(write_until_stopped(
                    client.clone(),
                    path.clone(),
                    name,
                    options.clone(),
                    state,
                )));
            }
        }
        Ok(Self { stop, writes, tasks })
    }

    /// The recording, which goes on growing.
    pub fn log(&self) -> WriteLog {
        self.writes.clone()
    }

    /// Number of writes acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let writes = self.writes.lock().expect("not poisoned");
        writes
            .iter()
            .filter(|write| matches!(write.outcome, WriteOutcome::Acknowledged(_)))
            .count()
    }

    /// Waits until `count` further writes have been acknowledged.
    pub async fn wait_acknowledged(&self, count: usize, timeout: Duration) -> Result<()> {
        let target = self.acknowledged() + count;
        let deadline = Instant::now() + timeout;
        while self.acknowledged() < target {
            if Instant::now() > deadline {
                anyhow::bail!(
                    "writes do not go on: {} of {target} within {timeout:?}",
                    self.acknowledged()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Stops and gives everything that was recorded.
    pub async fn finish(self) -> Vec<Write> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let _ = task.await;
        }
        std::mem::take(&mut *self.writes.lock().expect("not poisoned"))
    }
}

type Shared = (Arc<AtomicBool>, WriteLog);

async fn write_until_stopped(
    client: Client,
    path: ConnectOptions,
    name: String,
    options: WriterOptions,
    shared: Shared,
) {
    let (stop, writes) = shared;
    let mut client = client;
    let mut sequence = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let (key, value) = (format!("{name}{sequence}"), format!("v{sequence}"));
        let started = Instant::now();
        let put = tokio::time::timeout(options.deadline, client.put(key.clone(), value.clone())).await;
        let ended = Instant::now();
        let outcome = match put {
            Ok(Ok(reply)) => WriteOutcome::Acknowledged(revision(reply.header.as_ref())),
            Ok(Err(error)) => WriteOutcome::Failed(error.to_string()),
            Err(_elapsed) => WriteOutcome::Failed(format!("no answer within {:?}", options.deadline)),
        };
        let failed = matches!(outcome, WriteOutcome::Failed(_));
        writes.lock().expect("not poisoned").push(Write {
            key,
            value,
            started,
            ended,
            outcome,
        });
        sequence += 1;
        if failed {
            match Client::connect(&path, options.deadline).await {
                Ok(fresh) => client = fresh,
                Err(_unreachable) => tokio::time::sleep(RECONNECT_PAUSE).await,
            }
        }
        tokio::time::sleep(options.pause).await;
    }
}

/// The longest time in which no write was acknowledged, between the first and the last acknowledgement.
pub fn longest_gap(writes: &[Write]) -> Duration {
    let mut ends: Vec<Instant> = writes
        .iter()
        .filter(|write| matches!(write.outcome, WriteOutcome::Acknowledged(_)))
        .map(|write| write.ended)
        .collect();
    ends.sort_unstable();
    ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Writes that were not acknowledged.
pub fn failures(writes: &[Write]) -> Vec<&Write> {
    writes
        .iter()
        .filter(|write| matches!(write.outcome, WriteOutcome::Failed(_)))
        .collect()
}
