//! A recording watcher: one prefix on one node, resumed by revision whenever its stream ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use tokio::task::JoinHandle;

use crate::etcd::{Client, ConnectOptions};

/// One event as it was seen.
#[derive(Debug, Clone)]
pub struct SeenEvent {
    pub revision: i64,
    pub key: String,
    /// `None` for a deletion.
    pub value: Option<String>,
    pub at: Instant,
    pub wall: SystemTime,
}

/// What a watcher has recorded so far.
#[derive(Debug, Default, Clone)]
pub struct WatchRecord {
    pub events: Vec<SeenEvent>,
    /// How often a stream that stood was broken or ended.
    pub broken: u32,
    /// Cancellations by the server, with its reason.
    pub cancelled: Vec<String>,
    /// A stream stands now.
    pub watching: bool,
}

/// A watcher that runs until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    record: Arc<Mutex<WatchRecord>>,
    task: JoinHandle<()>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl Watcher {
    /// Watches `prefix` from `start_revision` on.
    pub fn start(path: ConnectOptions, prefix: &str, start_revision: i64) -> Self {
        let record = Arc::new(Mutex::new(WatchRecord::default()));
        let task = tokio::spawn(watch_for_ever(path, prefix.to_owned(), start_revision, record.clone()));
        Self { record, task }
    }

    /// A copy of what has been seen.
    pub fn record(&self) -> WatchRecord {
        self.record.lock().expect("not poisoned").clone()
    }

    /// A view of what is seen that outlives the borrow of the watcher.
    pub fn shared(&self) -> SharedRecord {
        SharedRecord(self.record.clone())
    }

    /// Waits for the first event that `wanted` accepts among those recorded.
    pub async fn wait_for(&self, timeout: Duration, wanted: impl Fn(&SeenEvent) -> bool) -> Result<SeenEvent> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self
                .record
                .lock()
                .expect("not poisoned")
                .events
                .iter()
                .find(|event| wanted(event))
            {
                return Ok(event.clone());
            }
            if Instant::now() > deadline {
                bail!("no such event within {timeout:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until a stream stands.
    pub async fn wait_watching(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !self.record.lock().expect("not poisoned").watching {
            if Instant::now() > deadline {
                bail!("no watch within {timeout:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// What a watcher has seen, to be looked at from elsewhere.
#[derive(Debug, Clone)]
pub struct SharedRecord(Arc<Mutex<WatchRecord>>);

impl SharedRecord {
    /// The value of the last event, whatever its key.
    pub fn last_value(&self) -> Option<String> {
        self.0.lock().expect("not poisoned").events.last()?.value.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch_for_ever(path: ConnectOptions, prefix: String, start: i64, record: Arc<Mutex<WatchRecord>>) {
    let mut next = start;
    loop {
        if let Err(_broken) = watch_once(&path, &prefix, &mut next, &record).await {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let mut record = record.lock().expect("not poisoned");
        if std::mem::take(&mut record.watching) {
            record.broken += 1;
        }
    }
}

async fn watch_once(path: &ConnectOptions, prefix: &str, next: &mut i64, record: &Mutex<WatchRecord>) -> Result<()> {
    let mut client = Client::connect(path, CONNECT_TIMEOUT).await?;
    let mut stream = client.watch_prefix(prefix, *next).await?;
    while let Some(response) = stream.message().await? {
        let (at, wall) = (Instant::now(), SystemTime::now());
        let mut record = record.lock().expect("not poisoned");
        if response.canceled {
            record.cancelled.push(format!(
                "{} (compacted {})",
                response.cancel_reason, response.compact_revision
            ));
            bail!("cancelled");
        }
        record.watching = true;
        for event in &response.events {
            let Some(kv) = &event.kv else { continue };
            *next = (*next).max(kv.mod_revision + 1);
            record.events.push(SeenEvent {
                revision: kv.mod_revision,
                key: String::from_utf8_lossy(&kv.key).into_owned(),
                value: (event.kind == 0).then(|| String::from_utf8_lossy(&kv.value).into_owned()),
                at,
                wall,
            });
        }
    }
    Ok(())
}

/// Events by key and revision: what a reader of the whole history would know.
pub fn history(events: &[SeenEvent]) -> BTreeMap<(String, i64), Option<String>> {
    events
        .iter()
        .map(|event| ((event.key.clone(), event.revision), event.value.clone()))
        .collect()
}
