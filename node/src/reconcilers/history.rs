//! Gives old history up: while this node leads, it proposes compactions.
//!
//! A keyspace keeps the history of a day, or less once it fills half of its quota: then the oldest goes first, and the last ten
//! minutes only when the next write would find no space. The leader notes now and then which revision was the newest; a new
//! leader begins with what it finds, so history may be kept longer after a change of leader, never shorter. An operator who
//! wants what etcd does chooses another [`HistoryPolicy`].

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use quorate_kv::{CompactRequest, KvOp};
use quorate_machine::{Command, Id, KvCommand};
use quorate_raft::Handle;

use super::propose;

/// How often each keyspace is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Least distance of two notes.
const NOTE_INTERVAL_MS: u64 = 60_000;

/// Most notes of a keyspace: somewhat more than a day's.
const MAX_NOTES: usize = 1_500;

/// What is never given up for space, unless there is none left.
const PROTECTED_MS: u64 = 10 * 60_000;

/// Share of the quota, in percent, at which the last minutes are given up too.
const NEARLY_FULL_PERCENT: u64 = 95;

/// How much history a keyspace keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryPolicy {
    /// So many milliseconds, less when space runs short.
    Age { keep_ms: u64 },
    /// So many revisions, as etcd's mode `revision`.
    Revisions { keep: i64 },
    /// Everything until somebody compacts, as etcd without automatic compaction.
    Everything,
}

impl HistoryPolicy {
    /// What holds where nothing else is said: a day.
    pub const DEFAULT: HistoryPolicy = HistoryPolicy::Age {
        keep_ms: 24 * 3_600_000,
    };
}

/// At this cluster time the newest revision was this.
#[derive(Clone, Copy, Debug)]
struct Note {
    at_ms: u64,
    revision: i64,
}

/// A keyspace as it stands.
#[derive(Clone, Copy, Debug)]
struct Standing {
    revision: i64,
    compact_revision: i64,
    size_bytes: u64,
    quota_bytes: u64,
}

/// What is remembered of one keyspace, oldest first.
#[derive(Default)]
struct Notes(VecDeque<Note>);

impl Notes {
    fn take_down(&mut self, now_ms: u64, standing: Standing) {
        while self.0.len() > 1 && self.0[1].revision <= standing.compact_revision {
            self.0.pop_front();
        }
        let due = self.0.back().is_none_or(|last| now_ms >= last.at_ms + NOTE_INTERVAL_MS);
        if due {
            let revision = standing.revision;
            self.0.push_back(Note {
                at_ms: now_ms,
                revision,
            });
        }
        if self.0.len() > MAX_NOTES {
            self.0.pop_front();
        }
    }

    /// The newest revision of at least that age.
    fn older_than(&self, now_ms: u64, age_ms: u64) -> Option<i64> {
        let old = |note: &&Note| now_ms.saturating_sub(note.at_ms) >= age_ms;
        self.0.iter().take_while(old).last().map(|note| note.revision)
    }

    /// Where to compact now, if anywhere.
    fn target(&self, policy: HistoryPolicy, now_ms: u64, standing: Standing) -> Option<i64> {
        let wanted = match policy {
            HistoryPolicy::Everything => None,
            HistoryPolicy::Revisions { keep } => Some(standing.revision - keep),
            HistoryPolicy::Age { keep_ms } => self.older_than(now_ms, keep_ms).max(self.for_space(now_ms, standing)),
        };
        wanted.filter(|revision| *revision > standing.compact_revision && *revision > 0)
    }

    /// Where to compact so that space is left: a step at a time, because each may be enough.
    fn for_space(&self, now_ms: u64, standing: Standing) -> Option<i64> {
        let Standing {
            size_bytes,
            quota_bytes,
            compact_revision,
            revision,
        } = standing;
        if size_bytes.saturating_mul(2) < quota_bytes {
            return None;
        }
        let protected = self.older_than(now_ms, PROTECTED_MS);
        let next = self
            .0
            .iter()
            .map(|note| note.revision)
            .find(|revision| *revision > compact_revision);
        let nearly_full = size_bytes >= quota_bytes / 100 * NEARLY_FULL_PERCENT;
        match next.filter(|next| protected.is_some_and(|protected| *next <= protected)) {
            Some(next) => Some(next),
            None => nearly_full.then_some(revision),
        }
    }
}

/// Works for ever.
pub async fn run(handle: Handle, policy: HistoryPolicy) {
    let mut notes: HashMap<Id, Notes> = HashMap::new();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if !handle.is_leader() {
            // Cluster time goes on under the other leader, but what was noted here has gaps.
            notes.clear();
            continue;
        }
        let now_ms = handle.cluster_time_ms();
        let standings = standings(&handle);
        notes.retain(|instance, _| standings.iter().any(|(present, _)| present == instance));
        for (instance, standing) in standings {
            let notes = notes.entry(instance).or_default();
            notes.take_down(now_ms, standing);
            if let Some(revision) = notes.target(policy, now_ms, standing) {
                compact(&handle, instance, revision).await;
            }
        }
    }
}

fn standings(handle: &Handle) -> Vec<(Id, Standing)> {
    handle.read(|state| {
        let of = |instance: &quorate_machine::Instance| {
            let keyspace = state.keyspace(&instance.meta.id)?;
            let standing = Standing {
                revision: keyspace.revision(),
                compact_revision: keyspace.compact_revision(),
                size_bytes: keyspace.size_bytes(),
                quota_bytes: keyspace.quota_bytes(),
            };
            Some((instance.meta.id, standing))
        };
        state.instances().filter_map(of).collect()
    })
}

async fn compact(handle: &Handle, instance: Id, revision: i64) {
    let op = Some(KvOp::Compact(CompactRequest { revision }));
    match propose(handle, Command::Kv(KvCommand { instance, op })).await {
        Ok(_) => tracing::info!(%instance, revision, "history before this revision is given up"),
        Err(error) => tracing::debug!(%instance, "a compaction did not get through: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;

    fn standing(revision: i64, compact_revision: i64, size_bytes: u64) -> Standing {
        Standing {
            revision,
            compact_revision,
            size_bytes,
            quota_bytes: 1000,
        }
    }

    /// A note each minute, with ten revisions each.
    fn notes(minutes: u64) -> Notes {
        let mut notes = Notes::default();
        for minute in 0..=minutes {
            let revision = 1 + 10 * i64::try_from(minute).expect("small");
            notes.take_down(minute * MINUTE_MS, standing(revision, -1, 0));
        }
        notes
    }

    #[test]
    fn a_day_is_kept_and_no_more() {
        let (notes, policy) = (notes(25 * 60), HistoryPolicy::DEFAULT);
        assert_eq!(notes.target(policy, 23 * HOUR_MS, standing(10_000, -1, 0)), None);
        assert_eq!(notes.target(policy, 25 * HOUR_MS, standing(15_001, -1, 0)), Some(601));
        assert_eq!(
            notes.target(policy, 25 * HOUR_MS, standing(15_001, 601, 0)),
            None,
            "done already"
        );
    }

    #[test]
    fn from_half_the_quota_on_the_oldest_goes_step_by_step_but_not_the_last_minutes() {
        let (notes, policy, now) = (notes(60), HistoryPolicy::DEFAULT, HOUR_MS);
        assert_eq!(notes.target(policy, now, standing(601, -1, 499)), None);
        assert_eq!(notes.target(policy, now, standing(601, -1, 500)), Some(1));
        assert_eq!(notes.target(policy, now, standing(601, 1, 500)), Some(11));
        assert_eq!(notes.target(policy, now, standing(601, 491, 900)), Some(501));
        assert_eq!(
            notes.target(policy, now, standing(601, 501, 900)),
            None,
            "the last ten minutes"
        );
        assert_eq!(
            notes.target(policy, now, standing(601, 501, 950)),
            Some(601),
            "no space is next"
        );
    }

    #[test]
    fn other_policies_do_as_etcd() {
        let notes = notes(60);
        let keep = |policy| notes.target(policy, HOUR_MS, standing(601, 100, 999));
        assert_eq!(keep(HistoryPolicy::Everything), None);
        assert_eq!(keep(HistoryPolicy::Revisions { keep: 100 }), Some(501));
        assert_eq!(keep(HistoryPolicy::Revisions { keep: 501 }), None);
        assert_eq!(keep(HistoryPolicy::Age { keep_ms: HOUR_MS / 2 }), Some(301));
    }

    #[test]
    fn notes_are_bounded() {
        assert_eq!(notes(10_000).0.len(), MAX_NOTES);
    }
}
