//! Reading a keyspace back from the blocks of a snapshot. Arbitrary bytes give an error, never a panic.

use bytes::{Buf, Bytes};
use prost::Message;

use crate::encode::FORMAT_VERSION;
use crate::keyspace::Keyspace;
use crate::record::*;
use crate::restore::{Building, Progress};

/// Why blocks are no keyspace. The snapshot they came from must not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by another version of the format.
    #[error(
        "keyspace block has format {found}, this program reads {FORMAT_VERSION}; use a program that knows the format"
    )]
    Format {
        /// Version found in the block.
        found: u16,
    },
    /// Not the encoding of records.
    #[error("keyspace block cannot be decoded: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// Records that contradict each other or stand in the wrong order.
    #[error("keyspace block is inconsistent: {0}")]
    Inconsistent(&'static str),
    /// The last block has not been seen.
    #[error("keyspace snapshot is cut off after {records} records")]
    Truncated {
        /// Records read before the end.
        records: u64,
    },
}

/// Builds a keyspace from the blocks of [`Keyspace::encode_blocks`], in order.
#[derive(Clone, Default)]
pub struct KeyspaceDecoder {
    building: Option<Building>,
    records: u64,
    ended: bool,
}

impl KeyspaceDecoder {
    /// A decoder that has read nothing.
    pub fn new() -> Self {
        KeyspaceDecoder::default()
    }

    /// Reads one block.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; the decoder is of no use afterwards.
    pub fn push(&mut self, block: impl Into<Bytes>) -> Result<(), DecodeError> {
        let mut block: Bytes = block.into();
        let found = block
            .try_get_u16_le()
            .map_err(|_| DecodeError::Inconsistent("a block is shorter than its version"))?;
        if found != FORMAT_VERSION {
            return Err(DecodeError::Format { found });
        }
        while block.has_remaining() {
            if self.ended {
                return Err(DecodeError::Inconsistent("records after the end"));
            }
            let record = Record::decode_length_delimited(&mut block)?;
            self.record(
                record
                    .kind
                    .ok_or(DecodeError::Inconsistent("a record of an unknown kind"))?,
            )?;
        }
        Ok(())
    }

    /// The keyspace, once every block has been read.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] if blocks are missing, [`DecodeError::Inconsistent`] if the whole does not fit together.
    pub fn finish(self) -> Result<Keyspace, DecodeError> {
        match self.building {
            Some(building) if self.ended => building.finish(),
            _ => Err(DecodeError::Truncated { records: self.records }),
        }
    }

    /// How far the keyspace is; `None` before its first record.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.building.as_ref().map(Building::progress)
    }

    fn record(&mut self, kind: RecordKind) -> Result<(), DecodeError> {
        match (kind, &mut self.building) {
            (RecordKind::Header(header), None) => self.building = Some(Building::start(header)?),
            (RecordKind::Header(_), Some(_)) => return Err(DecodeError::Inconsistent("a second header")),
            (_, None) => return Err(DecodeError::Inconsistent("no header in front")),
            (RecordKind::End(end), Some(_)) => {
                if end.records != self.records {
                    return Err(DecodeError::Inconsistent(
                        "the number of records differs from the one written",
                    ));
                }
                self.ended = true;
            }
            (RecordKind::Alarm(alarm), Some(building)) => building.alarm(alarm)?,
            (RecordKind::Lease(lease), Some(building)) => building.lease(lease)?,
            (RecordKind::User(user), Some(building)) => building.user(user)?,
            (RecordKind::Role(role), Some(building)) => building.role(role)?,
            (RecordKind::Key(key), Some(building)) => building.key(key)?,
            (RecordKind::Change(change), Some(building)) => building.change(change)?,
            (RecordKind::Import(import), Some(building)) => building.import(import)?,
        }
        self.records += 1;
        Ok(())
    }
}
