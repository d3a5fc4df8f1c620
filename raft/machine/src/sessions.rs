//! De-duplication sessions: a command is applied at most once per (node, incarnation, sequence), and a repeat is answered
//! with the stored reply. Commands without a stamp are outside of this.

use std::sync::Arc;

use imbl::OrdMap;

use crate::command::SessionStamp;
use crate::replies::Replies;
use crate::reply::Reply;
use crate::state::State;

/// Replies kept for one session.
pub const MAX_SESSION_REPLIES: usize = 8_192;
/// Encoded bytes of replies kept for one session.
pub const MAX_SESSION_BYTES: usize = 16 << 20;
/// Nodes with a session: more than a cluster has members. A newcomer beyond it takes the place of the node that has been
/// silent for longest among those that are no members; without one it gets no session.
pub const MAX_SESSIONS: usize = 64;

/// Replies that one incarnation of a node may still ask for again.
#[derive(Clone, Default)]
pub(crate) struct Session {
    pub incarnation: u64,
    /// Sequences below are answered for good: acknowledged, or dropped by a limit.
    pub floor: u64,
    pub replies: Replies,
    /// Log index of its last command: the order in which sessions go when there are too many.
    pub last_index: u64,
}

/// The sessions of all nodes.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    pub by_node: OrdMap<u64, Session>,
}

/// What a stamp says about a command.
pub(crate) enum Stamp {
    /// First time: apply it, then [`Sessions::store`].
    New,
    /// Applied before, with this reply.
    Repeat(Arc<Reply>),
    /// It may or may not have been applied; it must not be applied now.
    OutsideWindow,
}

impl Sessions {
    /// Classifies a stamp of the entry at `index` and takes its acknowledgements. A session of a node for which `is_member`
    /// holds is never given up: its commands may still be on their way. Ids of nodes are never used again, so one that is no
    /// member never asks again.
    pub fn check(&mut self, index: u64, stamp: &SessionStamp, is_member: impl Fn(u64) -> bool) -> Stamp {
        let known = self.by_node.get(&stamp.node).map(|session| session.incarnation);
        match known {
            Some(incarnation) if incarnation > stamp.incarnation => return Stamp::OutsideWindow,
            None if self.by_node.len() >= MAX_SESSIONS && !self.evict(is_member) => return Stamp::OutsideWindow,
            Some(incarnation) if incarnation == stamp.incarnation => {}
            // The first command of an incarnation: replies of an older one are asked for by nobody any more.
            _ => {
                self.by_node.insert(
                    stamp.node,
                    Session {
                        incarnation: stamp.incarnation,
                        ..Session::default()
                    },
                );
            }
        }
        let session = self
            .by_node
            .get_mut(&stamp.node)
            .expect("the session was just made or found");
        session.last_index = index;
        if let Some(reply) = session.replies.get(stamp.sequence) {
            return Stamp::Repeat(reply.clone());
        }
        if stamp.sequence < session.floor {
            return Stamp::OutsideWindow;
        }
        session.raise_floor(stamp.acked_below.min(stamp.sequence));
        Stamp::New
    }

    /// Makes room for one session; false if every one belongs to a member.
    fn evict(&mut self, is_member: impl Fn(u64) -> bool) -> bool {
        let strangers = self.by_node.iter().filter(|(node, _)| !is_member(**node));
        let Some((_, node)) = strangers.map(|(node, session)| (session.last_index, *node)).min() else {
            return false;
        };
        self.by_node.remove(&node);
        true
    }

    /// Keeps the reply of a command that [`Self::check`] called new.
    pub fn store(&mut self, stamp: &SessionStamp, reply: Reply) {
        let session = self.by_node.get_mut(&stamp.node).expect("store follows check");
        let new = session.replies.insert(stamp.sequence, reply);
        assert!(new, "a command that has a reply is no new one");
        while session.is_beyond_limits() {
            let lowest = session.replies.drop_lowest();
            let lowest = lowest.expect("a session over its limits holds a reply");
            session.floor = session.floor.max(lowest.saturating_add(1));
        }
    }
}

impl State {
    /// Classifies the stamp of the entry at `index`; see [`Sessions::check`].
    pub(crate) fn check_stamp(&mut self, index: u64, stamp: &SessionStamp) -> Stamp {
        let State { sessions, nodes, .. } = self;
        sessions.check(index, stamp, |node| nodes.contains_key(&node))
    }
}

impl Session {
    fn raise_floor(&mut self, floor: u64) {
        while self.replies.lowest().is_some_and(|sequence| sequence < floor) {
            self.replies.drop_lowest();
        }
        self.floor = self.floor.max(floor);
    }

    pub fn is_beyond_limits(&self) -> bool {
        self.replies.len() > MAX_SESSION_REPLIES || self.replies.bytes() > MAX_SESSION_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Refusal, RefusalCode};

    fn send(sessions: &mut Sessions, sequence: u64, acked_below: u64, bytes: usize) -> Stamp {
        let stamp = SessionStamp {
            node: 1,
            incarnation: 1,
            sequence,
            acked_below,
        };
        let answer = sessions.check(sequence, &stamp, |_| true);
        if matches!(answer, Stamp::New) {
            let refusal = Refusal::new(RefusalCode::NotFound).with("x", "x".repeat(bytes));
            sessions.store(&stamp, refusal.into());
        }
        answer
    }

    #[test]
    fn replies_are_limited_in_number() {
        let mut sessions = Sessions::default();
        for sequence in 1..=MAX_SESSION_REPLIES as u64 + 1 {
            assert!(matches!(send(&mut sessions, sequence, 0, 0), Stamp::New));
        }
        assert!(matches!(send(&mut sessions, 1, 0, 0), Stamp::OutsideWindow));
        assert!(matches!(send(&mut sessions, 2, 0, 0), Stamp::Repeat(_)));
    }

    #[test]
    fn replies_are_limited_in_bytes() {
        let mut sessions = Sessions::default();
        for sequence in [1, 2, u64::MAX] {
            assert!(matches!(
                send(&mut sessions, sequence, 0, MAX_SESSION_BYTES / 2),
                Stamp::New
            ));
        }
        assert!(sessions.by_node[&1].replies.bytes() <= MAX_SESSION_BYTES);
        assert!(matches!(send(&mut sessions, 1, 0, 0), Stamp::OutsideWindow));
        assert!(matches!(send(&mut sessions, u64::MAX, 0, 0), Stamp::Repeat(_)));
        // One reply beyond the limit by itself is not kept, and its repeat is not applied again.
        let mut sessions = Sessions::default();
        assert!(matches!(send(&mut sessions, 5, 0, MAX_SESSION_BYTES), Stamp::New));
        assert!(matches!(send(&mut sessions, 5, 0, 0), Stamp::OutsideWindow));
    }

    #[test]
    fn acknowledged_replies_are_dropped() {
        let mut sessions = Sessions::default();
        send(&mut sessions, 1, 0, 0);
        send(&mut sessions, 2, 2, 0);
        assert_eq!(sessions.by_node[&1].replies.len(), 1);
        assert!(matches!(send(&mut sessions, 1, 2, 0), Stamp::OutsideWindow));
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_node_silent_for_longest_that_is_no_member() {
        let mut sessions = Sessions::default();
        let first = |sessions: &mut Sessions, node: u64, index: u64, member: fn(u64) -> bool| {
            let stamp = SessionStamp {
                node,
                incarnation: 1,
                sequence: 1,
                acked_below: 0,
            };
            let answer = sessions.check(index, &stamp, member);
            if matches!(answer, Stamp::New) {
                sessions.store(&stamp, Reply::default());
            }
            matches!(answer, Stamp::New)
        };
        // Higher nodes spoke earlier; node 64 is a member, node 63 asked again.
        let members: fn(u64) -> bool = |node| node > 63;
        for node in 1..=MAX_SESSIONS as u64 {
            assert!(first(&mut sessions, node, 100 - node, members));
        }
        assert!(!first(&mut sessions, 63, 200, members), "a repeat");
        assert!(first(&mut sessions, 70, 201, members));
        assert_eq!(sessions.by_node.len(), MAX_SESSIONS);
        assert!(!sessions.by_node.contains_key(&62));
        assert!(sessions.by_node.contains_key(&63) && sessions.by_node.contains_key(&64));
        assert!(!first(&mut sessions, 71, 202, |_| true), "members keep their sessions");
        assert_eq!(sessions.by_node.len(), MAX_SESSIONS);
    }
}
