//! Watches the free space of the data directory's file system.
//!
//! Below the configured reserve the node says so in `/readyz`, metrics and log, hands leadership on, has the log shortened
//! by a snapshot, and tells the cluster, which then takes no more data from clients (the machine's own writes go on). With
//! space again it takes all of that back by itself. The last resort is a ballast file: given up when next to nothing is left,
//! so that the log can still be written while an operator makes room.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_machine::{Command, ReportDisk};
use quorate_raft::Handle;
use tokio::sync::watch;

use super::propose;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time that a hand-over may take.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(5);
/// While space is short a snapshot is made this often, so that the log behind it can go.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(60);
/// Space counts as there again once this many percent of the reserve are free: a disk at the edge does not flap.
const RECOVERED_PERCENT: u64 = 125;
/// Size of the ballast file.
pub const BALLAST_BYTES: u64 = 256 << 20;
/// A disk smaller than this many ballasts gets none.
const BALLASTS_PER_DISK: u64 = 32;
/// The ballast is given up below this fraction of its size.
const BALLAST_RELEASE_DIVISOR: u64 = 4;
/// Name of the ballast file in the data directory.
pub const BALLAST_FILE: &str = "ballast";

/// How much is to stay free, and how much is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLimits {
    /// Bytes that are to stay free.
    pub minimum_free_bytes: u64,
    /// The same in percent of the file system; the larger of both counts.
    pub minimum_free_percent: u8,
    /// Size of the ballast file, usually [`BALLAST_BYTES`]; 0 for none.
    pub ballast_bytes: u64,
}

impl DiskLimits {
    /// Bytes to keep free of a file system of `total_bytes`.
    fn reserve(&self, total_bytes: u64) -> u64 {
        let share = total_bytes / 100 * u64::from(self.minimum_free_percent);
        self.minimum_free_bytes.max(share)
    }

    /// Bytes from which on a shortage is over.
    fn recovered(&self, total_bytes: u64) -> u64 {
        self.reserve(total_bytes) / 100 * RECOVERED_PERCENT
    }
}

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
    limits: DiskLimits,
    state: watch::Sender<DiskState>,
}

impl DiskGuard {
    /// Watches the file system of `path`.
    pub fn new(handle: Handle, path: PathBuf, limits: DiskLimits) -> Self {
        Self {
            handle,
            path,
            limits,
            state: watch::Sender::default(),
        }
    }

    /// How the disk stood at the last look.
    pub fn state(&self) -> DiskState {
        *self.state.borrow()
    }

    /// Looks for ever.
    pub(super) async fn run(self: std::sync::Arc<Self>) {
        let mut ballast = Ballast::new(self.path.join(BALLAST_FILE), self.limits);
        let mut shortening = Shortening::default();
        let mut sequence = 0;
        loop {
            match look(&self.path, self.limits, self.state().short) {
                Ok(now) => {
                    self.note(now).await;
                    ballast = tokio::task::spawn_blocking(move || {
                        ballast.adjust(now);
                        ballast
                    })
                    .await
                    .expect("adjusting the ballast does not panic");
                    if now.short {
                        shortening.go_on(&self.handle).await;
                    } else {
                        shortening = Shortening::default();
                    }
                    self.tell(now, &mut sequence).await;
                }
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
                "the disk of {} runs full: free some space, or move the data directory to a larger disk; until then \
                 clients of the cluster can only read and delete",
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

    /// Tells the cluster where its state says something else.
    async fn tell(&self, now: DiskState, sequence: &mut u64) {
        let node = self.handle.node_id();
        let known = self.handle.read(|state| {
            let member = state.node(node).is_some();
            member.then(|| state.disk(node).is_some_and(|disk| disk.short))
        });
        if known.is_none_or(|short| short == now.short) {
            return;
        }
        *sequence += 1;
        let report = ReportDisk {
            node,
            incarnation: self.handle.incarnation(),
            sequence: *sequence,
            short: now.short,
            free_bytes: now.free_bytes,
            total_bytes: now.total_bytes,
        };
        // The next look makes it again where it did not get through.
        if let Err(error) = propose(&self.handle, Command::ReportDisk(report)).await {
            tracing::debug!("the shortage of disk space could not be told: {error}");
        }
    }
}

/// Shortens the log while space is short.
#[derive(Default)]
struct Shortening {
    snapshot: Option<Instant>,
    purged: u64,
}

impl Shortening {
    async fn go_on(&mut self, handle: &Handle) {
        if self.snapshot.is_none_or(|at| at.elapsed() >= SNAPSHOT_INTERVAL) {
            self.snapshot = Some(Instant::now());
            if let Err(error) = handle.trigger_snapshot().await {
                tracing::warn!("no snapshot can be made to shorten the log: {error}");
            }
        }
        let index = handle.status().borrow().snapshot_index;
        if index > self.purged {
            match handle.purge_log(index).await {
                Ok(()) => self.purged = index,
                Err(error) => tracing::warn!("the log cannot be shortened: {error}"),
            }
        }
    }
}

/// A file that takes space while there is enough, and gives it back when there is none.
struct Ballast {
    path: PathBuf,
    limits: DiskLimits,
}

impl Ballast {
    fn new(path: PathBuf, limits: DiskLimits) -> Self {
        Self { path, limits }
    }

    fn adjust(&self, now: DiskState) {
        let bytes = self.limits.ballast_bytes;
        let exists = self.path.exists();
        if exists && now.free_bytes < bytes / BALLAST_RELEASE_DIVISOR {
            match std::fs::remove_file(&self.path) {
                Ok(()) => tracing::error!(
                    "next to nothing is free: the ballast {} of {} MiB was given up; this is the last reserve",
                    self.path.display(),
                    bytes >> 20
                ),
                Err(error) => tracing::error!("the ballast {} cannot be removed: {error}", self.path.display()),
            }
            return;
        }
        let room = self.limits.recovered(now.total_bytes).saturating_add(bytes);
        let large_enough = now.total_bytes >= bytes.saturating_mul(BALLASTS_PER_DISK);
        let room_for_it = bytes > 0 && !exists && !now.short && large_enough && now.free_bytes > room;
        if room_for_it && let Err(error) = preallocate(&self.path, bytes) {
            tracing::warn!("no ballast {} can be made: {error}", self.path.display());
            // Half a ballast would be taken for a whole one; where it cannot be removed there is none either.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn preallocate(path: &Path, bytes: u64) -> std::io::Result<()> {
    let file = File::create(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    file.sync_all()
}

/// How the file system of `path` stands; `was_short` says how it stood before.
pub fn look(path: &Path, limits: DiskLimits, was_short: bool) -> std::io::Result<DiskState> {
    let stat = rustix::fs::statvfs(path)?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
    Ok(judge(free_bytes, total_bytes, limits, was_short))
}

fn judge(free_bytes: u64, total_bytes: u64, limits: DiskLimits, was_short: bool) -> DiskState {
    let least = if was_short {
        limits.recovered(total_bytes)
    } else {
        limits.reserve(total_bytes)
    };
    DiskState {
        free_bytes,
        total_bytes,
        short: free_bytes < least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const LIMITS: DiskLimits = DiskLimits {
        minimum_free_bytes: GIB,
        minimum_free_percent: 5,
        ballast_bytes: 4 << 20,
    };

    #[test]
    fn the_larger_reserve_counts_and_a_shortage_ends_later_than_it_begins() {
        let short = |free, total, was_short| judge(free, total, LIMITS, was_short).short;
        assert!(!short(GIB, 10 * GIB, false));
        assert!(short(GIB - 1, 10 * GIB, false));
        assert!(short(4 * GIB, 100 * GIB, false), "5 percent of 100 GiB are five");
        assert!(!short(6 * GIB, 100 * GIB, false));
        assert!(short(6 * GIB, 100 * GIB, true));
        assert!(!short(7 * GIB, 100 * GIB, true));
    }

    #[test]
    fn the_ballast_is_made_where_there_is_room_and_given_up_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(BALLAST_FILE);
        let ballast = Ballast::new(path.clone(), LIMITS);
        let standing = |free, total, was_short| judge(free, total, LIMITS, was_short);
        ballast.adjust(standing(100 << 20, 120 << 20, false));
        assert!(!path.exists(), "a tiny disk gets none");
        ballast.adjust(standing(GIB, 10 * GIB, false));
        assert!(!path.exists(), "it would take the reserve");
        ballast.adjust(standing(9 * GIB, 10 * GIB, false));
        assert_eq!(
            std::fs::metadata(&path).expect("it is there").len(),
            LIMITS.ballast_bytes
        );
        ballast.adjust(standing(GIB / 2, 10 * GIB, false));
        assert!(path.exists(), "a shortage alone leaves it");
        ballast.adjust(standing(1 << 19, 10 * GIB, true));
        assert!(!path.exists(), "next to nothing is free");
        ballast.adjust(standing(GIB / 2, 10 * GIB, true));
        assert!(!path.exists(), "still short");
        ballast.adjust(standing(9 * GIB, 10 * GIB, true));
        assert!(path.exists(), "there is room again");
    }
}
