//! The watermark: a small file that remembers how far this node's log has been acknowledged, and its last vote.
//!
//! A disk that lies about a sync, a truncated file or a flipped bit can shorten the log without a trace, and Raft would
//! then lose committed entries or vote twice. The watermark is the second witness: a log that ends below it does not
//! start. It is raised lazily (at most 100 ms behind) on a thread of its own, so appends never wait for it; before a vote
//! is answered and before a truncation it is synced.
//!
//! The file has 4 KiB, preallocated so that a write changes no metadata, with two slots written in turn: a torn write
//! leaves the other slot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::engine::Acknowledged;
use super::error::{LogError, same_io_error};
use super::sync_directory;

/// Size of the file.
const FILE_BYTES: usize = 4096;
/// Where the two slots begin; in different sectors, so that no torn write hits both.
const SLOT_OFFSETS: [u64; 2] = [0, 2048];
/// Magic, sequence, end, vote flag, term, candidate, CRC32C.
const SLOT_BYTES: usize = 52;
const MAGIC: &[u8; 8] = b"QRWMARK1";
/// How long the thread gathers before it writes; with the write itself well below the 100 ms it may lag.
const GATHER: Duration = Duration::from_millis(50);

/// The open file and its thread. Dropping it writes what is pending.
#[derive(Debug)]
pub struct Watermark {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    found: Acknowledged,
}

#[derive(Debug)]
struct Shared {
    /// Locked before `pending` wherever both are.
    slots: Mutex<Slots>,
    pending: Mutex<Pending>,
    wake: Condvar,
}

#[derive(Debug)]
struct Slots {
    file: File,
    /// Of the slot written last; its parity selects the slot.
    sequence: u64,
    written: Acknowledged,
}

#[derive(Debug, Default)]
struct Pending {
    end: u64,
    /// End that the file has.
    written_end: u64,
    /// The thread waits for work; a note must wake it.
    idle: bool,
    stop: bool,
    failed: Option<io::Error>,
}

impl Watermark {
    /// Creates the file with an empty watermark, whole or not at all.
    ///
    /// # Errors
    ///
    /// I/O errors.
    pub fn create(path: &Path) -> Result<(), LogError> {
        let temporary = path.with_extension("new");
        let write = || -> io::Result<()> {
            let file = File::create(&temporary)?;
            let mut content = vec![0; FILE_BYTES];
            content[..SLOT_BYTES].copy_from_slice(&encode_slot(0, Acknowledged::default()));
            file.write_all_at(&content, 0)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            sync_directory(path.parent().unwrap_or(Path::new(".")))
        };
        write().map_err(LogError::io(path.display().to_string()))
    }

    /// Opens the file and starts its thread.
    ///
    /// # Errors
    ///
    /// [`LogError::WatermarkDamaged`] if neither slot is readable; I/O errors.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let (file, (sequence, found)) = Self::read(path)?;
        let shared = Arc::new(Shared {
            slots: Mutex::new(Slots {
                file,
                sequence,
                written: found,
            }),
            pending: Mutex::new(Pending {
                end: found.end,
                written_end: found.end,
                ..Pending::default()
            }),
            wake: Condvar::new(),
        });
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("log-watermark".into())
            .spawn(move || for_thread.run())
            .map_err(LogError::io("the watermark's thread"))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            found,
        })
    }

    fn read(path: &Path) -> Result<(File, (u64, Acknowledged)), LogError> {
        let load = || -> io::Result<(File, Vec<u8>)> {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let mut content = vec![0; FILE_BYTES];
            file.read_exact_at(&mut content, 0)?;
            Ok((file, content))
        };
        let (file, content) = load().map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => LogError::WatermarkDamaged(PathBuf::from(path)),
            _ => LogError::io(path.display().to_string())(error),
        })?;
        let slots = SLOT_OFFSETS.map(|offset| decode_slot(&content[offset as usize..][..SLOT_BYTES]));
        let newest = slots.into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
        let newest = newest.ok_or_else(|| LogError::WatermarkDamaged(PathBuf::from(path)))?;
        Ok((file, newest))
    }

    /// What the file said when it was opened.
    pub fn found(&self) -> Acknowledged {
        self.found
    }

    /// Tells that everything before `end` is acknowledged; written within 100 ms.
    ///
    /// # Errors
    ///
    /// An earlier write failed; nothing is written any more.
    pub fn note(&self, end: u64) -> io::Result<()> {
        let mut pending = self.shared.pending();
        if let Some(error) = &pending.failed {
            return Err(same_io_error(error));
        }
        if end > pending.end {
            pending.end = end;
            if pending.idle {
                self.shared.wake.notify_one();
            }
        }
        Ok(())
    }

    /// Raises to `end` if that is higher and records the vote; synced on return.
    pub fn raise(&self, end: u64, vote: (u64, u64)) -> io::Result<()> {
        let mut slots = self.shared.slots();
        let end = {
            let mut pending = self.shared.pending();
            pending.end = pending.end.max(end);
            pending.end
        };
        self.shared.write(&mut slots, Acknowledged { end, vote: Some(vote) })
    }

    /// Lowers to `end` if that is lower; synced on return.
    pub fn lower(&self, end: u64) -> io::Result<()> {
        let mut slots = self.shared.slots();
        {
            let mut pending = self.shared.pending();
            pending.end = pending.end.min(end);
        }
        let vote = slots.written.vote;
        let end = slots.written.end.min(end);
        self.shared.write(&mut slots, Acknowledged { end, vote })
    }
}

impl Drop for Watermark {
    fn drop(&mut self) {
        self.shared.pending().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by its hook; there is nothing to add while closing.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("no panic while the watermark is locked")
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("no panic while the watermark is locked")
    }

    /// Writes lazily until told to stop or a write fails; what fails is told by the next note.
    fn run(&self) {
        loop {
            let stop = self.wait_for_work();
            let mut slots = self.slots();
            let end = self.pending().end;
            let vote = slots.written.vote;
            if end > slots.written.end && self.write(&mut slots, Acknowledged { end, vote }).is_err() {
                return;
            }
            drop(slots);
            if stop {
                return;
            }
        }
    }

    /// Returns when there is something above what the file has and the gathering time is over, or at once on a stop (then true).
    fn wait_for_work(&self) -> bool {
        let mut pending = self.pending();
        pending.idle = true;
        let mut pending = self
            .wake
            .wait_while(pending, |pending| !pending.stop && pending.end <= pending.written_end)
            .expect("no panic while the watermark is locked");
        pending.idle = false;
        let (pending, _) = self
            .wake
            .wait_timeout_while(pending, GATHER, |pending| !pending.stop)
            .expect("no panic while the watermark is locked");
        pending.stop
    }

    fn write(&self, slots: &mut Slots, value: Acknowledged) -> io::Result<()> {
        if let Some(error) = &self.pending().failed {
            return Err(same_io_error(error));
        }
        if value == slots.written {
            return Ok(());
        }
        let sequence = slots.sequence + 1;
        let offset = SLOT_OFFSETS[(sequence % 2) as usize];
        let written = slots
            .file
            .write_all_at(&encode_slot(sequence, value), offset)
            .and_then(|()| slots.file.sync_data());
        match written {
            Ok(()) => {
                slots.sequence = sequence;
                slots.written = value;
                self.pending().written_end = value.end;
                Ok(())
            }
            Err(error) => {
                self.pending().failed = Some(same_io_error(&error));
                Err(error)
            }
        }
    }
}

fn encode_slot(sequence: u64, value: Acknowledged) -> [u8; SLOT_BYTES] {
    let (term, candidate) = value.vote.unwrap_or_default();
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    let words = [sequence, value.end, u64::from(value.vote.is_some()), term, candidate];
    for (at, word) in slot[8..48].chunks_exact_mut(8).zip(words) {
        at.copy_from_slice(&word.to_be_bytes());
    }
    let checksum = crc32c::crc32c(&slot[..48]);
    slot[48..].copy_from_slice(&checksum.to_be_bytes());
    slot
}

fn decode_slot(slot: &[u8]) -> Option<(u64, Acknowledged)> {
    let checksum = crc32c::crc32c(&slot[..48]).to_be_bytes();
    if slot[..8] != *MAGIC || slot[48..SLOT_BYTES] != checksum {
        return None;
    }
    let mut words = slot[8..48].chunks_exact(8).map(|word| {
        let word: [u8; 8] = word.try_into().expect("chunks of eight");
        u64::from_be_bytes(word)
    });
    let mut next = || words.next().expect("five words");
    let (sequence, end, voted, term, candidate) = (next(), next(), next(), next(), next());
    let vote = (voted == 1).then_some((term, candidate));
    Some((sequence, Acknowledged { end, vote }))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Waits until the file says that everything before `end` is acknowledged.
    fn wait_for_end(path: &Path, end: u64) {
        let begun = Instant::now();
        loop {
            let (_, (_, found)) = Watermark::read(path).expect("a watermark");
            if found.end == end {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{found:?}, not {end}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_rises_again_after_a_truncation() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("watermark");
        Watermark::create(&path).expect("created");
        let watermark = Watermark::open(&path).expect("opened");
        watermark.note(100).expect("noted");
        wait_for_end(&path, 100);
        watermark.lower(50).expect("lowered");
        wait_for_end(&path, 50);
        watermark.note(60).expect("noted");
        wait_for_end(&path, 60);
    }
}
