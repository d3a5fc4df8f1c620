//! Batches, numbers and counts of what is under way.

use futures_util::FutureExt;

use super::*;

const PROPOSAL: &[u8] = b"proposal";

fn session(proposals: usize) -> (Arc<Session>, Vec<Ticket>) {
    let session = Session::new(1, 1);
    let tickets = (0..proposals).map(|_| enqueue(&session)).collect();
    (session, tickets)
}

fn enqueue(session: &Arc<Session>) -> Ticket {
    enqueue_for(session, WithoutQuorum::Fail)
}

fn enqueue_for(session: &Arc<Session>, without_quorum: WithoutQuorum) -> Ticket {
    let proposal = Bytes::from_static(PROPOSAL);
    session.enqueue(proposal, without_quorum).expect("there is room")
}

/// How many are open, how many of them are unsent, and their bytes.
fn held(session: &Session) -> (usize, usize, usize) {
    let open = session.lock();
    (open.count, open.unsent, open.bytes)
}

fn is_full(session: &Arc<Session>) -> bool {
    let refused = session.enqueue(Bytes::new(), WithoutQuorum::Fail);
    matches!(refused, Err(CallError::TooManyRequests))
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
fn without_a_quorum_the_patient_wait_and_the_others_fail() {
    let (session, mut impatient) = session(9);
    let mut patient = enqueue_for(&session, WithoutQuorum::Wait);
    assert_eq!(sequences(&session).len(), 10);
    impatient.push(enqueue(&session));
    let waiting = enqueue_for(&session, WithoutQuorum::Wait);
    assert!(sequences(&session).is_empty(), "ten are under way, and two wait");
    session.fail_impatient(&CallError::NoLeader, &CallError::TimedOutLeaderLost);
    let answers: Vec<_> = impatient.iter_mut().map(|ticket| ticket.answer.try_recv()).collect();
    let unknown = Ok(Err(CallError::TimedOutLeaderLost));
    assert!(answers[..9].iter().all(|answer| *answer == unknown));
    assert_eq!(answers[9], Ok(Err(CallError::NoLeader)), "nobody ever got it");
    assert!(patient.answer.try_recv().is_err(), "it waits");
    assert_eq!(held(&session), (2, 1, 2 * PROPOSAL.len()));
    assert_eq!(sequences(&session), [12], "only one is under way now");
    session.requeue_all();
    assert_eq!(sequences(&session), [10, 12], "a new leader gets what has waited");
    answer(&session, [10]);
    assert!(matches!(patient.answer.try_recv(), Ok(Ok(_))));
    assert!(waiting.withdraw(), "a leader may have it");
    assert_eq!(held(&session), (0, 0, 0));
}

#[test]
fn who_gives_up_learns_whether_a_leader_may_have_it_and_lets_others_go() {
    let (session, mut sent) = session(5);
    assert_eq!(sequences(&session).len(), 5);
    let (returned, last) = (enqueue_for(&session, WithoutQuorum::Wait), enqueue(&session));
    assert_eq!(sequences(&session), [6, 7], "five are under way, and two wait");
    session.requeue([6, 7]);
    let late = enqueue_for(&session, WithoutQuorum::Wait);
    assert!(!late.withdraw(), "nobody ever got it");
    assert_eq!(session.wake.notified().now_or_never(), Some(()));
    assert!(returned.withdraw(), "it was handed over once");
    assert_eq!(session.wake.notified().now_or_never(), None);
    assert!(sequences(&session).is_empty(), "five are under way, and one waits");
    assert!(sent.pop().expect("there are five").withdraw());
    assert_eq!(session.wake.notified().now_or_never(), Some(()), "four are");
    assert_eq!(sequences(&session), [7]);
    drop((sent, last));
    assert_eq!(held(&session), (0, 0, 0));
}

#[test]
fn the_span_of_what_is_open_is_bounded() {
    let (session, tickets) = session(MAX_OPEN_SPAN);
    assert!(is_full(&session));
    while !sequences(&session).is_empty() {}
    answer(&session, 2..=MAX_OPEN_SPAN as u64);
    assert_eq!(session.pending(), 1);
    assert!(is_full(&session));
    answer(&session, [1]);
    enqueue(&session);
    drop(tickets);
}
