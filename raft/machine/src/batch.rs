//! Several commands in one entry of the log: what consensus costs for an entry (its log id, its record on disk and on the way
//! to each follower, its answer) it then costs once for all of them.
//!
//! Only commands on keyspaces share an entry: they are many, and nothing tells them apart by their index. Every other command
//! has an entry of its own, because events, audit records and switches are ordered by it.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::apply::{self, Outcome};
use crate::command::{Envelope, SessionStamp};
use crate::state::State;

/// Commands in one entry at most.
pub const MAX_BATCH_COMMANDS: usize = 128;
/// Encoded proposals in one entry at most, in bytes; a longer proposal has an entry of its own.
pub const MAX_BATCH_BYTES: usize = 128 * 1024;

/// Tag of the author in a proposal, and of the command on a keyspace.
const AUTHOR_TAG: u32 = 1;
const KV_TAG: u32 = 1030;

/// What one entry of the log carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commands {
    /// One command.
    One(Envelope),
    /// Several, applied in their order.
    Many(Batch),
}

/// Several commands on keyspaces under one stamp of time.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Batch {
    /// As [`Envelope::time_ms`], of every command.
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    /// As [`Envelope::wall_ms`], of every command.
    #[prost(int64, tag = "2")]
    pub wall_ms: i64,
    /// Encoded [`BatchedCommands`]. As bytes, because only `apply` looks inside.
    #[prost(bytes = "bytes", tag = "3")]
    pub commands: Bytes,
}

/// The commands of a [`Batch`], in order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchedCommands {
    #[prost(message, repeated, tag = "1")]
    pub commands: Vec<BatchedCommand>,
}

/// One command of a [`Batch`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchedCommand {
    /// As [`Envelope::session`].
    #[prost(message, optional, tag = "1")]
    pub session: Option<SessionStamp>,
    /// As [`Envelope::proposal`].
    #[prost(bytes = "bytes", tag = "2")]
    pub proposal: Bytes,
}

impl From<Envelope> for Commands {
    fn from(envelope: Envelope) -> Self {
        Self::One(envelope)
    }
}

impl Commands {
    /// Encoded bytes of the proposals, about.
    pub fn proposal_bytes(&self) -> usize {
        match self {
            Self::One(envelope) => envelope.proposal.len(),
            Self::Many(batch) => batch.commands.len(),
        }
    }
}

impl std::fmt::Display for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(envelope) => envelope.fmt(f),
            Self::Many(batch) => write!(f, "batch({} ms, {} bytes)", batch.time_ms, batch.commands.len()),
        }
    }
}

/// True for an encoded [`crate::Proposal`] that may share its entry with others: a command on a keyspace, as this version
/// encodes it. Costs a look at two tags.
pub fn may_share_entry(proposal: &[u8]) -> bool {
    command_key(proposal) == Some((KV_TAG, WireType::LengthDelimited))
}

/// Tag and wire type of a proposal's command.
fn command_key(mut rest: &[u8]) -> Option<(u32, WireType)> {
    let first = decode_key(&mut rest).ok()?;
    if first != (AUTHOR_TAG, WireType::LengthDelimited) {
        return Some(first);
    }
    let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    let mut rest = rest.get(length..)?;
    decode_key(&mut rest).ok()
}

/// Applies one entry of the log and tells the outcome of each of its commands, in order.
///
/// # Errors
///
/// A command cannot be understood, because a newer version wrote it: the node must stop and say this. Nothing was changed.
pub fn apply_entry(
    state: &mut State,
    index: u64,
    commands: &Commands,
    mut each: impl FnMut(Outcome),
) -> Result<(), String> {
    match commands {
        Commands::One(envelope) => {
            let decoded = apply::decode(index, envelope.proposal.clone())?;
            each(apply::apply_decoded(state, index, envelope, decoded));
        }
        Commands::Many(batch) => {
            let decoded = BatchedCommands::decode(batch.commands.clone());
            let decoded =
                decoded.map_err(|error| format!("entry {index} holds no batch that can be decoded: {error}"))?;
            let understood: Result<Vec<_>, String> = decoded
                .commands
                .into_iter()
                .map(|one| {
                    // What stays in the state must not keep the bytes of the whole entry alive.
                    let proposal = Bytes::copy_from_slice(&one.proposal);
                    Ok((one.session, apply::decode(index, proposal)?))
                })
                .collect();
            for (session, decoded) in understood? {
                let envelope = Envelope {
                    time_ms: batch.time_ms,
                    wall_ms: batch.wall_ms,
                    session,
                    proposal: Bytes::new(),
                };
                each(apply::apply_decoded(state, index, &envelope, decoded));
            }
        }
    }
    Ok(())
}
