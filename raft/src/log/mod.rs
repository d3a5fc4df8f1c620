//! The Raft log: what this node must remember to keep its promises.
//!
//! [`LogStore`] is openraft's log storage over a [`LogEngine`]: [`RocksEngine`] on real disks, [`SimEngine`] on simulated
//! ones. One writer owns the engine and turns whatever has queued up into one synced write, so that batches size
//! themselves by the disk. [`Watermark`] is a second witness of what was acknowledged, and [`DataDir`] holds the node's
//! identity and its exclusive lock.
//!
//! It is not the state: that lives in memory and in snapshots.

mod data_dir;
mod engine;
mod error;
mod reader;
mod recovery;
mod rocks;
mod rocks_files;
mod sim;
mod store;
mod tail;
mod watermark;
mod writer;

pub use data_dir::{DataDir, DataDirError, Identity};
pub use engine::{Acknowledged, Batch, Location, LogEngine, LogReads, Operation, StoredMeta};
pub use error::LogError;
pub use reader::{LogReader, MAX_READ_BYTES, MAX_READ_ENTRIES};
pub use rocks::RocksEngine;
pub use sim::{SimDisk, SimDiskOptions, SimEngine};
pub use store::{FatalHook, LogStore};
pub use tail::{MAX_TAIL_BYTES, MAX_TAIL_ENTRIES};
pub use watermark::Watermark;
pub use writer::{LogStats, MAX_BATCH_BYTES, QUEUE_CAPACITY_REQUESTS};

/// Makes a directory's entries durable (a created or renamed file).
pub(crate) fn sync_directory(path: &std::path::Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}
