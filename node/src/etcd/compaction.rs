//! Auto-compaction as etcd does it: by time or by count of revisions, by the member that leads.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quorate_kv::{CompactRequest, KvOp};
use quorate_machine::{Command, Id, KvCommand};
use quorate_raft::Handle;

use super::config::Compaction;
use crate::reconcilers::propose;

/// How often revisions are counted in the mode `revision`, as in etcd.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);
/// A longer retention is compacted to once in this time, as in etcd.
const MAX_PERIOD: Duration = Duration::from_secs(3_600);
/// Times within a period that the present revision is noted.
const NOTES_PER_PERIOD: u32 = 10;

/// Compacts for ever, while this member leads.
pub async fn run(handle: Handle, instance: Id, compaction: Compaction) {
    match compaction {
        Compaction::Off => std::future::pending().await,
        Compaction::Revision(kept) => loop {
            tokio::time::sleep(REVISION_INTERVAL).await;
            compact(&handle, instance, revision(&handle, instance).saturating_sub(kept)).await;
        },
        Compaction::Periodic(retention) => by_time(&handle, instance, retention).await,
    }
}

async fn by_time(handle: &Handle, instance: Id, retention: Duration) {
    let period = retention.min(MAX_PERIOD);
    let mut notes: VecDeque<(Instant, i64)> = VecDeque::new();
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(period / NOTES_PER_PERIOD).await;
        let now = Instant::now();
        notes.push_back((now, revision(handle, instance)));
        if now.duration_since(last) < period {
            continue;
        }
        let mut due = None;
        while let Some((at, revision)) = notes.front().copied()
            && now.duration_since(at) >= retention
        {
            due = Some(revision);
            notes.pop_front();
        }
        if let Some(revision) = due {
            last = now;
            compact(handle, instance, revision).await;
        }
    }
}

fn revision(handle: &Handle, instance: Id) -> i64 {
    handle
        .read(|state| state.keyspace(&instance).map(|keyspace| keyspace.revision()))
        .unwrap_or(0)
}

async fn compact(handle: &Handle, instance: Id, revision: i64) {
    let compacted = handle.read(|state| state.keyspace(&instance).map(|keyspace| keyspace.compact_revision()));
    if !handle.is_leader() || compacted.is_none_or(|compacted| revision <= compacted.max(1)) {
        return;
    }
    let op = Some(KvOp::Compact(CompactRequest { revision }));
    match propose(handle, Command::Kv(KvCommand { instance, op })).await {
        Ok(_) => tracing::info!(revision, "completed auto compaction"),
        // The next period tries again.
        Err(error) => tracing::warn!(revision, "failed auto compaction: {error}"),
    }
}
