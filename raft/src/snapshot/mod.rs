//! Snapshots: the state cut at one log index, as a checksummed file.
//!
//! [`format`] says what stands in the file, a [`SnapshotStore`] where files are kept, [`builder`] writes one beside running
//! writes. A snapshot is verified as a whole before any byte of it is believed.

mod builder;
mod directory;
mod format;
#[cfg(feature = "testing")]
mod memory;
mod store;

pub(crate) use builder::{Builder, SnapshotContent};
pub(crate) use directory::DirectoryStore;
#[cfg(feature = "testing")]
pub(crate) use format::with_right_checksums;
pub(crate) use format::{SnapshotError, read_snapshot, verify_snapshot, write_snapshot};
#[cfg(feature = "testing")]
pub(crate) use memory::MemoryStore;
#[cfg(test)]
pub(crate) use store::SnapshotSink;
pub(crate) use store::{SnapshotBlob, SnapshotStore, read_range, run, run_behind};

use crate::codec::CommittedLeaderId;
use crate::types::Member;

/// What openraft calls a snapshot: its place in the log and the file.
pub(crate) type Snapshot = openraft::Snapshot<CommittedLeaderId, u64, Member, SnapshotBlob>;
/// A snapshot's place in the log.
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, Member>;
