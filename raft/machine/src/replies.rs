//! The replies of one session, by sequence.
//!
//! Sequences come nearly always in their order and go from the lowest on, so this is a queue: a reply is put at its end and
//! taken from its front. Those that come late, after a leader was lost, are kept apart in a tree.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use prost::Message;

use crate::reply::Reply;

#[derive(Clone)]
struct Kept {
    sequence: u64,
    bytes: usize,
    reply: Arc<Reply>,
}

/// Replies in the order of their sequences.
#[derive(Clone, Default)]
pub(crate) struct Replies {
    in_order: Vector<Kept>,
    /// Came after one of a higher sequence that is in order, so none is left when that is taken.
    late: OrdMap<u64, Kept>,
    bytes: usize,
}

impl Replies {
    pub fn len(&self) -> usize {
        self.in_order.len() + self.late.len()
    }

    /// Encoded bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn lowest(&self) -> Option<u64> {
        let first = self.in_order.front().map(|kept| kept.sequence);
        let late = self.late.get_min().map(|(sequence, _)| *sequence);
        first.into_iter().chain(late).min()
    }

    pub fn get(&self, sequence: u64) -> Option<&Arc<Reply>> {
        if !self.reaches(sequence) {
            return None;
        }
        let found = self.in_order.binary_search_by_key(&sequence, |kept| kept.sequence);
        let kept = match found {
            Ok(at) => self.in_order.get(at),
            Err(_) => self.late.get(&sequence),
        };
        kept.map(|kept| &kept.reply)
    }

    /// Adds a reply; false, and nothing is changed, if there is one of that sequence already.
    pub fn insert(&mut self, sequence: u64, reply: Reply) -> bool {
        let late = self.reaches(sequence);
        if late && self.get(sequence).is_some() {
            return false;
        }
        let bytes = reply.encoded_len();
        self.bytes += bytes;
        let reply = Arc::new(reply);
        let kept = Kept { sequence, bytes, reply };
        if late {
            self.late.insert(sequence, kept);
        } else {
            self.in_order.push_back(kept);
        }
        true
    }

    /// True if a reply of this sequence would not be the last one.
    fn reaches(&self, sequence: u64) -> bool {
        self.in_order.back().is_some_and(|last| last.sequence >= sequence)
    }

    /// Drops the reply of the lowest sequence, which is given back.
    pub fn drop_lowest(&mut self) -> Option<u64> {
        let lowest = self.lowest()?;
        let kept = match self.late.remove(&lowest) {
            Some(kept) => kept,
            None => self.in_order.pop_front()?,
        };
        self.bytes -= kept.bytes;
        Some(lowest)
    }

    /// Ascending by sequence.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Reply)> {
        let mut in_order = self.in_order.iter().peekable();
        let mut late = self.late.values().peekable();
        std::iter::from_fn(move || {
            let next = match (in_order.peek(), late.peek()) {
                (Some(next), Some(other)) if other.sequence < next.sequence => late.next(),
                (Some(_), _) => in_order.next(),
                (None, _) => late.next(),
            }?;
            Some((next.sequence, &*next.reply))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reply::{Refusal, RefusalCode};

    fn refusal(sequence: u64) -> Reply {
        Refusal::new(RefusalCode::NotFound).with("sequence", sequence).into()
    }

    /// Beside a tree, with sequences that mostly rise and lowest ones that go now and then.
    #[test]
    fn replies_that_come_late_are_found_and_go_in_the_order_of_their_sequences() {
        let (mut replies, mut tree) = (Replies::default(), BTreeMap::new());
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for step in 0..20_000_u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let back = if random.is_multiple_of(7) {
                random >> 8 & 0x3ff
            } else {
                0
            };
            let sequence = (step + 1).saturating_sub(back);
            let new = replies.insert(sequence, refusal(sequence));
            assert_eq!(new, tree.insert(sequence, refusal(sequence)).is_none(), "{sequence}");
            if random.is_multiple_of(3) || replies.len() > 3_000 {
                assert_eq!(replies.drop_lowest(), tree.pop_first().map(|(sequence, _)| sequence));
            }
            assert_eq!(replies.lowest(), tree.keys().next().copied());
            let asked = (step + 2).saturating_sub(random >> 20 & 0xfff);
            assert_eq!(replies.get(asked).map(|reply| &**reply), tree.get(&asked), "{asked}");
        }
        assert!(
            replies
                .iter()
                .eq(tree.iter().map(|(sequence, reply)| (*sequence, reply)))
        );
        assert_eq!(replies.bytes(), tree.values().map(Message::encoded_len).sum::<usize>());
        assert_eq!(replies.len(), tree.len());
        while replies.drop_lowest().is_some() {}
        assert_eq!((replies.len(), replies.bytes(), replies.lowest()), (0, 0, None));
    }
}
