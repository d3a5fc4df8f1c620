//! What a disk must be able to do for the log: one atomic batch at a time, reads of old entries, and the watermark.
//!
//! An engine knows no Raft: it stores bytes under indexes. Ordering, batching, caching and callbacks are the store's
//! ([`super::LogStore`]); that is why one conformance suite and one simulator cover every engine.

use std::future::Future;
use std::io;
use std::ops::Range;

use bytes::Bytes;

/// One change of a [`Batch`].
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Stores an encoded entry.
    Put { index: u64, bytes: Bytes },
    /// Removes every entry from this index on.
    TruncateFrom(u64),
    /// Removes every entry below `end` and stores the encoded log id of the last removed one.
    Purge { end: u64, purged: Bytes },
    /// Stores the encoded vote.
    Vote(Bytes),
    /// Stores the encoded log id of the last known committed entry.
    Committed(Option<Bytes>),
}

/// Changes that become visible and durable together, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub operations: Vec<Operation>,
    /// Whether the batch, and with it everything written before, must be on stable storage when the write completes.
    pub sync: bool,
}

/// The engine's records beside the entries, encoded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredMeta {
    pub vote: Option<Bytes>,
    pub purged: Option<Bytes>,
    pub committed: Option<Bytes>,
}

/// What this node has promised to others, as the watermark holds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// First index that was not acknowledged; 0 is an empty log.
    pub end: u64,
    /// Term and candidate of the last vote given.
    pub vote: Option<(u64, u64)>,
}

/// Where the files are, for error texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    pub log: String,
    pub watermark: String,
    /// Write-ahead files as they were before the engine opened them.
    pub write_ahead: String,
}

/// The reading half; shared with every log reader.
pub trait LogReads: Send + Sync + 'static {
    /// The records beside the entries.
    fn meta(&self) -> io::Result<StoredMeta>;

    /// Entries of `range` that exist, ascending, as many as fit `max_bytes` but at least one if there is any.
    ///
    /// Sees every batch whose write has completed. May block on the disk.
    fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>>;

    /// The watermark as found when the engine was opened.
    fn acknowledged(&self) -> Acknowledged;

    /// Where the files are.
    fn location(&self) -> Location;
}

/// The writing half; used by one writer only, which never has two calls under way.
///
/// The futures may block the calling thread: an engine on real files is driven from a thread of its own, a simulated one
/// from a task. After an error the state of the batch is unknown and the engine must not be used again; in particular a
/// failed sync is never repeated, because the kernel may have dropped the pages.
pub trait LogEngine: LogReads {
    /// Writes a batch atomically.
    fn write(&self, batch: Batch) -> impl Future<Output = io::Result<()>> + Send;

    /// Tells that everything before `end` has been acknowledged; the watermark follows within 100 ms.
    ///
    /// # Errors
    ///
    /// An earlier write of the watermark failed.
    fn note_acknowledged(&self, end: u64) -> io::Result<()>;

    /// Raises the watermark to `end` and records `vote`; synced when the future resolves.
    fn raise_watermark(&self, end: u64, vote: (u64, u64)) -> impl Future<Output = io::Result<()>> + Send;

    /// Lowers the watermark to `end` if it is above; synced when the future resolves.
    fn lower_watermark(&self, end: u64) -> impl Future<Output = io::Result<()>> + Send;
}
