//! [`LogStore`]: openraft's log storage over any [`LogEngine`].
//!
//! An append encodes, puts the entries into the tail, where they can be read at once, queues the bytes for the writer and
//! returns; many appends are under way while one sync runs. Votes, truncations and purges take the same queue, so the
//! disk sees them in the order that Raft gave them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use openraft::async_runtime::MpscSender;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{InstantOf, MpscSenderOf};
use openraft::{AsyncRuntime, OptionalSend};

use super::engine::LogEngine;
use super::error::LogError;
use super::reader::{LogReader, Shared};
use super::recovery::{Recovered, recover};
use super::rocks::RocksEngine;
use super::writer::{LogStats, QUEUE_CAPACITY_REQUESTS, Request, Writer, block_on};
use crate::codec::{self, Entry, LogId, Vote};
use crate::types::TypeConfig;

/// Called once, on the writer, when the log could not be written: the node must stop, whatever else happens.
pub type FatalHook = Box<dyn FnOnce(&io::Error) + Send>;

/// The log of one node. Dropping it writes what is queued and closes the engine, as [`LogStore::close`] does, which tells
/// the outcome.
pub struct LogStore<RT: AsyncRuntime> {
    shared: Arc<Shared<RT>>,
    /// Dropped before `writer`, which ends the writer.
    requests: MpscSenderOf<TypeConfig<RT>, Request<RT>>,
    writer: WriterThread,
    committed: Option<LogId>,
}

/// Waits for the thread when dropped: a process that ends while RocksDB closes may crash.
#[derive(Default)]
struct WriterThread(Option<JoinHandle<()>>);

impl Drop for WriterThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic of the thread has been printed by its hook; there is nothing to add while closing.
            let _ = thread.join();
        }
    }
}

impl<RT: AsyncRuntime> LogStore<RT> {
    /// Opens the log in `directory` with its watermark file, and starts the writer's thread.
    ///
    /// # Errors
    ///
    /// See [`LogError`]: a damaged or shortened log does not open.
    pub fn open(directory: &Path, watermark: &Path, fatal: FatalHook) -> Result<Self, LogError> {
        Self::on_thread(RocksEngine::open(directory, watermark)?, fatal)
    }

    /// Opens a log on an engine that blocks: the writer runs on a thread of its own.
    ///
    /// # Errors
    ///
    /// See [`LogError`].
    pub fn on_thread(engine: impl LogEngine, fatal: FatalHook) -> Result<Self, LogError> {
        let (mut store, writer) = Self::assemble(engine, fatal)?;
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || block_on(writer.run()))
            .map_err(LogError::io("the log writer's thread"))?;
        store.writer = WriterThread(Some(thread));
        Ok(store)
    }

    /// Opens a log on an engine that does not block: the writer is a task of the runtime.
    ///
    /// # Errors
    ///
    /// See [`LogError`].
    pub fn in_task(engine: impl LogEngine, fatal: FatalHook) -> Result<Self, LogError> {
        let (store, writer) = Self::assemble(engine, fatal)?;
        drop(TypeConfig::<RT>::spawn(writer.run()));
        Ok(store)
    }

    fn assemble<E: LogEngine>(engine: E, fatal: FatalHook) -> Result<(Self, Writer<RT, E>), LogError> {
        let Recovered { vote, committed, tail } = recover(&engine)?;
        let end = tail.end();
        let engine = Arc::new(engine);
        let shared = Arc::new(Shared::new(tail, vote, engine.clone()));
        let (sender, requests) = TypeConfig::<RT>::mpsc(QUEUE_CAPACITY_REQUESTS);
        let writer = Writer {
            engine,
            requests,
            shared: shared.clone(),
            fatal: Some(fatal),
            end,
            failed: None,
        };
        let store = Self {
            shared,
            requests: sender,
            writer: WriterThread::default(),
            committed,
        };
        Ok((store, writer))
    }

    /// A reader, also after the store has been given to openraft.
    pub fn reader(&self) -> LogReader<RT> {
        LogReader {
            shared: self.shared.clone(),
        }
    }

    /// How the disk does.
    pub fn stats(&self) -> LogStats<InstantOf<TypeConfig<RT>>> {
        self.reader().stats()
    }

    /// Writes and syncs what is queued and closes the engine.
    ///
    /// # Errors
    ///
    /// The log could not be written, now or earlier.
    pub async fn close(self) -> io::Result<()> {
        let (done, closed) = TypeConfig::<RT>::oneshot();
        self.send(Request::Close { done }).await?;
        closed.await.map_err(|_| writer_gone())?
    }

    async fn send(&self, request: Request<RT>) -> io::Result<()> {
        self.shared.gauges.queued();
        self.requests.send(request).await.map_err(|_| writer_gone())
    }
}

fn writer_gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log's writer has ended")
}

impl<RT: AsyncRuntime> RaftLogStorage<TypeConfig<RT>> for LogStore<RT> {
    type LogReader = LogReader<RT>;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig<RT>>, io::Error> {
        let tail = self.shared.tail();
        Ok(LogState {
            last_purged_log_id: tail.purged(),
            last_log_id: tail.last_log_id(),
        })
    }

    async fn get_log_reader(&mut self) -> LogReader<RT> {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, saved) = TypeConfig::<RT>::oneshot();
        self.send(Request::Vote { vote: *vote, done }).await?;
        saved.await.map_err(|_| writer_gone())?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.committed = committed;
        self.shared.set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig<RT>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encoded: Vec<(Entry, Bytes)> = entries.into_iter().map(encode).collect();
        let to_write = encoded
            .iter()
            .map(|(entry, bytes)| (entry.log_id.index, bytes.clone()))
            .collect();
        let number = self.shared.tail().append(encoded);
        self.send(Request::Append {
            entries: to_write,
            number,
            callback,
        })
        .await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let end = {
            let mut tail = self.shared.tail();
            tail.truncate_after(last_log_id);
            tail.end()
        };
        self.send(Request::Truncate { end }).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.shared.tail().purge(upto);
        self.send(Request::Purge { upto }).await
    }
}

/// Encodes an entry for disk and peers. Its proposals then share these bytes, so it no longer keeps alive the much larger
/// network frame that it came in.
fn encode(mut entry: Entry) -> (Entry, Bytes) {
    let encoded = codec::encode_entry(&entry);
    codec::share_proposals(&mut entry, &encoded);
    (entry, encoded)
}
