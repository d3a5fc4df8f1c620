//! Bounds the log by bytes and commands, beside openraft's bound by entries: a snapshot after so many of them, and a purge of what lies
//! further back than so many bytes behind it.
//!
//! A snapshot holds the whole state. Of a large one under many small commands each would write far more than the log did, so commands
//! alone are no reason before the log has grown by as much as the last snapshot was long, up to four times as many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;

use crate::core::{Core, Retention};
use crate::network::Transport;

/// How often the log's growth is looked at.
const CHECK_INTERVAL_MS: u64 = 200;
/// Purges are as fine as this part of the bytes kept behind a snapshot.
const MARKS_PER_KEPT: u64 = 16;
/// So many times the commands are reason enough whatever the state is: after a crash they are all applied again.
const MAX_COMMANDS_FACTOR: u64 = 4;
/// A snapshot of this length costs so little that it is no reason to wait.
const SMALL_SNAPSHOT_BYTES: u64 = 4 << 20;
/// Marks at most; beyond it the oldest are forgotten, which delays a purge.
const MAX_MARKS: usize = 1_024;

/// Counts the bytes of applied entries; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct LogGrowth {
    counted: Arc<Mutex<Counted>>,
}

#[derive(Default)]
struct Counted {
    /// Bytes of all entries applied since the start.
    total: u64,
    /// The total when the last snapshot was begun or installed.
    at_snapshot: u64,
    /// Commands applied since then.
    commands: u64,
    /// Length of the last snapshot; 0 before the first one.
    snapshot_bytes: u64,
    /// (log index, total up to it), at some distance from each other.
    marks: VecDeque<(u64, u64)>,
    mark_every: u64,
}

impl LogGrowth {
    /// `kept_bytes` is what will be asked for, see [`Self::index_behind`].
    pub fn new(kept_bytes: u64) -> Self {
        let counted = Counted {
            mark_every: (kept_bytes / MARKS_PER_KEPT).max(1),
            ..Counted::default()
        };
        Self {
            counted: Arc::new(Mutex::new(counted)),
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries of `bytes` with so many commands were applied, up to `index`.
    pub fn applied(&self, index: u64, commands: u64, bytes: u64) {
        let mut counted = self.counted();
        counted.commands += commands;
        counted.total += bytes;
        let marked = counted.marks.back().map_or(0, |(_, total)| *total);
        if counted.total - marked >= counted.mark_every {
            let mark = (index, counted.total);
            counted.marks.push_back(mark);
            if counted.marks.len() > MAX_MARKS {
                counted.marks.pop_front();
            }
        }
    }

    /// A snapshot of everything applied so far was begun, or one was installed.
    pub fn snapshot_begun(&self) {
        let mut counted = self.counted();
        counted.at_snapshot = counted.total;
        counted.commands = 0;
    }

    /// A snapshot of this length was written, installed or found at the start; 0 where none could be written, so that the next one is
    /// not put off for its sake.
    pub fn snapshot_is(&self, bytes: u64) {
        self.counted().snapshot_bytes = bytes;
    }

    /// Whether the next snapshot is to be made.
    fn is_snapshot_due(&self, retention: Retention) -> bool {
        let counted = self.counted();
        let bytes = counted.total - counted.at_snapshot;
        // openraft counts entries, and an entry may hold many commands.
        let many = counted.commands >= retention.snapshot_every_entries;
        let worth_it = counted.snapshot_bytes <= SMALL_SNAPSHOT_BYTES
            || bytes >= counted.snapshot_bytes
            || counted.commands >= retention.snapshot_every_entries.saturating_mul(MAX_COMMANDS_FACTOR);
        bytes >= retention.snapshot_every_bytes || many && worth_it
    }

    /// Bytes applied since the last snapshot was begun.
    pub fn since_snapshot_bytes(&self) -> u64 {
        let counted = self.counted();
        counted.total - counted.at_snapshot
    }

    /// The highest index known that lies at least `kept_bytes` behind the end and not above `limit`. What is marked before
    /// it is forgotten.
    fn index_behind(&self, kept_bytes: u64, limit: u64) -> Option<u64> {
        let mut counted = self.counted();
        let end = counted.total.checked_sub(kept_bytes)?;
        let mut found = None;
        while let Some((index, total)) = counted.marks.front().copied()
            && total <= end
            && index <= limit
        {
            found = Some(index);
            counted.marks.pop_front();
        }
        found
    }
}

/// Asks for snapshots and purges until consensus stops on this node.
pub(crate) async fn bound_log<RT: AsyncRuntime, T: Transport>(core: Arc<Core<RT, T>>, retention: Retention) {
    loop {
        RT::sleep(Duration::from_millis(CHECK_INTERVAL_MS)).await;
        if core.standings.now().fatal.is_some() {
            return;
        }
        let growth = &core.growth;
        // Asking again while one is being made changes nothing: the count begins anew when the state is cut.
        if growth.is_snapshot_due(retention)
            && let Err(error) = core.raft.trigger().snapshot().await
        {
            tracing::debug!("no snapshot was made: {error}");
        }
        let snapshot = {
            let metrics = core.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.snapshot.map_or(0, |id| id.index)
        };
        if let Some(upto) = growth.index_behind(retention.kept_bytes, snapshot)
            && let Err(error) = core.raft.trigger().purge_log(upto).await
        {
            tracing::debug!("the log was not purged: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_from_the_last_snapshot() {
        let growth = LogGrowth::new(160);
        growth.applied(1, 1, 100);
        growth.applied(2, 1, 50);
        assert_eq!(growth.since_snapshot_bytes(), 150);
        growth.snapshot_begun();
        growth.applied(3, 1, 7);
        assert_eq!(growth.since_snapshot_bytes(), 7);
    }

    #[test]
    fn a_large_state_is_written_again_only_after_as_much_log() {
        let retention = Retention {
            snapshot_every_entries: 100,
            snapshot_every_bytes: 32 << 20,
            ..Retention::default()
        };
        let growth = LogGrowth::new(160);
        growth.applied(1, 99, 10);
        assert!(!growth.is_snapshot_due(retention), "99 commands");
        growth.applied(2, 1, 10);
        assert!(growth.is_snapshot_due(retention), "100 commands");
        growth.snapshot_begun();
        growth.snapshot_is(SMALL_SNAPSHOT_BYTES);
        assert!(!growth.is_snapshot_due(retention), "nothing since");
        growth.applied(3, 100, 10);
        assert!(growth.is_snapshot_due(retention), "a small state");
        growth.snapshot_begun();
        growth.snapshot_is(16 << 20);
        growth.applied(4, 399, (16 << 20) - 1);
        assert!(!growth.is_snapshot_due(retention), "less than the state");
        growth.applied(5, 1, 1);
        assert!(growth.is_snapshot_due(retention), "as much as the state");
        growth.snapshot_begun();
        growth.snapshot_is(16 << 20);
        growth.applied(6, 400, 1);
        assert!(growth.is_snapshot_due(retention), "too many commands to apply again");
        growth.snapshot_begun();
        growth.snapshot_is(64 << 20);
        growth.applied(7, 1, 32 << 20);
        assert!(growth.is_snapshot_due(retention), "the bound by bytes");
    }

    #[test]
    fn what_lies_behind_is_found_once_and_never_above_the_snapshot() {
        let growth = LogGrowth::new(160);
        for index in 1..=10 {
            growth.applied(index, 1, 100);
        }
        assert_eq!(growth.index_behind(250, 3), Some(3));
        assert_eq!(growth.index_behind(250, 3), None);
        assert_eq!(
            growth.index_behind(250, 100),
            Some(7),
            "three entries are at least 250 bytes"
        );
        assert_eq!(growth.index_behind(5_000, 100), None);
    }

    #[test]
    fn marks_are_bounded() {
        let growth = LogGrowth::new(0);
        for index in 1..=2 * MAX_MARKS as u64 {
            growth.applied(index, 1, 10);
        }
        assert_eq!(growth.counted().marks.len(), MAX_MARKS);
    }
}
