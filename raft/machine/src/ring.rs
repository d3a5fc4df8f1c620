//! A hash-chained ring of records: the newest ones within a limit of records and bytes.
//!
//! The head of the chain covers every record that was ever pushed; the base covers those that were dropped, so that the
//! records present can be checked against both. Sealing older records into files is the business of a reconciler.

use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Bytes that a ring holds at most, as encoded.
pub const MAX_RING_BYTES: usize = 64 << 20;

/// A record of a ring.
pub trait RingRecord: prost::Message + Default + Clone {
    /// Position in the chain, from 1.
    fn sequence(&self) -> u64;
    /// Sets the position, when the record is pushed.
    fn set_sequence(&mut self, sequence: u64);
}

/// The ring. Cloning it is cheap.
#[derive(Clone)]
pub struct Ring<T> {
    records: imbl::Vector<Arc<T>>,
    max_records: usize,
    bytes: usize,
    next: u64,
    head: [u8; 32],
    base: [u8; 32],
}

impl<T: RingRecord> Ring<T> {
    pub(crate) fn new(max_records: usize) -> Self {
        Self {
            records: imbl::Vector::new(),
            max_records,
            bytes: 0,
            next: 1,
            head: [0; 32],
            base: [0; 32],
        }
    }

    /// Appends a record under the next sequence and drops the oldest ones beyond the limits.
    pub(crate) fn push(&mut self, mut record: T) -> u64 {
        let sequence = self.next;
        record.set_sequence(sequence);
        self.next += 1;
        self.head = link(&self.head, &record);
        self.bytes += record.encoded_len();
        self.records.push_back(Arc::new(record));
        while self.records.len() > self.max_records || self.bytes > MAX_RING_BYTES {
            let oldest = self.records.pop_front().expect("a ring over its limits holds a record");
            self.bytes -= oldest.encoded_len();
            self.base = link(&self.base, &*oldest);
        }
        sequence
    }

    /// Records from the oldest present to the newest; `rev()` goes the other way.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + '_ {
        self.records.iter().map(|record| &**record)
    }

    /// Records whose sequence is at least `sequence`, oldest first.
    pub fn from_sequence(&self, sequence: u64) -> impl DoubleEndedIterator<Item = &T> + '_ {
        let first = self.next - self.records.len() as u64;
        let skip = sequence.saturating_sub(first).min(self.records.len() as u64) as usize;
        // By position: an iterator of the vector would walk up to there.
        (skip..self.records.len()).map(|position| &*self.records[position])
    }

    /// The record of a sequence, if it is still present.
    pub fn get(&self, sequence: u64) -> Option<&T> {
        let first = self.next - self.records.len() as u64;
        let position = usize::try_from(sequence.checked_sub(first)?).ok()?;
        self.records.get(position).map(|record| &**record)
    }

    /// Number of records present.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True while no record is present.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Sequence of the newest record; 0 before the first.
    pub fn last_sequence(&self) -> u64 {
        self.next - 1
    }

    /// SHA-256 chain over every record ever pushed.
    pub fn head(&self) -> [u8; 32] {
        self.head
    }

    /// SHA-256 chain over the records that were dropped: where a check of the present ones begins.
    pub fn base(&self) -> [u8; 32] {
        self.base
    }

    /// True if the records present lead from the base of the chain to its head.
    pub fn verify(&self) -> bool {
        self.iter().fold(self.base, |chain, record| link(&chain, record)) == self.head
    }

    /// Rebuilds a ring from a snapshot; `false` if the records do not lead from `base` to `head`.
    pub(crate) fn restore(&mut self, base: [u8; 32], head: [u8; 32], next: u64, records: imbl::Vector<Arc<T>>) -> bool {
        let first = next.checked_sub(records.len() as u64);
        let in_order = first.is_some_and(|first| first >= 1 && (first..).zip(&records).all(|(s, r)| r.sequence() == s));
        self.bytes = records.iter().map(|record| record.encoded_len()).sum();
        self.records = records;
        (self.base, self.head, self.next) = (base, head, next);
        in_order && self.records.len() <= self.max_records && self.bytes <= MAX_RING_BYTES && self.verify()
    }
}

fn link<T: prost::Message>(chain: &[u8; 32], record: &T) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(chain);
    hash.update(record.encode_to_vec());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventRecord;

    fn record(index: u64) -> EventRecord {
        EventRecord {
            index,
            ..EventRecord::default()
        }
    }

    #[test]
    fn the_oldest_records_go_and_the_chain_stays() {
        let mut ring = Ring::new(3);
        assert!(ring.is_empty() && ring.last_sequence() == 0);
        for index in 1..=5 {
            assert_eq!(ring.push(record(index * 10)), index);
        }
        let sequences: Vec<u64> = ring.iter().map(|record| record.sequence).collect();
        assert_eq!(sequences, [3, 4, 5]);
        assert!(ring.verify());
        assert_ne!(ring.base(), [0; 32]);
        assert_eq!(ring.get(3).map(|record| record.index), Some(30));
        assert!(ring.get(2).is_none() && ring.get(6).is_none() && ring.get(0).is_none());
        assert_eq!(ring.from_sequence(5).count(), 1);
        assert_eq!(ring.from_sequence(0).count(), 3);
        assert_eq!(ring.from_sequence(6).count(), 0);
    }

    #[test]
    fn a_changed_record_breaks_the_chain() {
        let mut ring = Ring::new(3);
        ring.push(record(1));
        ring.push(record(2));
        let mut records: imbl::Vector<_> = ring.iter().cloned().map(Arc::new).collect();
        let mut other: Ring<EventRecord> = Ring::new(3);
        assert!(other.restore(ring.base(), ring.head(), 3, records.clone()));
        records.set(
            0,
            Arc::new(EventRecord {
                sequence: 1,
                ..record(9)
            }),
        );
        assert!(!other.restore(ring.base(), ring.head(), 3, records));
    }
}
