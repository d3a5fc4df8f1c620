//! The end of the log in memory: decoded entries beside their encoded bytes.
//!
//! Replication and apply read every entry again, several times on a leader; they take it from here, as cheap clones that
//! share the bytes. Only entries that the engine has stored are dropped from the front, so a read that misses the tail
//! always finds them on disk.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::codec::{Entry, LogId};

/// Encoded bytes that the tail keeps at most; entries not yet stored are kept beyond it. The state keeps copies of its own of
/// what came in batches, so that this is memory beside it.
pub const MAX_TAIL_BYTES: usize = 8 << 20;
const _: () = assert!(
    MAX_TAIL_BYTES >= 2 * super::writer::MAX_BATCH_BYTES,
    "a group that was written is read again before the next one has taken its place"
);
/// Entries that the tail keeps at most; those not yet stored are kept beyond it.
pub const MAX_TAIL_ENTRIES: usize = 65_536;

/// Number of the append that brought an entry; tells whether the engine has stored it.
pub(crate) type AppendNumber = u64;

#[derive(Debug)]
struct TailEntry {
    entry: Entry,
    encoded: Bytes,
    append: AppendNumber,
}

/// The tail, with the log's bounds.
#[derive(Debug)]
pub(crate) struct Tail {
    entries: VecDeque<TailEntry>,
    bytes: usize,
    purged: Option<LogId>,
    /// First index of the log: the one after the purged entries, or wherever the first append put it.
    start: u64,
    last: Option<LogId>,
    /// Last append that the engine has stored.
    stored: AppendNumber,
    appends: AppendNumber,
    /// Rises with every truncation; a reader that spans two looks reads again.
    truncations: u64,
}

/// Where entries from an index on are.
pub(crate) enum Found {
    /// Here they are; empty if the log has none.
    Here(Vec<Entry>),
    /// On disk up to this index, exclusive.
    OnDisk { start: u64, end: u64 },
}

impl Tail {
    pub fn new(purged: Option<LogId>) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            purged,
            start: purged.map_or(0, |id| id.index + 1),
            last: purged,
            stored: 0,
            appends: 0,
            truncations: 0,
        }
    }

    pub fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub fn last_log_id(&self) -> Option<LogId> {
        self.last
    }

    pub fn truncations(&self) -> u64 {
        self.truncations
    }

    /// First index after the log.
    pub fn end(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// First index of the log.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// First index in memory.
    fn first(&self) -> u64 {
        self.entries
            .front()
            .map_or(self.end(), |first| first.entry.log_id.index)
    }

    /// Adds an entry that the engine holds already.
    pub fn recovered(&mut self, entry: Entry, encoded: Bytes) {
        self.push(entry, encoded, 0);
        self.evict();
    }

    /// Adds the entries of one append and returns its number.
    ///
    /// # Panics
    ///
    /// If an entry does not continue the log: a hole is a broken invariant of the caller.
    pub fn append(&mut self, entries: impl IntoIterator<Item = (Entry, Bytes)>) -> AppendNumber {
        self.appends += 1;
        let append = self.appends;
        for (entry, encoded) in entries {
            self.push(entry, encoded, append);
        }
        append
    }

    fn push(&mut self, entry: Entry, encoded: Bytes, append: AppendNumber) {
        let index = entry.log_id.index;
        assert!(
            self.last.is_none_or(|last| index == last.index + 1),
            "entry {index} leaves a hole after {:?}",
            self.last
        );
        if self.last.is_none() {
            self.start = index;
        }
        self.last = Some(entry.log_id);
        self.bytes += encoded.len();
        self.entries.push_back(TailEntry { entry, encoded, append });
    }

    /// The engine has stored every append up to this one.
    pub fn stored(&mut self, append: AppendNumber) {
        self.stored = self.stored.max(append);
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > MAX_TAIL_BYTES || self.entries.len() > MAX_TAIL_ENTRIES {
            if self.entries.front().is_none_or(|first| first.append > self.stored) {
                return;
            }
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            self.bytes -= first.encoded.len();
        }
    }

    /// Removes every entry after `last`.
    pub fn truncate_after(&mut self, last: Option<LogId>) {
        let end = last.map_or(0, |id| id.index + 1);
        if end >= self.end() {
            return;
        }
        while self.entries.back().is_some_and(|entry| entry.entry.log_id.index >= end) {
            if let Some(dropped) = self.entries.pop_back() {
                self.bytes -= dropped.encoded.len();
            }
        }
        self.last = last.max(self.purged);
        self.start = self.start.min(self.end());
        self.truncations += 1;
    }

    /// Removes every entry up to `upto`, which may lie beyond the log.
    pub fn purge(&mut self, upto: LogId) {
        while self
            .entries
            .front()
            .is_some_and(|first| first.entry.log_id.index <= upto.index)
        {
            self.drop_front();
        }
        self.purged = self.purged.max(Some(upto));
        self.start = self.start.max(upto.index + 1);
        if self.end() <= upto.index {
            self.last = Some(upto);
        }
    }

    /// Looks for entries of `[start, end)`: as many as fit the limits, at least one if there is any.
    pub fn find(&self, start: u64, end: u64, max_entries: usize, max_bytes: usize) -> Found {
        let (start, end) = (start.max(self.start()), end.min(self.end()));
        if start >= end {
            return Found::Here(Vec::new());
        }
        let first = self.first();
        if start < first {
            return Found::OnDisk {
                start,
                end: end.min(first),
            };
        }
        let mut bytes = 0;
        let from = (start - first) as usize;
        let wanted = self.entries.range(from..(end - first) as usize).take(max_entries);
        let fitting = wanted.enumerate().take_while(|(at, found)| {
            bytes += found.encoded.len();
            *at == 0 || bytes <= max_bytes
        });
        Found::Here(fitting.map(|(_, found)| found.entry.clone()).collect())
    }

    /// The encoded bytes of an entry, if it is in memory.
    pub fn encoded(&self, id: LogId) -> Option<Bytes> {
        let at = id.index.checked_sub(self.first())?;
        let found = self.entries.get(usize::try_from(at).ok()?)?;
        (found.entry.log_id == id).then(|| found.encoded.clone())
    }
}
