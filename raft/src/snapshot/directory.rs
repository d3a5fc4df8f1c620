//! Snapshots as files of one directory.
//!
//! A file is written under a temporary name, synced, and renamed into place; then the directory is synced. A crash leaves
//! either the old files or the new one, and at most a temporary file that the next start removes.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::store::{SnapshotBlob, SnapshotSink, SnapshotStore};

/// How many finished snapshots are kept.
const KEPT_SNAPSHOTS: usize = 2;
const SUFFIX: &str = ".snapshot";
const TEMPORARY_SUFFIX: &str = ".partial";
const BUFFER_BYTES: usize = 256 * 1024;

/// The snapshots of one node.
pub(crate) struct DirectoryStore {
    directory: PathBuf,
    created: AtomicU64,
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
            created: AtomicU64::new(0),
        })
    }
}

/// File name: sorts by index, because the index rises with every snapshot.
fn file_name(term: u64, index: u64) -> String {
    format!("{index:020}-{term:020}{SUFFIX}")
}

fn blob(path: PathBuf) -> io::Result<SnapshotBlob> {
    let length = fs::metadata(&path)?.len();
    let name = path.display().to_string();
    let open = move |offset: u64| -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)))
    };
    Ok(SnapshotBlob {
        name,
        length,
        open: Arc::new(open),
    })
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
}

impl FileSink {
    fn file(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.file
            .as_mut()
            .ok_or_else(|| io::Error::other("the snapshot is finished"))
    }
}

impl Write for FileSink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file()?.write(buffer)
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
        blob(path)
    }

    fn written(&mut self) -> io::Result<SnapshotBlob> {
        self.flush()?;
        blob(self.temporary.clone())
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

impl SnapshotStore for DirectoryStore {
    fn create(&self) -> io::Result<Box<dyn SnapshotSink>> {
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!("{number}{TEMPORARY_SUFFIX}"));
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(&temporary)?);
        Ok(Box::new(FileSink {
            directory: self.directory.clone(),
            temporary,
            file: Some(file),
        }))
    }

    fn list(&self) -> io::Result<Vec<SnapshotBlob>> {
        finished(&self.directory)?.into_iter().map(blob).collect()
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        let spawned = std::thread::Builder::new().name("snapshot".to_owned()).spawn(work);
        if let Err(error) = spawned {
            tracing::error!("cannot start a thread for a snapshot: {error}");
        }
    }
}
