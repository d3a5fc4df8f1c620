//! The replies of one session, by sequence.
//!
//! Sequences come nearly always in their order and go from the lowest on, so this is a queue rather than a tree: a reply is
//! put at its end and taken from its front. One that comes late is put where it belongs.

use std::sync::Arc;

use imbl::Vector;
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
    kept: Vector<Kept>,
    bytes: usize,
}

impl Replies {
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Encoded bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn lowest(&self) -> Option<u64> {
        self.kept.front().map(|kept| kept.sequence)
    }

    pub fn get(&self, sequence: u64) -> Option<&Arc<Reply>> {
        let at = self.place(sequence).ok()?;
        self.kept.get(at).map(|kept| &kept.reply)
    }

    /// Adds a reply; false, and nothing is changed, if there is one of that sequence already.
    pub fn insert(&mut self, sequence: u64, reply: Reply) -> bool {
        let Err(at) = self.place(sequence) else {
            return false;
        };
        let bytes = reply.encoded_len();
        self.bytes += bytes;
        let reply = Arc::new(reply);
        let kept = Kept { sequence, bytes, reply };
        if at == self.kept.len() {
            self.kept.push_back(kept);
        } else {
            self.kept.insert(at, kept);
        }
        true
    }

    /// Drops the reply of the lowest sequence, which is given back.
    pub fn drop_lowest(&mut self) -> Option<u64> {
        let kept = self.kept.pop_front()?;
        self.bytes -= kept.bytes;
        Some(kept.sequence)
    }

    /// Ascending by sequence.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Reply)> {
        self.kept.iter().map(|kept| (kept.sequence, &*kept.reply))
    }

    /// Where the reply of a sequence is, or where it belongs.
    fn place(&self, sequence: u64) -> Result<usize, usize> {
        match self.kept.back() {
            Some(last) if last.sequence >= sequence => self.kept.binary_search_by_key(&sequence, |kept| kept.sequence),
            _ => Err(self.kept.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Refusal, RefusalCode};

    #[test]
    fn replies_that_come_late_are_found_and_go_in_the_order_of_their_sequences() {
        let mut replies = Replies::default();
        let refusal = |sequence: u64| Reply::from(Refusal::new(RefusalCode::NotFound).with("sequence", sequence));
        for sequence in [3, 9, 4, 1, 7, u64::MAX, 8] {
            assert!(replies.insert(sequence, refusal(sequence)));
            assert!(!replies.insert(sequence, refusal(0)), "{sequence} twice");
        }
        for sequence in [1, 3, 4, 7, 8, 9, u64::MAX] {
            assert_eq!(
                replies.get(sequence).map(|reply| (**reply).clone()),
                Some(refusal(sequence))
            );
        }
        assert_eq!((replies.get(2), replies.get(0), replies.get(10)), (None, None, None));
        let total: usize = replies.iter().map(|(_, reply)| reply.encoded_len()).sum();
        assert_eq!(replies.bytes(), total);
        let gone: Vec<u64> = std::iter::from_fn(|| replies.drop_lowest()).collect();
        assert_eq!(gone, [1, 3, 4, 7, 8, 9, u64::MAX]);
        assert_eq!((replies.len(), replies.bytes(), replies.lowest()), (0, 0, None));
    }
}
