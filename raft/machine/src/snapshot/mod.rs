//! The state as a sequence of blocks, and back.
//!
//! A block is a u16 format version (big endian) and a prost message of records; a record has its own tag per type, never
//! reused. The blocks of a keyspace travel inside records of their instance. The last record closes the snapshot with the
//! number of records before it, so that a truncated one is refused. Checksums and files are the caller's business.

mod check;
mod decode;
mod encode;
mod records;

pub use decode::StateDecoder;
pub use encode::encode_snapshot;

/// Version of the blocks' format.
pub const SNAPSHOT_FORMAT_VERSION: u16 = 1;

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A block is too short, or its protobuf is damaged.
    #[error("a block of the snapshot cannot be decoded: {0}")]
    Malformed(String),
    /// It was written by a newer version.
    #[error("the snapshot has format version {0}; this version reads {SNAPSHOT_FORMAT_VERSION}")]
    Version(u16),
    /// It holds a record that this version does not know.
    #[error("the snapshot holds a record of an unknown type; it was written by a newer version")]
    UnknownRecord,
    /// The end is missing, or something follows it.
    #[error("the snapshot is incomplete")]
    Incomplete,
    /// Its parts do not fit together.
    #[error("the snapshot is inconsistent: {0}")]
    Inconsistent(&'static str),
}
