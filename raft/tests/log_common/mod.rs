//! What the log's tests share: entries whose content follows from their position, appends that wait, seeded numbers.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::io;
use std::path::Path;

use bytes::Bytes;
use openraft::async_runtime::AsyncRuntime;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::OneshotReceiverOf;
use openraft::{EntryPayload, vote::RaftLeaderId};
use openraft_rt_tokio::TokioRuntime;
use quorate_machine::{Commands, Envelope};
use quorate_raft::TypeConfig;
use quorate_raft::codec::{Entry, LeaderId, Vote, log_id};
use quorate_raft::log::{LogError, LogStore};

pub type Tokio = TypeConfig<TokioRuntime>;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The entry of a position: 32 to 287 bytes that follow from term and index.
pub fn entry(term: u64, index: u64) -> Entry {
    let mut random = Random(term << 32 | index);
    let length = 32 + random.below(256) as usize;
    let body: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Commands::One(Envelope {
            time_ms: index,
            wall_ms: -1,
            session: None,
            proposal: Bytes::from(body),
        })),
    }
}

pub fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote {
        leader_id: LeaderId::new(term, node),
        committed,
    }
}

/// Queues entries and returns what tells that they are durable.
pub async fn submit<RT: AsyncRuntime>(
    store: &mut LogStore<RT>,
    entries: Vec<Entry>,
) -> io::Result<OneshotReceiverOf<TypeConfig<RT>, io::Result<()>>> {
    let (done, flushed) = TypeConfig::<RT>::oneshot();
    store.append(entries, IOFlushed::signal(done)).await?;
    Ok(flushed)
}

/// Appends and waits until it is durable.
pub async fn append<RT: AsyncRuntime>(store: &mut LogStore<RT>, entries: Vec<Entry>) -> io::Result<()> {
    let flushed = submit(store, entries).await?;
    flushed.await.expect("the writer answers every append")
}

/// Appends the entries of `indexes` in one call.
pub async fn fill<RT: AsyncRuntime>(store: &mut LogStore<RT>, term: u64, indexes: std::ops::Range<u64>) {
    let entries = indexes.map(|index| entry(term, index)).collect();
    append(store, entries).await.expect("the disk works");
}

/// Every entry of the log.
pub async fn read_all<RT: AsyncRuntime>(store: &LogStore<RT>) -> io::Result<Vec<Entry>> {
    store.reader().try_get_log_entries(..).await
}

/// Opens the log under `root`; a failed write fails the test.
pub fn open(root: &Path) -> Result<LogStore<TokioRuntime>, LogError> {
    LogStore::open(
        &root.join("log"),
        &root.join("watermark"),
        Box::new(|error| panic!("the log failed: {error}")),
    )
}

/// Runs on tokio.
pub fn run<T>(future: impl std::future::Future<Output = T>) -> T {
    TokioRuntime::new(1).block_on(future)
}
