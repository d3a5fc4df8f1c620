//! Snapshots as files of one directory.
//!
//! A file is written under a temporary name, synced, and renamed into place; then the directory is synced. A crash leaves
//! either the old files or the new one, and at most a temporary file that the next start removes.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::store::{SnapshotBlob, SnapshotSink, SnapshotStore};
use crate::priority::step_back;

/// How many finished snapshots are kept.
const KEPT_SNAPSHOTS: usize = 2;
const SUFFIX: &str = ".snapshot";
const TEMPORARY_SUFFIX: &str = ".partial";
const BUFFER_BYTES: usize = 256 * 1024;
/// Written pages of a file that nobody waits for are flushed every so many bytes: one flush of everything at the end would hold
/// up those of the log meanwhile.
const FLUSH_EVERY_BYTES: usize = 1 << 20;
/// Where nobody waits for the file, the disk is left to others for so many times as long as each flush took.
const REST_PER_FLUSH: u32 = 3;
/// All rests of one file: the log grows until it is there.
const MAX_RESTS: Duration = Duration::from_secs(10);

/// Numbers temporary files: threads of a node that was stopped may still be writing when it runs again in the same process.
static CREATED: AtomicU64 = AtomicU64::new(0);

/// The snapshots of one node.
pub(crate) struct DirectoryStore {
    directory: PathBuf,
}

impl DirectoryStore {
    /// Opens the directory, making it if need be, and removes what an interrupted write left.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(TEMPORARY_SUFFIX) {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
        })
    }
}

/// File name: sorts by index, because the index rises with every snapshot.
fn file_name(term: u64, index: u64) -> String {
    format!("{index:020}-{term:020}{SUFFIX}")
}

/// The file is opened here and now: a slow follower is sent it piece by piece, and two newer snapshots may take its name away
/// meanwhile.
fn blob(path: &Path) -> io::Result<SnapshotBlob> {
    let file = Arc::new(File::open(path)?);
    let length = file.metadata()?.len();
    let name = path.display().to_string();
    let open = move |offset: u64| -> io::Result<Box<dyn Read + Send>> {
        let reader = ReadAt {
            file: file.clone(),
            offset,
        };
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, reader)))
    };
    Ok(SnapshotBlob {
        name,
        length,
        open: Arc::new(open),
    })
}

/// Reads a file on from an offset of its own: several readers share the open file.
struct ReadAt {
    file: Arc<File>,
    offset: u64,
}

impl Read for ReadAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Names of the finished snapshots, the newest first.
fn finished(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(SUFFIX) {
            paths.push(path);
        }
    }
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

struct FileSink {
    directory: PathBuf,
    temporary: PathBuf,
    /// `None` once finished.
    file: Option<BufWriter<File>>,
    /// What it does beside writing; `None` where somebody waits.
    behind: Option<Behind>,
}

/// How a file is written that nobody waits for.
#[derive(Default)]
struct Behind {
    /// Bytes written since the last flush.
    unflushed: usize,
    rested: Duration,
}

impl Behind {
    /// Flushes now and then, and rests after it.
    fn wrote(&mut self, file: &File, bytes: usize) -> io::Result<()> {
        self.unflushed += bytes;
        if self.unflushed < FLUSH_EVERY_BYTES {
            return Ok(());
        }
        self.unflushed = 0;
        let begun = Instant::now();
        file.sync_data()?;
        let rest = (begun.elapsed() * REST_PER_FLUSH).min(MAX_RESTS.saturating_sub(self.rested));
        self.rested += rest;
        // Nobody wakes this thread.
        std::thread::park_timeout(rest);
        Ok(())
    }
}

impl FileSink {
    fn file(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.file.as_mut().ok_or_else(is_finished)
    }
}

fn is_finished() -> io::Error {
    io::Error::other("the snapshot is finished")
}

impl Write for FileSink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let file = self.file.as_mut().ok_or_else(is_finished)?;
        let written = file.write(buffer)?;
        if let Some(behind) = &mut self.behind {
            behind.wrote(file.get_ref(), written)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl SnapshotSink for FileSink {
    fn finish(mut self: Box<Self>, term: u64, index: u64) -> io::Result<SnapshotBlob> {
        self.flush()?;
        self.file()?.get_ref().sync_all()?;
        let path = self.directory.join(file_name(term, index));
        fs::rename(&self.temporary, &path)?;
        self.file = None;
        File::open(&self.directory)?.sync_all()?;
        for old in finished(&self.directory)?.into_iter().skip(KEPT_SNAPSHOTS) {
            fs::remove_file(old)?;
        }
        blob(&path)
    }

    fn written(&mut self) -> io::Result<SnapshotBlob> {
        self.flush()?;
        blob(&self.temporary)
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = fs::remove_file(&self.temporary)
        {
            tracing::warn!(
                "cannot remove the unfinished snapshot {}: {error}",
                self.temporary.display()
            );
        }
    }
}

impl DirectoryStore {
    fn begin(&self, behind: Option<Behind>) -> io::Result<Box<dyn SnapshotSink>> {
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!("{number}{TEMPORARY_SUFFIX}"));
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(&temporary)?);
        Ok(Box::new(FileSink {
            directory: self.directory.clone(),
            temporary,
            file: Some(file),
            behind,
        }))
    }
}

impl SnapshotStore for DirectoryStore {
    fn create(&self) -> io::Result<Box<dyn SnapshotSink>> {
        self.begin(None)
    }

    fn create_behind(&self) -> io::Result<Box<dyn SnapshotSink>> {
        self.begin(Some(Behind::default()))
    }

    fn list(&self) -> io::Result<Vec<SnapshotBlob>> {
        let blobs = finished(&self.directory)?.into_iter().map(|path| blob(&path));
        // One that a newer snapshot has just replaced is no longer there.
        let there = blobs.filter(|blob| !matches!(blob, Err(error) if error.kind() == io::ErrorKind::NotFound));
        there.collect()
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        let spawned = std::thread::Builder::new().name("snapshot".to_owned()).spawn(work);
        if let Err(error) = spawned {
            tracing::error!("cannot start a thread for a snapshot: {error}");
        }
    }

    fn run_behind(&self, work: Box<dyn FnOnce() + Send>) {
        self.run(Box::new(move || {
            step_back();
            work();
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(store: &DirectoryStore, index: u64, content: &[u8]) -> SnapshotBlob {
        let mut sink = store.create().expect("a directory");
        sink.write_all(content).expect("room");
        sink.finish(1, index).expect("room")
    }

    fn read(blob: &SnapshotBlob, offset: u64) -> Vec<u8> {
        let mut content = Vec::new();
        let mut reader = (blob.open)(offset).expect("an open file");
        reader.read_to_end(&mut content).expect("a sound file");
        content
    }

    #[test]
    fn a_snapshot_of_many_flushes_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DirectoryStore::open(directory.path()).expect("a directory");
        let content: Vec<u8> = (0..2 * FLUSH_EVERY_BYTES + 7).map(|at| (at % 251) as u8).collect();
        let blob = written(&store, 9, &content);
        assert!(read(&blob, 0) == content);
        let mut sink = store.create_behind().expect("a directory");
        sink.write_all(&content).expect("room");
        assert!(read(&sink.finish(1, 10).expect("room"), 0) == content);
    }

    #[test]
    fn a_snapshot_is_read_to_its_end_although_newer_ones_took_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DirectoryStore::open(directory.path()).expect("a directory");
        let first = written(&store, 1, b"the first one");
        let listed = store.list().expect("a directory");
        for index in 2..=3 {
            written(&store, index, b"a newer one");
        }
        assert_eq!(store.list().expect("a directory").len(), KEPT_SNAPSHOTS);
        assert_eq!(
            (read(&first, 0), read(&first, 4)),
            (b"the first one".to_vec(), b"first one".to_vec())
        );
        assert_eq!(read(&listed[0], 10), b"one");
    }
}
