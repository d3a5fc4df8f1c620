//! Reads of the log: from the tail in memory, older entries from the engine.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use openraft::errors::LeaderChanged;
use openraft::storage::{LeaderBoundedStreamError, LeaderBoundedStreamResult, RaftLogReader};
use openraft::type_config::alias::InstantOf;
use openraft::{AsyncRuntime, OptionalSend};

use super::engine::LogReads;
use super::tail::{Found, Tail};
use super::writer::{Gauges, LogStats};
use crate::codec::{self, Entry, LeaderId, LogId, Vote};
use crate::measures::DurationHistogram;
use crate::types::TypeConfig;

/// Encoded bytes that one limited read returns at most, unless the first entry alone is larger.
pub const MAX_READ_BYTES: usize = 1 << 20;
/// Entries that one limited read returns at most; also how long the tail is locked at a time.
pub const MAX_READ_ENTRIES: usize = 4096;

/// What the store, its readers and its writer share.
pub(crate) struct Shared<RT: AsyncRuntime> {
    tail: Mutex<Tail>,
    vote: Mutex<Option<Vote>>,
    /// What is known to be committed, until the writer has taken it.
    committed: Mutex<Option<Option<LogId>>>,
    /// `None` once the log is closed.
    engine: Mutex<Option<Arc<dyn LogReads>>>,
    pub gauges: Gauges<InstantOf<TypeConfig<RT>>>,
}

impl<RT: AsyncRuntime> Shared<RT> {
    pub fn new(tail: Tail, vote: Option<Vote>, engine: Arc<dyn LogReads>) -> Self {
        Self {
            tail: Mutex::new(tail),
            vote: Mutex::new(vote),
            committed: Mutex::new(None),
            engine: Mutex::new(Some(engine)),
            gauges: Gauges::new(),
        }
    }

    pub fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().expect("no panic while the tail is locked")
    }

    pub fn vote(&self) -> Option<Vote> {
        *self.vote.lock().expect("no panic while the vote is locked")
    }

    pub fn set_vote(&self, vote: Vote) {
        *self.vote.lock().expect("no panic while the vote is locked") = Some(vote);
    }

    /// Leaves it to the next write of anything else.
    pub fn set_committed(&self, committed: Option<LogId>) {
        *self
            .committed
            .lock()
            .expect("no panic while the committed id is locked") = Some(committed);
    }

    /// What is committed, once, if the log reaches it: `end` is the first index after what has been written with it.
    pub fn take_committed(&self, end: u64) -> Option<Option<LogId>> {
        let mut committed = self
            .committed
            .lock()
            .expect("no panic while the committed id is locked");
        committed.take_if(|id| id.is_none_or(|id| id.index < end))
    }

    pub fn close_engine(&self) {
        *self.engine.lock().expect("no panic while the engine is locked") = None;
    }

    fn engine(&self) -> io::Result<Arc<dyn LogReads>> {
        let engine = self.engine.lock().expect("no panic while the engine is locked");
        engine
            .clone()
            .ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed"))
    }

    /// As many consecutive entries of the range as fit the limits, at least one if the log has any of it.
    fn read_some(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        loop {
            let (start, end, truncations) = {
                let tail = self.tail();
                match tail.find(range.start, range.end, MAX_READ_ENTRIES, max_bytes) {
                    Found::Here(entries) => return Ok(entries),
                    Found::OnDisk { start, end } => (start, end, tail.truncations()),
                }
            };
            let stored = self.engine()?.read(start..end, max_bytes)?;
            let consecutive = !stored.is_empty()
                && stored
                    .iter()
                    .map(|(index, _)| *index)
                    .eq(start..start + stored.len() as u64);
            if consecutive {
                return decode(stored);
            }
            let tail = self.tail();
            if tail.start() <= start && tail.truncations() == truncations {
                let text = format!("the log has a hole between {start} and {end}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }

    /// All entries of the range that the log has, as of one moment.
    fn read_all(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        loop {
            let truncations = self.tail().truncations();
            let mut entries: Vec<Entry> = Vec::new();
            loop {
                let next = entries.last().map_or(range.start, |last| last.log_id.index + 1);
                let mut some = self.read_some(next..range.end, MAX_READ_BYTES)?;
                if some.is_empty() {
                    break;
                }
                entries.append(&mut some);
            }
            if self.tail().truncations() == truncations {
                return Ok(entries);
            }
        }
    }
}

fn decode(stored: Vec<(u64, Bytes)>) -> io::Result<Vec<Entry>> {
    let decode = |(index, bytes): (u64, Bytes)| {
        codec::decode_entry(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("entry {index} of the log: {error}")))
    };
    stored.into_iter().map(decode).collect()
}

fn to_range(bounds: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match bounds.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match bounds.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

/// Reads the log; cheap to clone. Reads older than the tail block on the disk for at most [`MAX_READ_BYTES`].
pub struct LogReader<RT: AsyncRuntime> {
    pub(crate) shared: Arc<Shared<RT>>,
}

impl<RT: AsyncRuntime> Clone for LogReader<RT> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<RT: AsyncRuntime> LogReader<RT> {
    /// The encoded bytes of an entry that is still in memory, for peers: the bytes on disk and on the wire are the same.
    pub fn encoded(&self, id: LogId) -> Option<Bytes> {
        self.shared.tail().encoded(id)
    }

    /// Entries as they lie on disk and travel to peers: those still in memory are not encoded again.
    pub(crate) fn encode(&self, entries: &[Entry]) -> Vec<Bytes> {
        let known: Vec<Option<Bytes>> = {
            let tail = self.shared.tail();
            entries.iter().map(|entry| tail.encoded(entry.log_id)).collect()
        };
        let encoded = entries.iter().zip(known);
        encoded
            .map(|(entry, known)| known.unwrap_or_else(|| codec::encode_entry(entry)))
            .collect()
    }

    /// How the disk does.
    pub fn stats(&self) -> LogStats<InstantOf<TypeConfig<RT>>> {
        self.shared.gauges.read()
    }

    /// Durations of synced writes since the log was opened.
    pub(crate) fn fsyncs(&self) -> DurationHistogram {
        self.shared.gauges.fsyncs.read()
    }

    /// Chunks of the range, each read only when it is wanted; `check` runs after each read.
    fn chunks<E: From<io::Error>>(
        &self,
        range: Range<u64>,
        check: impl Fn(&Shared<RT>) -> Result<(), E>,
    ) -> impl Stream<Item = Result<Entry, E>> {
        let shared = self.shared.clone();
        let mut next = Some(range.start);
        let chunks = stream::iter(std::iter::from_fn(move || {
            let start = next.take()?;
            let read = shared.read_some(start..range.end, MAX_READ_BYTES).map_err(E::from);
            let some = match read.and_then(|some| check(&shared).map(|()| some)) {
                Ok(some) => some,
                Err(error) => return Some(vec![Err(error)]),
            };
            next = some.last().map(|last| last.log_id.index + 1);
            next.map(|_| some.into_iter().map(Ok).collect::<Vec<_>>())
        }));
        chunks.flat_map(stream::iter)
    }
}

impl<RT: AsyncRuntime> RaftLogReader<TypeConfig<RT>> for LogReader<RT> {
    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<TypeConfig<RT>>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let check = move |shared: &Shared<RT>| match shared.vote() {
            Some(vote) if vote.committed && vote.leader_id == leader => Ok(()),
            vote => Err(LeaderBoundedStreamError::LeaderChanged(LeaderChanged::new(
                leader, vote,
            ))),
        };
        self.chunks(to_range(&range), check)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.chunks(to_range(&range), |_| Ok(()))
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.shared.read_all(to_range(&range))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.shared.read_some(start..end, MAX_READ_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.vote())
    }
}
