//! Holders of leases: each keeps one alive for a while, lets it end, and takes the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use super::{HeldLease, TTL_SECONDS};
use crate::etcd::{Client, ConnectOptions, PutRequest};
use crate::watcher::Watcher;
use crate::wire::etcdserverpb as pb;

/// Bound of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between two renewals, and of a holder whose node does not answer.
const RENEWAL_PAUSE: Duration = Duration::from_millis(400);
/// Renewals of one lease, before it is let go.
const RENEWALS: u32 = 12;
/// A lease that was let go ends within its time and what elections and a busy machine add.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// Holders on every path, until they are stopped.
#[derive(Debug)]
pub struct LeaseHolders {
    stop: Arc<AtomicBool>,
    leases: Arc<Mutex<Vec<HeldLease>>>,
    tasks: Vec<JoinHandle<()>>,
    watcher: Watcher,
}

impl LeaseHolders {
    /// Lets `per_path` holders run on each path; their keys lie below `prefix`, which is watched on the first path.
    pub async fn start(paths: &[ConnectOptions], per_path: usize, prefix: &str) -> Result<Self> {
        let first = paths.first().context("there is no path")?;
        let watcher = Watcher::start(first.clone(), prefix, 1);
        watcher.wait_watching(CALL_TIMEOUT * 10).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let leases = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            for holder in 0..per_path {
                let name = format!("{prefix}{index}-{holder}/");
                let held = hold_until_stopped(path.clone(), name, stop.clone(), leases.clone());
                tasks.push(tokio::spawn(held));
            }
        }
        Ok(Self {
            stop,
            leases,
            tasks,
            watcher,
        })
    }

    /// Leases that were let go so far.
    pub fn finished(&self) -> usize {
        self.leases.lock().expect("not poisoned").len()
    }

    /// Stops, waits until every key is gone, and gives every lease.
    ///
    /// # Errors
    ///
    /// If a key outlives its lease by far.
    pub async fn finish(self) -> Result<Vec<HeldLease>> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        let mut leases = std::mem::take(&mut *self.leases.lock().expect("not poisoned"));
        ensure!(!leases.is_empty(), "no lease was held");
        for lease in &mut leases {
            let gone = self
                .watcher
                .wait_for(END_TIMEOUT, |event| event.key == lease.key && event.value.is_none())
                .await
                .with_context(|| format!("{} lives for ever", lease.key))?;
            lease.gone = Some(gone.at);
        }
        Ok(leases)
    }
}

async fn hold_until_stopped(
    path: ConnectOptions,
    name: String,
    stop: Arc<AtomicBool>,
    leases: Arc<Mutex<Vec<HeldLease>>>,
) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        match hold(&path, &format!("{name}{number}"), &stop).await {
            Some(lease) => leases.lock().expect("not poisoned").push(lease),
            None => tokio::time::sleep(RENEWAL_PAUSE).await,
        }
    }
}

/// Takes a lease with a key and keeps it alive for a while; `None` if there was no key to observe.
async fn hold(path: &ConnectOptions, key: &str, stop: &AtomicBool) -> Option<HeldLease> {
    let mut client = Client::connect(path, CONNECT_TIMEOUT).await.ok()?;
    let mut renewed = Instant::now();
    let granted = in_time(client.lease_grant(TTL_SECONDS)).await?;
    let put = PutRequest {
        key: key.to_owned().into(),
        value: "held".into(),
        lease: granted.id,
        ..PutRequest::default()
    };
    in_time(client.put_with(put)).await?;
    let mut ttl = seconds(granted.ttl);
    for _ in 0..RENEWALS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(RENEWAL_PAUSE).await;
        let sent = Instant::now();
        match renew(&mut client, granted.id).await {
            // It has ended: nothing is confirmed any more.
            Some(0) => break,
            Some(confirmed) => (renewed, ttl) = (sent, seconds(confirmed)),
            // The next one may reach another leader.
            None => {
                if let Ok(again) = Client::connect(path, CONNECT_TIMEOUT).await {
                    client = again;
                }
            }
        }
    }
    Some(HeldLease {
        key: key.to_owned(),
        renewed,
        ttl,
        gone: None,
    })
}

/// Renews a lease; gives the seconds that the server confirms.
pub(super) async fn renew(client: &mut Client, id: i64) -> Option<i64> {
    let renewing = async {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let first = sender.try_send(pb::LeaseKeepAliveRequest { id });
        first.map_err(|error| tonic::Status::internal(error.to_string()))?;
        let mut answers = client.stream("/etcdserverpb.Lease/LeaseKeepAlive", receiver).await?;
        let answer: Option<pb::LeaseKeepAliveResponse> = answers.message().await?;
        answer.ok_or_else(|| tonic::Status::aborted("the stream ended"))
    };
    in_time(renewing).await.map(|answer| answer.ttl)
}

/// An answer, if it comes in time; a refusal promises nothing.
pub(super) async fn in_time<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Option<T> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.ok()?.ok()
}

pub(super) fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.unsigned_abs())
}
