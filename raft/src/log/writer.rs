//! The one writer: drains the queue into one batch, writes it, completes the callbacks in order.
//!
//! On real disks it runs on a thread of its own and blocks there; in simulation it is a task. A batch takes whatever has
//! queued up while the last one was being synced, so its size follows the disk's speed and nothing lingers.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use openraft::AsyncRuntime;
use openraft::async_runtime::{MpscReceiver, OneshotSender};
use openraft::storage::IOFlushed;
use openraft::type_config::alias::{MpscReceiverOf, OneshotSenderOf};

use super::engine::{Batch, LogEngine, Operation};
use super::error::same_io_error;
use super::reader::Shared;
use super::store::FatalHook;
use super::tail::AppendNumber;
use crate::codec::{self, LogId, Vote};
use crate::measures::Durations;
use crate::types::TypeConfig;

/// Encoded bytes after which a batch takes no further request.
pub const MAX_BATCH_BYTES: usize = 4 << 20;
/// Requests that wait for the writer at most; further ones wait before they are queued. The memory behind them is bounded
/// where proposals enter.
pub const QUEUE_CAPACITY_REQUESTS: usize = 16_384;

/// What the store asks the writer to do, in order.
pub(crate) enum Request<RT: AsyncRuntime> {
    Append {
        entries: Vec<(u64, Bytes)>,
        number: AppendNumber,
        callback: IOFlushed<TypeConfig<RT>>,
    },
    Vote {
        vote: Vote,
        done: OneshotSenderOf<TypeConfig<RT>, io::Result<()>>,
    },
    /// Remove every entry from `end` on.
    Truncate {
        end: u64,
    },
    Purge {
        upto: LogId,
    },
    /// Write what is queued, close the engine, answer.
    Close {
        done: OneshotSenderOf<TypeConfig<RT>, io::Result<()>>,
    },
}

/// How the log's disk does, for metrics and for the decision to hand leadership over.
#[derive(Debug, Clone, PartialEq)]
pub struct LogStats<I> {
    /// Duration of the last synced write.
    pub last_fsync: Duration,
    /// When the last synced write completed.
    pub last_flush_at: Option<I>,
    /// When the synced write under way began; an old one is a stalled disk.
    pub in_flight_since: Option<I>,
    /// Requests that wait for the writer.
    pub queue_depth: usize,
}

/// The live values behind [`LogStats`].
#[derive(Debug)]
pub(crate) struct Gauges<I> {
    depth: AtomicUsize,
    flush: Mutex<Flush<I>>,
    /// Durations of synced writes.
    pub fsyncs: Durations,
}

#[derive(Debug)]
struct Flush<I> {
    last_fsync: Duration,
    last_flush_at: Option<I>,
    in_flight_since: Option<I>,
}

impl<I: openraft::Instant> Gauges<I> {
    pub fn new() -> Self {
        Self {
            depth: AtomicUsize::new(0),
            fsyncs: Durations::of_operations(),
            flush: Mutex::new(Flush {
                last_fsync: Duration::ZERO,
                last_flush_at: None,
                in_flight_since: None,
            }),
        }
    }

    pub fn queued(&self) {
        self.depth.fetch_add(1, Ordering::Relaxed);
    }

    pub fn unqueued(&self, requests: usize) {
        self.depth.fetch_sub(requests, Ordering::Relaxed);
    }

    fn flush(&self) -> MutexGuard<'_, Flush<I>> {
        self.flush.lock().expect("no panic while the gauges are locked")
    }

    fn begin(&self) {
        self.flush().in_flight_since = Some(I::now());
    }

    fn end(&self) {
        let now = I::now();
        let mut flush = self.flush();
        flush.last_fsync = flush.in_flight_since.take().map_or(Duration::ZERO, |since| now - since);
        flush.last_flush_at = Some(now);
        self.fsyncs.record(flush.last_fsync);
    }

    pub fn read(&self) -> LogStats<I> {
        let flush = self.flush();
        LogStats {
            last_fsync: flush.last_fsync,
            last_flush_at: flush.last_flush_at,
            in_flight_since: flush.in_flight_since,
            queue_depth: self.depth.load(Ordering::Relaxed),
        }
    }
}

/// The writer's own state.
pub(crate) struct Writer<RT: AsyncRuntime, E> {
    pub engine: Arc<E>,
    pub requests: MpscReceiverOf<TypeConfig<RT>, Request<RT>>,
    pub shared: Arc<Shared<RT>>,
    /// Taken by the first failure.
    pub fatal: Option<FatalHook>,
    /// First index after the log, once everything taken so far is written.
    pub end: u64,
    pub failed: Option<io::Error>,
}

/// What a group of requests comes to.
struct Plan<RT: AsyncRuntime> {
    batch: Batch,
    /// Where the deepest truncation cuts.
    lowered: Option<u64>,
    vote: Option<Vote>,
    stored: AppendNumber,
    waiting: Vec<Waiting<RT>>,
    close: Option<OneshotSenderOf<TypeConfig<RT>, io::Result<()>>>,
}

enum Waiting<RT: AsyncRuntime> {
    Append(IOFlushed<TypeConfig<RT>>),
    Vote(OneshotSenderOf<TypeConfig<RT>, io::Result<()>>, Vote),
}

impl<RT: AsyncRuntime, E: LogEngine> Writer<RT, E> {
    /// Works until the store closes or is dropped; then lets go of the engine.
    pub async fn run(mut self) {
        let mut close = None;
        while close.is_none() {
            let Some(first) = self.requests.recv().await else {
                break;
            };
            let group = self.drain(first);
            self.shared.gauges.unqueued(group.len());
            let mut plan = self.plan(group);
            close = plan.close.take();
            let result = match &self.failed {
                None => self.carry_out(&mut plan).await,
                Some(error) => Err(same_io_error(error)),
            };
            if let (Err(error), None) = (&result, &self.failed) {
                self.failed = Some(same_io_error(error));
                tracing::error!("the log cannot be written; this node must stop: {error:#}");
                if let Some(fatal) = self.fatal.take() {
                    fatal(error);
                }
            }
            self.complete(plan, &result);
        }
        // Readers keep the store's shared part; the engine closes now all the same.
        self.shared.close_engine();
        let result = self.failed.take().map_or(Ok(()), Err);
        drop(self.engine);
        if let Some(done) = close {
            let _ = done.send(result);
        }
    }

    /// Takes what has queued up, until nothing is left, the batch is full or the log closes.
    fn drain(&mut self, first: Request<RT>) -> Vec<Request<RT>> {
        let mut bytes = size(&first);
        let mut group = vec![first];
        while bytes < MAX_BATCH_BYTES && !matches!(group.last(), Some(Request::Close { .. })) {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            bytes += size(&request);
            group.push(request);
        }
        group
    }

    fn plan(&mut self, group: Vec<Request<RT>>) -> Plan<RT> {
        let mut plan = Plan {
            batch: Batch::default(),
            lowered: None,
            vote: None,
            stored: 0,
            waiting: Vec::with_capacity(group.len()),
            close: None,
        };
        let operations = &mut plan.batch.operations;
        for request in group {
            match request {
                Request::Append {
                    entries,
                    number,
                    callback,
                } => {
                    self.end = entries.last().map_or(self.end, |(index, _)| index + 1);
                    operations.extend(
                        entries
                            .into_iter()
                            .map(|(index, bytes)| Operation::Put { index, bytes }),
                    );
                    plan.stored = number;
                    plan.batch.sync = true;
                    plan.waiting.push(Waiting::Append(callback));
                }
                Request::Vote { vote, done } => {
                    operations.push(Operation::Vote(codec::encode_vote(&vote)));
                    plan.vote = Some(vote);
                    plan.batch.sync = true;
                    plan.waiting.push(Waiting::Vote(done, vote));
                }
                Request::Truncate { end } => {
                    operations.push(Operation::TruncateFrom(end));
                    plan.lowered = Some(plan.lowered.map_or(end, |lowest| lowest.min(end)));
                    plan.batch.sync = true;
                    self.end = end;
                }
                Request::Purge { upto } => {
                    let end = upto.index + 1;
                    let purged = codec::encode_log_id(&upto);
                    operations.push(Operation::Purge { end, purged });
                    self.end = self.end.max(end);
                }
                Request::Close { done } => {
                    plan.batch.sync = true;
                    plan.close = Some(done);
                }
            }
        }
        plan.batch.operations.extend(self.committed());
        plan
    }

    /// The record of what is committed, if it has changed. It rides along with other writes: it only spares a restarted node
    /// the wait for a leader, so it is worth no write and no wake-up of its own.
    fn committed(&self) -> Option<Operation> {
        let committed = self.shared.take_committed(self.end)?;
        Some(Operation::Committed(committed.as_ref().map(codec::encode_log_id)))
    }

    async fn carry_out(&mut self, plan: &mut Plan<RT>) -> io::Result<()> {
        if let Some(end) = plan.lowered {
            self.engine.lower_watermark(end).await?;
        }
        let batch = std::mem::take(&mut plan.batch);
        if !batch.sync {
            return self.engine.write(batch).await;
        }
        self.shared.gauges.begin();
        self.engine.write(batch).await?;
        self.shared.gauges.end();
        match plan.vote {
            None => self.engine.note_acknowledged(self.end),
            Some(vote) => {
                let given = (vote.leader_id.term, vote.leader_id.voted_for);
                self.engine.raise_watermark(self.end, given).await
            }
        }
    }

    fn complete(&self, plan: Plan<RT>, result: &io::Result<()>) {
        let outcome = || result.as_ref().copied().map_err(same_io_error);
        if result.is_ok() {
            self.shared.tail().stored(plan.stored);
        }
        for waiting in plan.waiting {
            match waiting {
                Waiting::Append(callback) => callback.io_completed(outcome()),
                Waiting::Vote(done, vote) => {
                    if result.is_ok() {
                        self.shared.set_vote(vote);
                    }
                    // The caller is gone only when Raft is shutting down.
                    let _ = done.send(outcome());
                }
            }
        }
    }
}

fn size<RT: AsyncRuntime>(request: &Request<RT>) -> usize {
    match request {
        Request::Append { entries, .. } => entries.iter().map(|(_, bytes)| bytes.len()).sum(),
        _ => 0,
    }
}

/// Drives a future on this thread, which sleeps while there is nothing to do. The writer needs no reactor and no timers.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
