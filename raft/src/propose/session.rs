//! What this node has proposed and has no answer to yet, numbered for de-duplication.
//!
//! What is proposed while a lot is under way waits a moment and goes together: a few proposals are handed over at once, and
//! the more there are, the larger are the batches ([`MAX_UNDER_WAY_PER_UNSENT`]).

use std::collections::VecDeque;
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
const MAX_OPEN_SPAN: usize = 8_000;
/// Proposals in one batch to the leader at most.
const MAX_BATCH_ENTRIES: usize = 1_024;
/// Bytes in one batch to the leader, except that one proposal always goes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// New proposals wait for answers, or for more of their kind, while more than this many times as many are under way. So no
/// more batches than this are usually under way, whatever the number of clients, and as many clients never wait.
const MAX_UNDER_WAY_PER_UNSENT: usize = 4;

type Answer = Result<Committed, CallError>;

/// What becomes of a proposal under way while this node is without contact to a quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutQuorum {
    /// It fails, so that its caller can ask another node at once.
    Fail,
    /// It waits until its caller's deadline: the number it was sent under makes sending it again harmless.
    Wait,
}

struct Pending {
    proposal: Bytes,
    answer: oneshot::Sender<Answer>,
    without_quorum: WithoutQuorum,
    /// Handed to some leader at least once: its outcome is then unknown until there is an answer.
    sent: bool,
    /// To be handed to the present leader.
    unsent: bool,
}

struct Open {
    /// Sequence of the first of `pending`.
    first: u64,
    /// By sequence; the first one is open, unless there is none.
    pending: VecDeque<Option<Pending>>,
    /// How many are open, and how many of them are unsent.
    count: usize,
    unsent: usize,
    /// Nothing before this sequence is unsent.
    unsent_from: u64,
    /// Of what is open.
    bytes: usize,
}

impl Open {
    fn next(&self) -> u64 {
        self.first + self.pending.len() as u64
    }

    fn slot(&mut self, sequence: u64) -> Option<&mut Option<Pending>> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.pending.get_mut(at)
    }

    fn take(&mut self, sequence: u64) -> Option<Pending> {
        let pending = self.slot(sequence)?.take()?;
        self.count -= 1;
        self.bytes -= pending.proposal.len();
        self.unsent -= usize::from(pending.unsent);
        while self.pending.front().is_some_and(Option::is_none) {
            self.pending.pop_front();
            self.first += 1;
        }
        Some(pending)
    }

    fn requeue(&mut self, sequence: u64) {
        let Some(Some(pending)) = self.slot(sequence) else {
            return;
        };
        if !std::mem::replace(&mut pending.unsent, true) {
            self.unsent += 1;
            self.unsent_from = self.unsent_from.min(sequence);
        }
    }

    /// True if a batch should go now.
    fn is_due(&self) -> bool {
        self.unsent > 0 && self.count - self.unsent <= self.unsent.saturating_mul(MAX_UNDER_WAY_PER_UNSENT)
    }
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

impl Ticket {
    /// Takes the proposal back; true if some leader may have it, or if it was answered in this moment.
    pub fn withdraw(&self) -> bool {
        let (taken, due) = {
            let mut open = self.session.lock();
            let taken = open.take(self.sequence);
            let due = taken.is_some() && open.is_due();
            (taken, due)
        };
        if due {
            self.session.wake.notify_one();
        }
        taken.is_none_or(|pending| pending.sent)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl Session {
    pub fn new(node: u64, incarnation: u64) -> Arc<Self> {
        let open = Open {
            first: 1,
            pending: VecDeque::new(),
            count: 0,
            unsent: 0,
            unsent_from: 1,
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
    pub fn enqueue(self: &Arc<Self>, proposal: Bytes, without_quorum: WithoutQuorum) -> Result<Ticket, CallError> {
        let (answer, receiver) = oneshot::channel();
        let mut open = self.lock();
        let full = open.count >= QUEUE_CAPACITY_ENTRIES
            || open.bytes + proposal.len() > QUEUE_CAPACITY_BYTES
            || open.pending.len() >= MAX_OPEN_SPAN;
        if full {
            return Err(CallError::TooManyRequests);
        }
        let sequence = open.next();
        open.bytes += proposal.len();
        open.pending.push_back(Some(Pending {
            proposal,
            answer,
            without_quorum,
            sent: false,
            unsent: true,
        }));
        open.count += 1;
        open.unsent += 1;
        let due = open.is_due();
        drop(open);
        if due {
            self.wake.notify_one();
        }
        Ok(Ticket {
            session: self.clone(),
            sequence,
            answer: receiver,
        })
    }

    /// The next proposals to hand to the leader, in order; empty if there are none, or while they should wait for more.
    pub fn next_batch(&self) -> Vec<(u64, DoorItem)> {
        let mut open = self.lock();
        let mut batch = Vec::new();
        if !open.is_due() {
            return batch;
        }
        let (acked_below, mut sequence) = (open.first, open.unsent_from.max(open.first));
        let mut bytes = 0;
        while batch.len() < MAX_BATCH_ENTRIES
            && bytes < MAX_BATCH_BYTES
            && let Some(slot) = open.slot(sequence)
        {
            if let Some(pending) = slot.as_mut().filter(|pending| pending.unsent) {
                (pending.sent, pending.unsent) = (true, false);
                bytes += pending.proposal.len();
                let stamp = SessionStamp {
                    node: self.node,
                    incarnation: self.incarnation,
                    sequence,
                    acked_below,
                };
                let item = DoorItem {
                    stamp: Some(stamp),
                    proposal: pending.proposal.clone(),
                };
                batch.push((sequence, item));
            }
            sequence += 1;
        }
        open.unsent -= batch.len();
        open.unsent_from = sequence;
        batch
    }

    /// Gives back what could not be handed over.
    pub fn requeue(&self, sequences: impl IntoIterator<Item = u64>) {
        let mut open = self.lock();
        for sequence in sequences {
            open.requeue(sequence);
        }
    }

    /// Everything open has to go to a new leader.
    pub fn requeue_all(&self) {
        let mut open = self.lock();
        for pending in open.pending.iter_mut().flatten() {
            pending.unsent = true;
        }
        (open.unsent, open.unsent_from) = (open.count, open.first);
    }

    /// Answers proposals; `None` has one sent again.
    pub fn resolve(&self, outcomes: impl Iterator<Item = (u64, Option<(Reply, u64)>)>) {
        let mut answers = Vec::with_capacity(outcomes.size_hint().0);
        let mut acknowledged = 0;
        let due = {
            let mut open = self.lock();
            for (sequence, outcome) in outcomes {
                let Some((reply, log_index)) = outcome else {
                    open.requeue(sequence);
                    continue;
                };
                if let Some(pending) = open.take(sequence) {
                    acknowledged = acknowledged.max(log_index);
                    let outside = is_outside_window(&reply);
                    let committed = Committed { reply, log_index };
                    let answer = (!outside).then_some(committed).ok_or(CallError::TimedOutLeaderLost);
                    answers.push((pending.answer, answer));
                }
            }
            !answers.is_empty() && open.is_due()
        };
        // Before anybody can know of an answer: who reads because of it finds it here.
        self.acknowledged.fetch_max(acknowledged, Ordering::AcqRel);
        if due {
            self.wake.notify_one();
        }
        for (caller, answer) in answers {
            // The caller may have given up in this moment.
            let _ = caller.send(answer);
        }
    }

    /// Fails everything open: waiting here has no end.
    pub fn fail_all(&self, unsent: &CallError, sent: &CallError) {
        self.fail(|_| true, unsent, sent);
    }

    /// Fails what does not wait for a quorum.
    pub fn fail_impatient(&self, unsent: &CallError, sent: &CallError) {
        self.fail(|pending| pending.without_quorum == WithoutQuorum::Fail, unsent, sent);
    }

    fn fail(&self, fails: impl Fn(&Pending) -> bool, unsent: &CallError, sent: &CallError) {
        let mut failed = Vec::new();
        let mut open = self.lock();
        for sequence in open.first..open.next() {
            let slot = open.slot(sequence).and_then(|slot| slot.as_ref());
            if slot.is_some_and(&fails) {
                failed.extend(open.take(sequence));
            }
        }
        drop(open);
        for pending in failed {
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
        self.lock().count
    }

    /// True if anything waits for an answer.
    pub fn is_open(&self) -> bool {
        self.lock().count > 0
    }
}

fn is_outside_window(reply: &Reply) -> bool {
    matches!(&reply.kind, Some(ReplyKind::Refused(refusal)) if refusal.code == RefusalCode::ResendOutsideWindow as i32)
}

#[cfg(test)]
mod tests;
