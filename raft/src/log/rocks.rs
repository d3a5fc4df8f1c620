//! The log on disk: a RocksDB instance of its own and the watermark file.
//!
//! RocksDB is used as a write-ahead file that recycles its segments (growing a file costs a journal commit per sync) and
//! that can drop a prefix cheaply. Reads are rare, because the store keeps a decoded tail in memory. It is not shared
//! with anything: other writers would inflate each sync.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rocksdb::{DB, DBCompressionType, DBRecoveryMode, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions};

use super::engine::{Acknowledged, Batch, Location, LogEngine, LogReads, Operation, StoredMeta};
use super::error::LogError;
use super::recovery::check_watermark;
use super::rocks_files;
use super::watermark::Watermark;

/// Segments kept for reuse; overwriting one syncs without a journal commit.
const RECYCLED_FILES: usize = 4;
const MEMTABLE_BYTES: usize = 8 << 20;
const BYTES_PER_SYNC: u64 = 1 << 20;
/// RocksDB's own text log: how large a file and how many.
const INFO_LOG_BYTES: usize = 1 << 20;
const INFO_LOG_FILES: usize = 4;

/// Entries are `e` and the index; the bound above them is `f`; the records beside them come later.
const ENTRY_PREFIX: u8 = b'e';
const ENTRIES_END: [u8; 1] = [b'f'];
const KEY_VOTE: &[u8] = b"m/vote";
const KEY_PURGED: &[u8] = b"m/purged";
const KEY_COMMITTED: &[u8] = b"m/committed";

/// The engine on RocksDB. Its calls block; drive it from a thread of its own.
pub struct RocksEngine {
    db: DB,
    watermark: Watermark,
    location: Location,
}

impl RocksEngine {
    /// Opens or creates the log in `directory` with its watermark beside it.
    ///
    /// Before anything is written, an existing log is opened read-only and compared with the watermark, so no file of a
    /// refused log is changed.
    ///
    /// # Errors
    ///
    /// See [`LogError`]; damage that RocksDB finds comes as [`LogError::Io`] with the file's name in the text.
    pub fn open(directory: &Path, watermark: &Path) -> Result<Self, LogError> {
        let location = Location {
            log: directory.display().to_string(),
            watermark: watermark.display().to_string(),
            write_ahead: write_ahead_names(directory),
        };
        let exists = directory.join("CURRENT").exists();
        if !watermark.exists() {
            if exists {
                return Err(LogError::WatermarkMissing(PathBuf::from(watermark)));
            }
            Watermark::create(watermark)?;
        }
        let watermark = Watermark::open(watermark)?;
        let mut options = options();
        if exists {
            rocks_files::check(directory).map_err(LogError::io(&location.log))?;
            let db = DB::open_for_read_only(&options, directory, false)
                .map_err(to_io)
                .map_err(LogError::io(&location.log))?;
            let found = Reader {
                db: &db,
                location: &location,
            };
            found.check(watermark.found())?;
        } else {
            check_watermark(&location, watermark.found(), 0, None)?;
            options.create_if_missing(true);
        }
        let db = DB::open(&options, directory)
            .map_err(to_io)
            .map_err(LogError::io(&location.log))?;
        Ok(Self {
            db,
            watermark,
            location,
        })
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            db: &self.db,
            location: &self.location,
        }
    }
}

impl LogReads for RocksEngine {
    fn meta(&self) -> io::Result<StoredMeta> {
        self.reader().meta()
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        self.reader().read(range, max_bytes)
    }

    fn acknowledged(&self) -> Acknowledged {
        self.watermark.found()
    }

    fn location(&self) -> Location {
        self.location.clone()
    }
}

impl LogEngine for RocksEngine {
    async fn write(&self, batch: Batch) -> io::Result<()> {
        let mut options = WriteOptions::new();
        options.set_sync(batch.sync);
        self.db.write_opt(to_write_batch(batch), &options).map_err(to_io)
    }

    fn note_acknowledged(&self, end: u64) -> io::Result<()> {
        self.watermark.note(end)
    }

    async fn raise_watermark(&self, end: u64, vote: (u64, u64)) -> io::Result<()> {
        self.watermark.raise(end, vote)
    }

    async fn lower_watermark(&self, end: u64) -> io::Result<()> {
        self.watermark.lower(end)
    }
}

/// Reads that work on the writable and on the read-only instance.
struct Reader<'a> {
    db: &'a DB,
    location: &'a Location,
}

impl Reader<'_> {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.db.get(key).map_err(to_io)?.map(Bytes::from))
    }

    fn meta(&self) -> io::Result<StoredMeta> {
        Ok(StoredMeta {
            vote: self.get(KEY_VOTE)?,
            purged: self.get(KEY_PURGED)?,
            committed: self.get(KEY_COMMITTED)?,
        })
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(entry_key(range.start));
        options.set_iterate_upper_bound(entry_key(range.end));
        let mut iterator = self.db.raw_iterator_opt(options);
        iterator.seek_to_first();
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some((key, value)) = iterator.item() {
            bytes += value.len();
            if bytes > max_bytes && !found.is_empty() {
                return Ok(found);
            }
            found.push((index_of(key)?, Bytes::copy_from_slice(value)));
            iterator.next();
        }
        iterator.status().map_err(to_io)?;
        Ok(found)
    }

    /// First index after the last entry; 0 without entries.
    fn end(&self) -> io::Result<u64> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(entry_key(0));
        options.set_iterate_upper_bound(ENTRIES_END);
        let mut iterator = self.db.raw_iterator_opt(options);
        iterator.seek_to_last();
        let end = iterator.key().map(index_of).transpose()?.map_or(0, |last| last + 1);
        iterator.status().map_err(to_io)?;
        Ok(end)
    }

    /// Both ends of the log; what lies between is checked when the store reads it.
    fn check(&self, acknowledged: Acknowledged) -> Result<(), LogError> {
        let log = &self.location.log;
        let meta = self.meta().map_err(LogError::io(log))?;
        let (purged, vote) = super::recovery::decode_meta(self.location, &meta)?;
        let start = purged.map_or(0, |id| id.index + 1);
        let end = self.end().map_err(LogError::io(log))?.max(start);
        check_watermark(self.location, acknowledged, end, vote.as_ref())?;
        let first = self.read(start..end, 1).map_err(LogError::io(log))?;
        match first.first() {
            Some((found, _)) if *found != start => Err(LogError::Hole {
                log: log.clone(),
                expected: start,
                found: *found,
            }),
            _ => Ok(()),
        }
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_recycle_log_file_num(RECYCLED_FILES);
    // Recycling needs this mode: the end of a reused segment looks like a damaged record. What it may hide, the
    // watermark shows.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_paranoid_checks(true);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_keep_log_file_num(INFO_LOG_FILES);
    options
}

fn to_write_batch(batch: Batch) -> WriteBatch {
    let mut write = WriteBatch::default();
    for operation in batch.operations {
        match operation {
            Operation::Put { index, bytes } => write.put(entry_key(index), bytes),
            Operation::TruncateFrom(index) => write.delete_range(&entry_key(index)[..], &ENTRIES_END[..]),
            Operation::Purge { end, purged } => {
                write.delete_range(entry_key(0), entry_key(end));
                write.put(KEY_PURGED, purged);
            }
            Operation::Vote(vote) => write.put(KEY_VOTE, vote),
            Operation::Committed(Some(committed)) => write.put(KEY_COMMITTED, committed),
            Operation::Committed(None) => write.delete(KEY_COMMITTED),
        }
    }
    write
}

fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY_PREFIX; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    match <[u8; 9]>::try_from(key) {
        Ok([ENTRY_PREFIX, index @ ..]) => Ok(u64::from_be_bytes(index)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a key of the log is no index",
        )),
    }
}

fn to_io(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.into_string())
}

/// The write-ahead files, named for error texts; an unreadable directory has none and fails later by itself.
fn write_ahead_names(directory: &Path) -> String {
    let files = rocks_files::write_ahead(directory).unwrap_or_default();
    if files.is_empty() {
        return "there is no write-ahead file".into();
    }
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}
