//! Watches the free space of the data directory's file system.
//!
//! Below the configured reserve the node says so in `/readyz`, metrics and log, and hands leadership on,
//! so that the member whose disk fills up does not decide how fast the others may write.

use std::path::PathBuf;
use std::time::Duration;

use quorate_raft::Handle;
use tokio::sync::watch;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time that a hand-over may take.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(5);

/// How the disk stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskState {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Less is free than is to be kept.
    pub short: bool,
}

/// The watch over one data directory.
pub struct DiskGuard {
    handle: Handle,
    path: PathBuf,
    minimum_free_bytes: u64,
    state: watch::Sender<DiskState>,
}

impl DiskGuard {
    /// Watches the file system of `path`, of which `minimum_free_bytes` are to stay free.
    pub fn new(handle: Handle, path: PathBuf, minimum_free_bytes: u64) -> Self {
        Self {
            handle,
            path,
            minimum_free_bytes,
            state: watch::Sender::default(),
        }
    }

    /// How the disk stood at the last look.
    pub fn state(&self) -> DiskState {
        *self.state.borrow()
    }

    /// Looks for ever.
    pub(super) async fn run(self: std::sync::Arc<Self>) {
        loop {
            match look(&self.path, self.minimum_free_bytes) {
                Ok(now) => self.note(now).await,
                Err(error) => tracing::warn!("cannot tell the free space of {}: {error}", self.path.display()),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn note(&self, now: DiskState) {
        let before = self.state.send_replace(now);
        if now.short && !before.short {
            tracing::error!(
                free_bytes = now.free_bytes,
                "the disk of {} runs full: free some space, or move the data directory to a larger disk",
                self.path.display()
            );
            if self.handle.is_leader()
                && let Err(error) = self.handle.transfer_leadership(None, TRANSFER_DEADLINE).await
            {
                tracing::warn!("cannot hand leadership on: {error}");
            }
        } else if before.short && !now.short {
            tracing::info!(free_bytes = now.free_bytes, "the disk has space again");
        }
    }
}

/// How the file system of `path` stands.
pub fn look(path: &std::path::Path, minimum_free_bytes: u64) -> std::io::Result<DiskState> {
    let stat = rustix::fs::statvfs(path)?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
    Ok(DiskState {
        free_bytes,
        total_bytes,
        short: free_bytes < minimum_free_bytes,
    })
}
