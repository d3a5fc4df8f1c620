//! A running node: its core, the threads it runs on, and its orderly end.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use crate::handle::{CallError, ClusterStatus};
use crate::log::{DataDir, LogReader};
use crate::network::Heard;
use crate::start::{Assembled, NodeCore, fence_file};

/// How long a stopping leader waits for its successor.
const HAND_OVER_TIMEOUT_MS: u64 = 1_000;
/// How long tasks and the log may take to end.
const END_TIMEOUT_MS: u64 = 5_000;

/// A running node.
pub(crate) struct Running {
    pub core: Arc<NodeCore>,
    pub incarnation: u64,
    pub status: watch::Receiver<ClusterStatus>,
    pub heard: Heard,
    pub log: LogReader<TokioRuntime>,
    /// Says why this node is fenced, as long as it exists.
    fence_file: PathBuf,
    /// Taken when the node stops.
    owned: Mutex<Option<Owned>>,
}

/// What keeps the node's files and threads.
struct Owned {
    runtime: Runtime,
    data_dir: DataDir,
    log_closed: oneshot::Receiver<()>,
}

impl Running {
    pub fn new(assembled: Assembled, runtime: Runtime) -> Self {
        let Assembled {
            core,
            data_dir,
            incarnation,
            status,
            heard,
            log,
            log_closed,
        } = assembled;
        let fence_file = fence_file(&data_dir);
        let owned = Mutex::new(Some(Owned {
            runtime,
            data_dir,
            log_closed,
        }));
        Self {
            core,
            incarnation,
            status,
            heard,
            log,
            fence_file,
            owned,
        }
    }

    fn take(&self) -> Option<Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// See [`crate::Handle::fence`].
    pub async fn fence(&self, reason: String) {
        if self.core.standings.fenced().is_some() {
            return;
        }
        let path = self.fence_file.clone();
        let text = reason.clone();
        let written = tokio::task::spawn_blocking(move || note_fence(&path, &text)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::error!(
                "the fence could not be noted in {}: it ends with this process",
                self.fence_file.display()
            );
        }
        // On the threads of Raft, whatever becomes of the caller.
        let core = self.core.clone();
        let fenced = self.on_raft_threads(async move { core.fence(reason).await });
        if let Some(fenced) = fenced {
            // A panic has been printed by its hook.
            let _ = fenced.await;
        }
    }

    fn on_raft_threads(&self, work: impl Future<Output = ()> + Send + 'static) -> Option<tokio::task::JoinHandle<()>> {
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        owned.as_ref().map(|owned| owned.runtime.spawn(work))
    }

    /// Hands leadership over, stops consensus and its threads, and closes the files: the directory can be opened again.
    pub async fn shutdown(&self) {
        self.core.prepare_stop();
        let alone = self.status.borrow().voters.len() < 2;
        if self.core.standings.now().leading && !alone {
            let limit = Duration::from_millis(HAND_OVER_TIMEOUT_MS);
            match self.core.transfer_leadership(None, limit).await {
                Ok(()) | Err(CallError::Stopped) => {}
                // The others stop as well, or are gone.
                Err(error) => tracing::info!("stopping without a hand-over of leadership: {error}"),
            }
        }
        let Some(Owned {
            runtime,
            data_dir,
            log_closed,
        }) = self.take()
        else {
            return;
        };
        if let Err(error) = self.core.raft.shutdown().await {
            tracing::warn!("consensus ended abnormally: {error}");
        }
        let limit = Duration::from_millis(END_TIMEOUT_MS);
        // A runtime must not be ended on a thread of another one.
        let (ended, end) = oneshot::channel();
        std::thread::spawn(move || {
            runtime.shutdown_timeout(limit);
            // Nobody waits any more if the caller gave up.
            let _ = ended.send(());
        });
        let _ = end.await;
        if tokio::time::timeout(limit, log_closed).await.is_err() {
            tracing::warn!("the log's writer has not ended; its files stay open until the process ends");
        }
        drop(data_dir);
    }
}

impl Running {
    /// Ends like a killed process: no hand-over, connections reset, nothing flushed but what the disk has been given.
    #[cfg(feature = "testing")]
    pub async fn kill(&self) {
        let Some(Owned {
            runtime,
            data_dir,
            log_closed,
        }) = self.take()
        else {
            return;
        };
        runtime.shutdown_background();
        // Only so that the directory can be opened again in this process.
        let _ = tokio::time::timeout(Duration::from_millis(END_TIMEOUT_MS), log_closed).await;
        drop(data_dir);
    }
}

/// Notes why the node is fenced, durably.
fn note_fence(path: &Path, reason: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(reason.as_bytes())?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), crate::log::sync_directory)
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(owned) = self.take() {
            owned.runtime.shutdown_background();
        }
    }
}
