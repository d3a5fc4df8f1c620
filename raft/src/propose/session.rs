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

struct Pending {
    proposal: Bytes,
    answer: oneshot::Sender<Answer>,
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

impl Drop for Ticket {
    fn drop(&mut self) {
        let due = {
            let mut open = self.session.lock();
            open.take(self.sequence).is_some() && open.is_due()
        };
        if due {
            self.session.wake.notify_one();
        }
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
    pub fn enqueue(self: &Arc<Self>, proposal: Bytes) -> Result<Ticket, CallError> {
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

    /// Fails everything open: there is no leader to wait for.
    pub fn fail_all(&self, unsent: &CallError, sent: &CallError) {
        let failed = {
            let mut open = self.lock();
            (open.first, open.unsent_from) = (open.next(), open.next());
            (open.count, open.unsent, open.bytes) = (0, 0, 0);
            std::mem::take(&mut open.pending)
        };
        for pending in failed.into_iter().flatten() {
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
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn session(proposals: usize) -> (Arc<Session>, Vec<Ticket>) {
        let session = Session::new(1, 1);
        let tickets = (0..proposals).map(|_| enqueue(&session)).collect();
        (session, tickets)
    }

    fn enqueue(session: &Arc<Session>) -> Ticket {
        session.enqueue(Bytes::from_static(b"proposal")).expect("there is room")
    }

    fn sequences(session: &Session) -> Vec<u64> {
        session.next_batch().into_iter().map(|(sequence, _)| sequence).collect()
    }

    fn answer(session: &Session, sequences: impl IntoIterator<Item = u64>) {
        let outcomes = sequences
            .into_iter()
            .map(|sequence| (sequence, Some((Reply::default(), sequence))));
        session.resolve(outcomes);
    }

    #[test]
    fn few_go_at_once_and_many_together() {
        let (session, mut tickets) = session(1);
        assert_eq!(sequences(&session), [1]);
        for sequence in 2..=5 {
            tickets.push(enqueue(&session));
            assert_eq!(sequences(&session), [sequence], "with so few under way nobody waits");
        }
        tickets.push(enqueue(&session));
        assert!(sequences(&session).is_empty(), "five are under way");
        assert_eq!(session.wake.notified().now_or_never(), Some(()));
        answer(&session, [3]);
        assert_eq!(
            session.wake.notified().now_or_never(),
            Some(()),
            "an answer lets the sixth go"
        );
        assert_eq!(sequences(&session), [6]);
        tickets.extend((0..100).map(|_| enqueue(&session)));
        assert_eq!(sequences(&session).len(), 100);
        tickets.extend((0..26).map(|_| enqueue(&session)));
        assert_eq!(sequences(&session).len(), 0, "105 are under way");
        tickets.push(enqueue(&session));
        assert_eq!(sequences(&session).len(), 27);
    }

    #[test]
    fn callers_who_give_up_let_others_go() {
        let (session, mut tickets) = session(10);
        assert_eq!(sequences(&session).len(), 10);
        let last = enqueue(&session);
        assert!(sequences(&session).is_empty());
        assert_eq!(session.wake.notified().now_or_never(), Some(()));
        tickets.truncate(4);
        assert_eq!(session.wake.notified().now_or_never(), Some(()));
        assert_eq!(sequences(&session), [11]);
        drop(last);
        assert_eq!(session.pending(), 4);
    }

    #[test]
    fn stamps_tell_up_to_where_everything_is_answered() {
        let (session, mut tickets) = session(4);
        assert_eq!(sequences(&session), [1, 2, 3, 4]);
        answer(&session, [1, 2, 4]);
        tickets.push(enqueue(&session));
        let [(5, DoorItem { stamp: Some(stamp), .. })] = session.next_batch()[..] else {
            panic!("the fifth is unsent");
        };
        assert_eq!(stamp.acked_below, 3);
        answer(&session, [3, 5]);
        assert_eq!((session.pending(), session.acknowledged()), (0, 5));
        answer(&session, [3]);
        assert_eq!(sequences(&session), [0; 0]);
    }

    #[test]
    fn a_new_leader_gets_everything_again_in_order() {
        let (session, tickets) = session(5);
        assert_eq!(sequences(&session), [1, 2, 3, 4, 5]);
        answer(&session, [2]);
        session.requeue([4]);
        session.resolve([(5, None), (9, None)].into_iter());
        assert_eq!(sequences(&session), [4, 5]);
        session.requeue_all();
        assert_eq!(sequences(&session), [1, 3, 4, 5]);
        session.fail_all(&CallError::NoLeader, &CallError::TimedOutLeaderLost);
        let mut first = tickets.into_iter().next().expect("there are five");
        assert_eq!(first.answer.try_recv(), Ok(Err(CallError::TimedOutLeaderLost)));
        assert_eq!((session.pending(), session.is_open()), (0, false));
        let _ticket = enqueue(&session);
        assert_eq!(sequences(&session), [6]);
    }

    #[test]
    fn the_span_of_what_is_open_is_bounded() {
        let (session, tickets) = session(MAX_OPEN_SPAN);
        assert!(matches!(session.enqueue(Bytes::new()), Err(CallError::TooManyRequests)));
        while !sequences(&session).is_empty() {}
        answer(&session, 2..=MAX_OPEN_SPAN as u64);
        assert_eq!(session.pending(), 1);
        assert!(matches!(session.enqueue(Bytes::new()), Err(CallError::TooManyRequests)));
        answer(&session, [1]);
        enqueue(&session);
        drop(tickets);
    }
}
