//! Progress: telling a client up to which revision it has seen everything.

use std::time::Duration;

use tokio::time::{Instant, Interval, interval_at};

use super::{NO_WATCH_ID, Place, Session};
use crate::pb::etcdserverpb::WatchResponse;
use crate::random::random_u64;

/// Interval of progress notifications, as in etcd, plus up to a tenth.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

/// How soon an unanswered progress request is looked at again: the matcher may be a moment behind.
pub(super) const PROGRESS_RETRY: Duration = Duration::from_millis(5);

/// The timer of a stream's progress notifications.
pub(super) fn timer() -> Interval {
    let jitter = Duration::from_millis(random_u64() % (PROGRESS_INTERVAL.as_millis() as u64 / 10));
    let interval = PROGRESS_INTERVAL + jitter;
    interval_at(Instant::now() + interval, interval)
}

impl Session {
    /// Notes a progress request: its answer is at least the newest revision of now, as etcd's is.
    pub(super) fn request_progress(&mut self) {
        self.progress_requested = Some(self.newest_revision());
    }

    fn newest_revision(&self) -> i64 {
        let newest = self.context.keyspace(|keyspace| keyspace.revision());
        newest.unwrap_or_default()
    }

    /// Answers a progress request once every watcher is synced and everything up to the answer's revision is sent.
    pub(super) fn answer_progress_request(&mut self) -> bool {
        let Some(asked_at) = self.progress_requested else {
            return false;
        };
        let newest = self.newest_revision();
        let floor = self.watchers.values().map(|watcher| watcher.progress_floor).max();
        // As etcd: no answer without watchers, nor before the revision that one of them waits for.
        let Some(floor) = floor.filter(|floor| *floor <= newest) else {
            self.progress_requested = None;
            return false;
        };
        let all_synced = self
            .watchers
            .values()
            .all(|watcher| matches!(watcher.place, Place::Synced(_)));
        let reached = all_synced.then(|| self.progress_from(floor.max(asked_at))).flatten();
        if let Some(revision) = reached {
            self.progress_requested = None;
            self.push_progress(NO_WATCH_ID, revision);
        }
        reached.is_some()
    }

    /// Progress notifications of the watchers that wanted them and had nothing since the last round.
    pub(super) fn notify_progress(&mut self) {
        let mut quiet = Vec::new();
        for watcher in self.watchers.values_mut().filter(|watcher| watcher.progress_notify) {
            if !watcher.active && matches!(watcher.place, Place::Synced(_)) {
                quiet.push((watcher.watch_id, watcher.progress_floor));
            }
            watcher.active = false;
        }
        for (watch_id, floor) in quiet {
            if let Some(revision) = self.progress_from(floor) {
                self.push_progress(watch_id, revision);
            }
        }
    }

    /// The revision up to which everything is sent, if it is not below `floor`.
    fn progress_from(&self, floor: i64) -> Option<i64> {
        self.context.hub.progress(self.context.instance, &self.queue, floor)
    }

    fn push_progress(&mut self, watch_id: i64, revision: i64) {
        self.outbox.push_back(WatchResponse {
            header: Some(self.context.header(revision)),
            watch_id,
            ..Default::default()
        });
    }
}
