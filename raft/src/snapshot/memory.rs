//! Snapshots in memory, for simulations: no thread and no file.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::store::{SnapshotBlob, SnapshotSink, SnapshotStore};

/// How many finished snapshots are kept.
const KEPT_SNAPSHOTS: usize = 2;

type Files = Arc<Mutex<BTreeMap<(u64, u64), Bytes>>>;

/// Keeps snapshots in memory; clones share them, as a disk survives the process.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    files: Files,
}

struct MemorySink {
    bytes: Vec<u8>,
    files: Files,
}

fn blob(name: String, bytes: Bytes) -> SnapshotBlob {
    let length = bytes.len() as u64;
    let open = move |offset: u64| -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(bytes.slice(offset as usize..))))
    };
    SnapshotBlob {
        name,
        length,
        open: Arc::new(open),
    }
}

impl Write for MemorySink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotSink for MemorySink {
    fn finish(self: Box<Self>, term: u64, index: u64) -> io::Result<SnapshotBlob> {
        let bytes = Bytes::from(self.bytes);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert((index, term), bytes.clone());
        while files.len() > KEPT_SNAPSHOTS {
            files.pop_first();
        }
        Ok(blob(format!("memory {term}-{index}"), bytes))
    }

    fn written(&mut self) -> io::Result<SnapshotBlob> {
        Ok(blob("memory".to_owned(), Bytes::copy_from_slice(&self.bytes)))
    }
}

impl SnapshotStore for MemoryStore {
    fn create(&self) -> io::Result<Box<dyn SnapshotSink>> {
        Ok(Box::new(MemorySink {
            bytes: Vec::new(),
            files: self.files.clone(),
        }))
    }

    fn list(&self) -> io::Result<Vec<SnapshotBlob>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let blobs = files.iter().rev();
        Ok(blobs
            .map(|((index, term), bytes)| blob(format!("memory {term}-{index}"), bytes.clone()))
            .collect())
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
