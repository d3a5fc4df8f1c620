//! Where snapshot files are kept.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

/// Opens a finished snapshot for reading from an offset.
pub(crate) type OpenAt = dyn Fn(u64) -> io::Result<Box<dyn Read + Send>> + Send + Sync;

/// A finished snapshot file.
#[derive(Clone)]
pub(crate) struct SnapshotBlob {
    /// Name for messages: the path, where there is one.
    pub name: String,
    /// Length in bytes.
    pub length: u64,
    pub open: Arc<OpenAt>,
}

impl std::fmt::Debug for SnapshotBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotBlob({}, {} bytes)", self.name, self.length)
    }
}

/// A snapshot being written; dropped unfinished, it leaves nothing behind.
pub(crate) trait SnapshotSink: Write + Send {
    /// Makes it durable under its final name, as the snapshot at `index` of `term`, and keeps the last two.
    fn finish(self: Box<Self>, term: u64, index: u64) -> io::Result<SnapshotBlob>;
    /// What has been written so far, for verification before [`Self::finish`].
    fn written(&mut self) -> io::Result<SnapshotBlob>;
}

/// Keeps snapshot files.
pub(crate) trait SnapshotStore: Send + Sync + 'static {
    /// Begins a file.
    fn create(&self) -> io::Result<Box<dyn SnapshotSink>>;
    /// Begins a file that nobody waits for, where that makes a difference: writing it holds up others as little as can be.
    fn create_behind(&self) -> io::Result<Box<dyn SnapshotSink>> {
        self.create()
    }
    /// Finished files, the newest first.
    fn list(&self) -> io::Result<Vec<SnapshotBlob>>;
    /// Runs blocking work, off the threads of the caller where there are others.
    fn run(&self, work: Box<dyn FnOnce() + Send>);
    /// The same for work that nobody waits for, where that makes a difference: everything else goes first.
    fn run_behind(&self, work: Box<dyn FnOnce() + Send>) {
        self.run(work);
    }
}

/// Runs blocking work by way of the store and waits for its result.
pub(crate) async fn run<T: Send + 'static>(
    store: &dyn SnapshotStore,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (work, result) = with_result(work);
    store.run(work);
    result.await.map_err(|_| io::Error::other("snapshot work panicked"))?
}

/// The same with [`SnapshotStore::run_behind`].
pub(crate) async fn run_behind<T: Send + 'static>(
    store: &dyn SnapshotStore,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (work, result) = with_result(work);
    store.run_behind(work);
    result.await.map_err(|_| io::Error::other("snapshot work panicked"))?
}

type WithResult<T> = (Box<dyn FnOnce() + Send>, oneshot::Receiver<io::Result<T>>);

fn with_result<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> WithResult<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // The receiver is gone only if the caller gave up; then nobody needs the result.
        let _ = done.send(work());
    };
    (Box::new(work), result)
}

/// Reads `length` bytes at `offset`.
pub(crate) async fn read_range(
    store: &dyn SnapshotStore,
    blob: &SnapshotBlob,
    offset: u64,
    length: u64,
) -> io::Result<Bytes> {
    let open = blob.open.clone();
    run(store, move || {
        let mut chunk = Vec::with_capacity(length as usize);
        open(offset)?.take(length).read_to_end(&mut chunk)?;
        if chunk.len() as u64 == length {
            Ok(chunk.into())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    })
    .await
}
