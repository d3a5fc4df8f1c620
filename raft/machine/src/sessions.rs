//! De-duplication sessions: a command is applied at most once per (node, incarnation, sequence), and a repeat is answered
//! with the stored reply. Commands without a stamp are outside of this.

use std::sync::Arc;

use imbl::OrdMap;
use prost::Message;

use crate::command::SessionStamp;
use crate::reply::Reply;

/// Replies kept for one session.
pub const MAX_SESSION_REPLIES: usize = 8_192;
/// Encoded bytes of replies kept for one session.
pub const MAX_SESSION_BYTES: usize = 16 << 20;
/// Nodes with a session.
pub const MAX_SESSIONS: usize = 64;

/// Replies that one incarnation of a node may still ask for again.
#[derive(Clone, Default)]
pub(crate) struct Session {
    pub incarnation: u64,
    /// Sequences below are answered for good: acknowledged, or dropped by a limit.
    pub floor: u64,
    pub replies: OrdMap<u64, Arc<Reply>>,
    pub bytes: usize,
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
    /// Classifies a stamp and takes its acknowledgements.
    pub fn check(&mut self, stamp: &SessionStamp) -> Stamp {
        let known = self.by_node.get(&stamp.node).map(|session| session.incarnation);
        match known {
            Some(incarnation) if incarnation > stamp.incarnation => return Stamp::OutsideWindow,
            None if self.by_node.len() >= MAX_SESSIONS => return Stamp::OutsideWindow,
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
        if let Some(reply) = session.replies.get(&stamp.sequence) {
            return Stamp::Repeat(reply.clone());
        }
        if stamp.sequence < session.floor {
            return Stamp::OutsideWindow;
        }
        session.raise_floor(stamp.acked_below.min(stamp.sequence));
        Stamp::New
    }

    /// Keeps the reply of a command that [`Self::check`] called new.
    pub fn store(&mut self, stamp: &SessionStamp, reply: Reply) {
        let session = self.by_node.get_mut(&stamp.node).expect("store follows check");
        session.bytes += reply.encoded_len();
        session.replies.insert(stamp.sequence, Arc::new(reply));
        while session.replies.len() > MAX_SESSION_REPLIES || session.bytes > MAX_SESSION_BYTES {
            let lowest = session.drop_lowest().expect("a session over its limits holds a reply");
            session.floor = session.floor.max(lowest.saturating_add(1));
        }
    }
}

impl Session {
    fn raise_floor(&mut self, floor: u64) {
        while self.replies.get_min().is_some_and(|(sequence, _)| *sequence < floor) {
            self.drop_lowest();
        }
        self.floor = self.floor.max(floor);
    }

    fn drop_lowest(&mut self) -> Option<u64> {
        let sequence = self.replies.get_min().map(|(sequence, _)| *sequence)?;
        let reply = self.replies.remove(&sequence)?;
        self.bytes -= reply.encoded_len();
        Some(sequence)
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
        let answer = sessions.check(&stamp);
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
        assert!(sessions.by_node[&1].bytes <= MAX_SESSION_BYTES);
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
}
