//! What this node has proposed and has no answer to yet, numbered for de-duplication.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_machine::{RefusalCode, Reply, ReplyKind, SessionStamp};
use tokio::sync::{Notify, oneshot};

use super::DoorItem;
use crate::handle::{CallError, Committed};

/// Proposals under way at most.
pub(crate) const QUEUE_CAPACITY_ENTRIES: usize = 8_000;
/// Bytes of proposals under way at most.
pub(crate) const QUEUE_CAPACITY_BYTES: usize = 64 * 1024 * 1024;
/// Distance of the lowest open sequence to the next one at most; the machine keeps replies for a little more.
const MAX_OPEN_SPAN: u64 = 8_000;
/// Proposals in one batch to the leader at most.
const MAX_BATCH_ENTRIES: usize = 1_024;
/// Bytes in one batch to the leader, except that one proposal always goes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

type Answer = Result<Committed, CallError>;

struct Pending {
    proposal: Bytes,
    answer: oneshot::Sender<Answer>,
    /// Handed to some leader at least once: its outcome is then unknown until there is an answer.
    sent: bool,
}

struct Open {
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// To be handed to the present leader.
    unsent: BTreeSet<u64>,
    bytes: usize,
}

/// The proposals of this run of this node.
pub(crate) struct Session {
    node: u64,
    incarnation: u64,
    open: Mutex<Open>,
    /// Largest log index of a proposal that was answered here.
    acknowledged: AtomicU64,
    /// Told when there is something to send.
    pub wake: Notify,
}

/// Forgets its proposal when the caller goes away.
pub(crate) struct Ticket {
    session: Arc<Session>,
    sequence: u64,
    pub answer: oneshot::Receiver<Answer>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.take(&mut self.session.lock(), self.sequence);
    }
}

impl Session {
    pub fn new(node: u64, incarnation: u64) -> Arc<Self> {
        let open = Open {
            next: 1,
            pending: BTreeMap::new(),
            unsent: BTreeSet::new(),
            bytes: 0,
        };
        Arc::new(Self {
            node,
            incarnation,
            open: Mutex::new(open),
            acknowledged: AtomicU64::new(0),
            wake: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a proposal in, or refuses it at once.
    pub fn enqueue(self: &Arc<Self>, proposal: Bytes) -> Result<Ticket, CallError> {
        let mut open = self.lock();
        let lowest = open
            .pending
            .first_key_value()
            .map_or(open.next, |(sequence, _)| *sequence);
        let full = open.pending.len() >= QUEUE_CAPACITY_ENTRIES
            || open.bytes + proposal.len() > QUEUE_CAPACITY_BYTES
            || open.next - lowest >= MAX_OPEN_SPAN;
        if full {
            return Err(CallError::TooManyRequests);
        }
        let sequence = open.next;
        let (answer, receiver) = oneshot::channel();
        open.next += 1;
        open.bytes += proposal.len();
        open.pending.insert(
            sequence,
            Pending {
                proposal,
                answer,
                sent: false,
            },
        );
        open.unsent.insert(sequence);
        drop(open);
        self.wake.notify_one();
        Ok(Ticket {
            session: self.clone(),
            sequence,
            answer: receiver,
        })
    }

    fn take(&self, open: &mut Open, sequence: u64) -> Option<Pending> {
        let pending = open.pending.remove(&sequence)?;
        open.bytes -= pending.proposal.len();
        open.unsent.remove(&sequence);
        Some(pending)
    }

    /// The next proposals to hand to the leader, in order; empty if there are none.
    pub fn next_batch(&self) -> Vec<(u64, DoorItem)> {
        let mut open = self.lock();
        let acked_below = open
            .pending
            .first_key_value()
            .map_or(open.next, |(sequence, _)| *sequence);
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < MAX_BATCH_ENTRIES
            && bytes < MAX_BATCH_BYTES
            && let Some(sequence) = open.unsent.pop_first()
        {
            let Some(pending) = open.pending.get_mut(&sequence) else {
                continue;
            };
            pending.sent = true;
            bytes += pending.proposal.len();
            let stamp = SessionStamp {
                node: self.node,
                incarnation: self.incarnation,
                sequence,
                acked_below,
            };
            batch.push((
                sequence,
                DoorItem {
                    stamp: Some(stamp),
                    proposal: pending.proposal.clone(),
                },
            ));
        }
        batch
    }

    /// Gives back what could not be handed over.
    pub fn requeue(&self, sequences: impl IntoIterator<Item = u64>) {
        let mut open = self.lock();
        for sequence in sequences {
            if open.pending.contains_key(&sequence) {
                open.unsent.insert(sequence);
            }
        }
    }

    /// Everything open has to go to a new leader.
    pub fn requeue_all(&self) {
        let mut open = self.lock();
        open.unsent = open.pending.keys().copied().collect();
    }

    /// Answers a proposal; `None` sends it again.
    pub fn resolve(&self, sequence: u64, outcome: Option<(Reply, u64)>) {
        let Some((reply, log_index)) = outcome else {
            self.requeue([sequence]);
            return;
        };
        let answer = if is_outside_window(&reply) {
            Err(CallError::TimedOutLeaderLost)
        } else {
            Ok(Committed { reply, log_index })
        };
        let pending = self.take(&mut self.lock(), sequence);
        if let Some(pending) = pending {
            // Before anybody can know of the answer: who reads because of it finds it here.
            self.acknowledged.fetch_max(log_index, Ordering::AcqRel);
            // The caller may have given up in this moment.
            let _ = pending.answer.send(answer);
        }
    }

    /// Fails everything open: there is no leader to wait for.
    pub fn fail_all(&self, unsent: &CallError, sent: &CallError) {
        let failed = {
            let mut open = self.lock();
            open.bytes = 0;
            open.unsent.clear();
            std::mem::take(&mut open.pending)
        };
        for pending in failed.into_values() {
            let error = if pending.sent { sent } else { unsent };
            let _ = pending.answer.send(Err(error.clone()));
        }
    }

    /// Largest log index of a proposal that was answered here. On a node that follows, its own state may be behind that for a
    /// moment: the answer came from the leader.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// How many wait for an answer.
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// True if anything waits for an answer.
    pub fn is_open(&self) -> bool {
        !self.lock().pending.is_empty()
    }
}

fn is_outside_window(reply: &Reply) -> bool {
    matches!(&reply.kind, Some(ReplyKind::Refused(refusal)) if refusal.code == RefusalCode::ResendOutsideWindow as i32)
}
