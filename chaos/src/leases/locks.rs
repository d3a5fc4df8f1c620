//! Users of one lock: each takes it with a lease of its own, keeps it for a moment and gives it back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::holders::{in_time, renew, seconds};
use super::{Hold, TTL_SECONDS};
use crate::etcd::{Client, ConnectOptions, ResponseHeader};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a user waits for the lock before it tries anew with another lease.
const LOCK_TIMEOUT: Duration = Duration::from_secs(8);
/// How long the lock is kept.
const HOLD: Duration = Duration::from_millis(60);
/// Pause of a user whose node does not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Renewals while a user waits: the lease must not end before the lock is had.
const RENEWAL_PAUSE: Duration = Duration::from_millis(500);

/// Asks for a lock (`v3lockpb.LockRequest`).
#[derive(Clone, PartialEq, prost::Message)]
struct LockRequest {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(int64, tag = "2")]
    lease: i64,
}

/// The lock is had as long as `key` exists (`v3lockpb.LockResponse`).
#[derive(Clone, PartialEq, prost::Message)]
struct LockResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnlockRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnlockResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// Users on every path, until they are stopped.
#[derive(Debug)]
pub struct LockUsers {
    stop: Arc<AtomicBool>,
    holds: Arc<Mutex<Vec<Hold>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl LockUsers {
    /// Lets `per_path` users of the lock `name` run on each path.
    pub fn start(paths: &[ConnectOptions], per_path: usize, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let holds = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            for user in 0..per_path {
                let owner = format!("user {index}-{user}");
                let using = use_until_stopped(path.clone(), name.to_owned(), owner, stop.clone(), holds.clone());
                tasks.push(tokio::spawn(using));
            }
        }
        Self { stop, holds, tasks }
    }

    /// How often the lock was had so far.
    pub fn count(&self) -> usize {
        self.holds.lock().expect("not poisoned").len()
    }

    /// Waits until the lock was had `count` further times.
    ///
    /// # Errors
    ///
    /// If it was not within `timeout`.
    pub async fn wait_holds(&self, count: usize, timeout: Duration) -> Result<()> {
        let target = self.count() + count;
        let deadline = Instant::now() + timeout;
        while self.count() < target {
            ensure!(
                Instant::now() < deadline,
                "the lock is not handed on: {} of {target} times within {timeout:?}",
                self.count()
            );
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Ok(())
    }

    /// Stops and gives every hold.
    pub async fn finish(self) -> Result<Vec<Hold>> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(std::mem::take(&mut *self.holds.lock().expect("not poisoned")))
    }
}

async fn use_until_stopped(
    path: ConnectOptions,
    name: String,
    owner: String,
    stop: Arc<AtomicBool>,
    holds: Arc<Mutex<Vec<Hold>>>,
) {
    while !stop.load(Ordering::Relaxed) {
        if use_once(&path, &name, &owner, &holds).await.is_none() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

async fn use_once(path: &ConnectOptions, name: &str, owner: &str, holds: &Mutex<Vec<Hold>>) -> Option<()> {
    let mut client = Client::connect(path, CONNECT_TIMEOUT).await.ok()?;
    let mut sure_until = Instant::now();
    let granted = in_time(client.lease_grant(TTL_SECONDS)).await?;
    sure_until += seconds(granted.ttl);
    let request = LockRequest {
        name: name.to_owned().into(),
        lease: granted.id,
    };
    let mut locking_client = client.clone();
    let locking = locking_client.unary::<_, LockResponse>("/v3lockpb.Lock/Lock", request);
    let locked = {
        let renewing = async {
            loop {
                tokio::time::sleep(RENEWAL_PAUSE).await;
                let sent = Instant::now();
                // A lease that has ended renews no more; the lock's answer tells.
                if let Some(confirmed) = renew(&mut client, granted.id).await.filter(|ttl| *ttl > 0) {
                    sure_until = sent + seconds(confirmed);
                }
            }
        };
        tokio::select! {
            locked = tokio::time::timeout(LOCK_TIMEOUT, locking) => locked.ok()?.ok(),
            () = renewing => None,
        }
    }?;
    let from = Instant::now();
    // The key's own revision is what hands the lock on.
    let kept = in_time(client.get(locked.key.clone())).await;
    let made = kept.and_then(|reply| Some(reply.kvs.first()?.create_revision));
    tokio::time::sleep(HOLD).await;
    let until = Instant::now().min(sure_until);
    holds.lock().expect("not poisoned").push(Hold {
        owner: owner.to_owned(),
        from,
        until,
        revision: made,
    });
    let unlock = UnlockRequest { key: locked.key };
    in_time(client.unary::<_, UnlockResponse>("/v3lockpb.Lock/Unlock", unlock)).await?;
    Some(())
}
