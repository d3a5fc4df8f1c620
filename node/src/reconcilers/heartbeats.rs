//! Heartbeats of the workers, which keep the log out of it as long as nothing changes.
//!
//! Every node tells the leader every 500 ms that its prober lives, with a digest of its accepted votes. The leader proposes
//! `WorkerSeen` once a term and worker, `WorkerLapsed` after three missed ones, and asks for a full report where the digest
//! differs from the state twice in a row (once may be a matter of who applied what first). A worker counts as seen only once
//! its digest is that of the state: what it found while there was no leader comes before any decision.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use quorate_machine::{Command, WorkerLapsed, WorkerSeen};
use quorate_raft::Handle;

use super::board::Board;
use super::{ProposeError, propose};

/// First byte of a heartbeat among the leader's requests.
pub const HEARTBEAT_REQUEST_TAG: u8 = 1;
/// From one heartbeat to the next.
const INTERVAL: Duration = Duration::from_millis(500);
/// Silence after which a worker has lapsed: three heartbeats.
const LAPSE: Duration = Duration::from_millis(1500);
/// Time for one heartbeat's answer.
const ANSWER_DEADLINE: Duration = Duration::from_millis(450);
/// A peer that has not answered for this long is unreachable for the self-check.
const PEER_SILENCE: Duration = Duration::from_millis(1500);
/// Differing digests in a row before a full report is asked for.
const MISMATCHES_TO_ASK: u32 = 2;

/// What a worker tells the leader.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Heartbeat {
    #[prost(uint64, tag = "1")]
    incarnation: u64,
    /// Digest of the accepted votes; absent while a report is under way.
    #[prost(fixed64, optional, tag = "2")]
    digest: Option<u64>,
    /// How far the worker has applied the log: a learner that has caught up becomes a voter.
    #[prost(uint64, tag = "3")]
    applied_index: u64,
}

/// What the leader answers.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct HeartbeatAnswer {
    /// The worker's votes in the state are not what it thinks: all of them, please.
    #[prost(bool, tag = "1")]
    send_full: bool,
}

/// A worker's side: looks at its own health and tells the leader, for ever.
pub async fn send(handle: Handle, board: Arc<Board>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let peers = handle.read(|state| state.nodes().filter(|node| node.id != handle.node_id()).count());
        let reachable = handle.reachable_peers(PEER_SILENCE).len();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        board.look(count(peers), count(peers.saturating_sub(reachable)));

        let heartbeat = Heartbeat {
            incarnation: handle.incarnation(),
            digest: board.digest(),
            applied_index: handle.read(|state| state.applied_index()),
        };
        let mut request = vec![HEARTBEAT_REQUEST_TAG];
        heartbeat.encode(&mut request).expect("a vector grows");
        // A heartbeat that does not get through is simply missed: the leader counts.
        if let Ok(answer) = handle.ask_leader(request.into(), ANSWER_DEADLINE).await
            && HeartbeatAnswer::decode(answer).is_ok_and(|answer| answer.send_full)
        {
            board.ask_full();
        }
    }
}

#[derive(Clone, Copy)]
struct Heard {
    at: Instant,
    incarnation: u64,
    mismatches: u32,
    applied_index: u64,
    /// Term for which `WorkerSeen` is under way.
    proposing_term: u64,
}

/// The leader's side.
#[derive(Default)]
pub struct Heartbeats {
    heard: Mutex<BTreeMap<u64, Heard>>,
}

impl Heartbeats {
    /// Answers the heartbeat of `from`; `request` without its first byte.
    pub fn answer(self: &Arc<Self>, handle: &Handle, from: u64, request: &[u8]) -> Result<Bytes, String> {
        let heartbeat = Heartbeat::decode(request).map_err(|error| format!("malformed heartbeat: {error}"))?;
        let leads = handle.is_leader();
        let (known, term, digest) = handle.read(|state| {
            let term = state.leadership().term;
            let current = state.worker(from).is_some_and(|worker| {
                !worker.lapsed && worker.seen_term == term && worker.incarnation == heartbeat.incarnation
            });
            (current, term, heartbeat.digest.map(|_| state.digest_of(from)))
        });
        let mut heard = self.heard.lock().expect("no holder of the lock panics");
        let entry = heard.entry(from).or_insert(Heard {
            at: Instant::now(),
            incarnation: heartbeat.incarnation,
            mismatches: 0,
            applied_index: 0,
            proposing_term: 0,
        });
        entry.at = Instant::now();
        entry.applied_index = heartbeat.applied_index;
        entry.incarnation = heartbeat.incarnation;
        let differs = heartbeat.digest.is_some() && heartbeat.digest != digest;
        let agrees = heartbeat.digest.is_some() && !differs;
        entry.mismatches = if differs { entry.mismatches + 1 } else { 0 };
        // A worker that is still to be seen is waited for: it is asked at once.
        let send_full = entry.mismatches >= MISMATCHES_TO_ASK || (differs && !known);
        if send_full {
            entry.mismatches = 0;
        }
        let announce = leads && !known && agrees && term > 0 && entry.proposing_term != term;
        if announce {
            entry.proposing_term = term;
        }
        drop(heard);
        if announce {
            let (heartbeats, handle) = (self.clone(), handle.clone());
            let seen = WorkerSeen {
                node: from,
                incarnation: heartbeat.incarnation,
                term,
            };
            tokio::spawn(async move { heartbeats.propose_seen(&handle, seen).await });
        }
        Ok(HeartbeatAnswer { send_full }.encode_to_vec().into())
    }

    /// How far `node` had applied the log when it was last heard; `None` if that was longer ago than a lapse.
    pub fn applied_index(&self, node: u64) -> Option<u64> {
        let heard = self.heard.lock().expect("no holder of the lock panics");
        heard
            .get(&node)
            .filter(|heard| heard.at.elapsed() <= LAPSE)
            .map(|heard| heard.applied_index)
    }

    async fn propose_seen(&self, handle: &Handle, seen: WorkerSeen) {
        if let Err(error) = propose(handle, Command::WorkerSeen(seen)).await {
            tracing::debug!(worker = seen.node, "cannot note a worker: {error}");
        }
        // The next heartbeat proposes again if the state still does not know.
        if let Some(entry) = self
            .heard
            .lock()
            .expect("no holder of the lock panics")
            .get_mut(&seen.node)
        {
            entry.proposing_term = 0;
        }
    }

    /// Watches for workers that fall silent while this node leads, for ever.
    pub async fn watch_workers(self: Arc<Self>, handle: Handle) {
        let mut last_look = Instant::now();
        let mut led_since: Option<(u64, Instant)> = None;
        let mut interval = tokio::time::interval(INTERVAL / 2);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = Instant::now();
            let stalled = now.duration_since(last_look) > INTERVAL * 2;
            last_look = now;
            let (term, leader) = handle.read(|state| (state.leadership().term, state.leadership().node));
            if !handle.is_leader() || leader != handle.node_id() {
                led_since = None;
                continue;
            }
            // A leader that stood still itself has no right to call others silent: everybody's time begins anew.
            let since = match led_since {
                Some((led, since)) if led == term && !stalled => since,
                _ => now,
            };
            led_since = Some((term, since));
            for lapsed in self.silent(&handle, term, since, now) {
                match propose(&handle, Command::WorkerLapsed(lapsed)).await {
                    Ok(_) => tracing::warn!(
                        worker = lapsed.node,
                        "a worker has lapsed: three heartbeats were missed"
                    ),
                    Err(ProposeError::Refused(_)) => {}
                    Err(error) => tracing::debug!(worker = lapsed.node, "cannot note a lapse: {error}"),
                }
            }
        }
    }

    fn silent(&self, handle: &Handle, term: u64, since: Instant, now: Instant) -> Vec<WorkerLapsed> {
        let heard = self.heard.lock().expect("no holder of the lock panics").clone();
        let silent = |node: u64, incarnation: u64| {
            let last = heard
                .get(&node)
                .filter(|heard| heard.incarnation == incarnation)
                .map_or(since, |heard| heard.at);
            now.duration_since(last.max(since)) > LAPSE
        };
        handle.read(|state| {
            state
                .workers()
                .filter(|worker| !worker.lapsed && silent(worker.node, worker.incarnation))
                .map(|worker| WorkerLapsed {
                    node: worker.node,
                    incarnation: worker.incarnation,
                    term,
                })
                .collect()
        })
    }
}
