//! What stands in a snapshot file.
//!
//! ```text
//! "QRTESNAP"  u16 format version
//! block*      u8 kind, u32 length, payload, u32 CRC32C over kind, length and payload     (integers big-endian)
//! ```
//!
//! The first block is the header, the last the trailer, which counts the others; between them the state in the order that
//! the machine gives it. Whatever is missing, damaged or added is noticed before the state is used.

use std::io::{self, Read, Write};

use bytes::Bytes;
use prost::Message;
use quorate_machine::{State, StateDecoder};

use super::SnapshotMeta;
use crate::codec::{DecodeError, LogIdRecord, StoredMembershipRecord};

const MAGIC: &[u8; 8] = b"QRTESNAP";
/// Version of this layout.
const FORMAT_VERSION: u16 = 1;
/// Version of the meaning of commands that the state was made with.
const MACHINE_VERSION: u32 = 1;
/// Longest block that is read.
const MAX_BLOCK_BYTES: u32 = 256 * 1024 * 1024;

const HEADER_BLOCK: u8 = 1;
const STATE_BLOCK: u8 = 2;
const TRAILER_BLOCK: u8 = 3;

/// Why a snapshot cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("I/O error: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a snapshot of this software")]
    Magic,
    #[error("it has format version {0}, this version reads {FORMAT_VERSION}")]
    Version(u16),
    #[error("it was made by a newer state machine (version {0}, this one is {MACHINE_VERSION})")]
    Machine(u32),
    #[error("it belongs to the cluster {found}, this node to {own}")]
    Cluster { found: String, own: String },
    #[error("block {0} is damaged (checksum)")]
    Checksum(u64),
    #[error("it is truncated or has something added: {0}")]
    Structure(&'static str),
    #[error("its header is damaged: {0}")]
    Header(#[from] DecodeError),
    #[error("its state cannot be decoded: {0}")]
    State(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint32, tag = "1")]
    machine_version: u32,
    #[prost(string, tag = "2")]
    cluster_id: String,
    #[prost(message, optional, tag = "3")]
    log_id: Option<LogIdRecord>,
    #[prost(message, optional, tag = "4")]
    membership: Option<StoredMembershipRecord>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Trailer {
    /// Blocks before this one, the header included.
    #[prost(uint64, tag = "1")]
    blocks: u64,
}

fn write_block(sink: &mut dyn Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| io::Error::other("snapshot block too long"))?;
    let length = length.to_be_bytes();
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&[kind]), &length), payload);
    sink.write_all(&[kind])?;
    sink.write_all(&length)?;
    sink.write_all(payload)?;
    sink.write_all(&checksum.to_be_bytes())
}

/// Writes a whole snapshot.
pub(crate) fn write_snapshot(
    sink: &mut dyn Write,
    cluster_id: &str,
    meta: &SnapshotMeta,
    state: &State,
) -> Result<(), SnapshotError> {
    sink.write_all(MAGIC)?;
    sink.write_all(&FORMAT_VERSION.to_be_bytes())?;
    let header = Header {
        machine_version: MACHINE_VERSION,
        cluster_id: cluster_id.to_owned(),
        log_id: meta.last_log_id.as_ref().map(Into::into),
        membership: Some((&meta.last_membership).into()),
    };
    write_block(sink, HEADER_BLOCK, &header.encode_to_vec())?;
    let mut blocks = 1;
    for payload in quorate_machine::encode_snapshot(state) {
        write_block(sink, STATE_BLOCK, &payload)?;
        blocks += 1;
    }
    write_block(sink, TRAILER_BLOCK, &Trailer { blocks }.encode_to_vec())?;
    sink.flush()?;
    Ok(())
}

/// Reads one block; `None` at the end of the file.
fn read_block(source: &mut dyn Read, number: u64) -> Result<Option<(u8, Bytes)>, SnapshotError> {
    let mut kind = [0];
    if source.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let truncated = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Structure("it ends within a block"),
        _ => SnapshotError::Io(error),
    };
    let mut length_bytes = [0; 4];
    source.read_exact(&mut length_bytes).map_err(truncated)?;
    let length = u32::from_be_bytes(length_bytes);
    if length > MAX_BLOCK_BYTES {
        return Err(SnapshotError::Checksum(number));
    }
    let mut payload = Vec::new();
    source.take(u64::from(length)).read_to_end(&mut payload)?;
    let mut expected = [0; 4];
    source.read_exact(&mut expected).map_err(truncated)?;
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&kind), &length_bytes), &payload);
    if checksum != u32::from_be_bytes(expected) {
        return Err(SnapshotError::Checksum(number));
    }
    Ok(Some((kind[0], payload.into())))
}

/// Reads and verifies a whole snapshot. `cluster_id` empty: of any cluster.
pub(crate) fn read_snapshot(source: &mut dyn Read, cluster_id: &str) -> Result<(SnapshotMeta, State), SnapshotError> {
    let mut decoder = StateDecoder::new();
    let meta = read_blocks(source, cluster_id, |payload| {
        decoder
            .push(&payload)
            .map_err(|error| SnapshotError::State(error.to_string()))
    })?;
    let state = decoder
        .finish()
        .map_err(|error| SnapshotError::State(error.to_string()))?;
    Ok((meta, state))
}

/// Verifies a whole snapshot's structure and checksums without decoding its state.
pub(crate) fn verify_snapshot(source: &mut dyn Read, cluster_id: &str) -> Result<SnapshotMeta, SnapshotError> {
    read_blocks(source, cluster_id, |_| Ok(()))
}

fn read_blocks(
    source: &mut dyn Read,
    cluster_id: &str,
    mut on_state: impl FnMut(Bytes) -> Result<(), SnapshotError>,
) -> Result<SnapshotMeta, SnapshotError> {
    let mut start = [0; 10];
    source.read_exact(&mut start).map_err(|_| SnapshotError::Magic)?;
    if start[..8] != MAGIC[..] {
        return Err(SnapshotError::Magic);
    }
    let version = u16::from_be_bytes([start[8], start[9]]);
    if version != FORMAT_VERSION {
        return Err(SnapshotError::Version(version));
    }
    let Some((HEADER_BLOCK, header)) = read_block(source, 0)? else {
        return Err(SnapshotError::Structure("it has no header"));
    };
    let meta = check_header(header, cluster_id)?;
    let mut blocks = 1;
    loop {
        match read_block(source, blocks)? {
            Some((STATE_BLOCK, payload)) => {
                on_state(payload)?;
                blocks += 1;
            }
            Some((TRAILER_BLOCK, payload)) => {
                let trailer = Trailer::decode(payload).map_err(DecodeError::Malformed)?;
                if trailer.blocks != blocks {
                    return Err(SnapshotError::Structure("blocks are missing"));
                }
                break;
            }
            Some(_) => return Err(SnapshotError::Structure("a block of unknown kind")),
            None => return Err(SnapshotError::Structure("it has no trailer")),
        }
    }
    if source.read(&mut [0])? != 0 {
        return Err(SnapshotError::Structure("something follows the trailer"));
    }
    Ok(meta)
}

/// The same file with the checksum of every block made right, as a hostile sender would send it.
#[cfg(feature = "testing")]
pub(crate) fn with_right_checksums(file: &[u8]) -> Vec<u8> {
    let mut mended = file.to_vec();
    let mut at = 10;
    while let Some(length) = mended.get(at + 1..at + 5) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(end) = (at + 5).checked_add(length).filter(|end| end + 4 <= mended.len()) else {
            break;
        };
        let checksum = crc32c::crc32c(&mended[at..end]);
        mended[end..end + 4].copy_from_slice(&checksum.to_be_bytes());
        at = end + 4;
    }
    mended
}

fn check_header(header: Bytes, cluster_id: &str) -> Result<SnapshotMeta, SnapshotError> {
    let header = Header::decode(header).map_err(DecodeError::Malformed)?;
    if header.machine_version > MACHINE_VERSION {
        return Err(SnapshotError::Machine(header.machine_version));
    }
    if !cluster_id.is_empty() && header.cluster_id != cluster_id {
        return Err(SnapshotError::Cluster {
            found: header.cluster_id,
            own: cluster_id.to_owned(),
        });
    }
    let membership = header.membership.ok_or(DecodeError::Missing("membership"))?;
    Ok(SnapshotMeta {
        last_log_id: header.log_id.map(Into::into),
        last_membership: membership.try_into()?,
    })
}
