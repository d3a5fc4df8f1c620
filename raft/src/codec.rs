//! Bytes of what consensus stores and sends: entries, votes, log ids and memberships.
//!
//! The same bytes lie in the log on disk and travel between peers, so an entry is encoded once. Every record is framed as
//! `u16 format version, u32 CRC32C of the message, prost message` (integers big-endian). The checksum goes with the entry
//! end to end: what a peer's disk or memory damaged is refused here and not applied. Decoding never panics, whatever the
//! bytes.
//!
//! This is not the encoding of commands: an entry carries [`Commands`] whose proposals stay opaque bytes here.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership};
use prost::Message;
use quorate_machine::{Batch, Commands, Envelope};

use crate::types::Member;

/// Format version in front of every record that this version writes.
pub const FORMAT_VERSION: u16 = 1;

/// Bytes before the prost message: the format version and the checksum.
pub const FRAME_HEADER_BYTES: usize = 6;

/// Leader id of this project: term and node, one leader per term.
pub type LeaderId = leader_id_std::LeaderId<u64, u64>;
/// What a log id keeps of its leader: the term.
pub type CommittedLeaderId = <LeaderId as RaftLeaderId>::Committed;
/// Position in the log: term of the leader and index.
pub type LogId = openraft::LogId<CommittedLeaderId>;
/// A vote: whom this node follows in which term, and whether a quorum granted it.
pub type Vote = openraft::Vote<LeaderId>;
/// A log entry.
pub type Entry = openraft::Entry<CommittedLeaderId, EntryPayload<Commands, u64, Member>>;
/// A membership with the log id of the entry that set it.
pub type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, Member>;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the frame's header.
    #[error("record of {0} bytes is shorter than its header")]
    TooShort(usize),
    /// Written by another version of this software.
    #[error("record has format version {0}, this version reads {FORMAT_VERSION}")]
    Version(u16),
    /// The message does not match its checksum: bytes were damaged on disk or on the way.
    #[error("record is damaged: checksum {actual:08x} instead of {expected:08x}")]
    Checksum { expected: u32, actual: u32 },
    /// The checksum holds but the message does not parse.
    #[error("record does not parse: {0}")]
    Malformed(prost::DecodeError),
    /// A field that every record of this kind has is not there.
    #[error("record lacks its {0}")]
    Missing(&'static str),
    /// The membership is not one that Raft can use.
    #[error("record holds an invalid membership: {0}")]
    Membership(String),
}

/// A [`LogId`] as a message, for use inside other messages.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LogIdRecord {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub index: u64,
}

impl From<&LogId> for LogIdRecord {
    fn from(id: &LogId) -> Self {
        Self {
            term: *id.leader_id,
            index: id.index,
        }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        log_id(record.term, record.index)
    }
}

/// A [`Vote`] as a message, for use inside other messages.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct VoteRecord {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub node: u64,
    #[prost(bool, tag = "3")]
    pub committed: bool,
}

impl From<&Vote> for VoteRecord {
    fn from(vote: &Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            node: vote.leader_id.voted_for,
            committed: vote.committed,
        }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        Vote {
            leader_id: LeaderId::new(record.term, record.node),
            committed: record.committed,
        }
    }
}

/// One configuration of voters; a joint membership has two.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VotersRecord {
    #[prost(uint64, repeated, tag = "1")]
    pub nodes: Vec<u64>,
}

/// A member with its id; one that is in no configuration is a learner.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberRecord {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub zone: String,
    #[prost(string, tag = "4")]
    pub peer: String,
}

/// A membership as a message, for use inside other messages.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MembershipRecord {
    #[prost(message, repeated, tag = "1")]
    pub configs: Vec<VotersRecord>,
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<MemberRecord>,
}

impl From<&Membership<u64, Member>> for MembershipRecord {
    fn from(membership: &Membership<u64, Member>) -> Self {
        let configs = membership.get_joint_config().iter();
        Self {
            configs: configs
                .map(|voters| VotersRecord {
                    nodes: voters.iter().copied().collect(),
                })
                .collect(),
            members: membership
                .nodes()
                .map(|(id, member)| MemberRecord {
                    id: *id,
                    name: member.name.clone(),
                    zone: member.zone.clone(),
                    peer: member.peer.clone(),
                })
                .collect(),
        }
    }
}

impl TryFrom<MembershipRecord> for Membership<u64, Member> {
    type Error = DecodeError;

    fn try_from(record: MembershipRecord) -> Result<Self, DecodeError> {
        let configs = record
            .configs
            .into_iter()
            .map(|voters| BTreeSet::from_iter(voters.nodes));
        let members = record.members.into_iter().map(|member| {
            let MemberRecord { id, name, zone, peer } = member;
            (id, Member { name, zone, peer })
        });
        Membership::new(configs.collect(), members.collect::<BTreeMap<_, _>>())
            .map_err(|error| DecodeError::Membership(error.to_string()))
    }
}

/// A [`StoredMembership`] as a message, for use inside other messages and snapshot headers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StoredMembershipRecord {
    #[prost(message, optional, tag = "1")]
    pub log_id: Option<LogIdRecord>,
    #[prost(message, optional, tag = "2")]
    pub membership: Option<MembershipRecord>,
}

impl From<&StoredMembership> for StoredMembershipRecord {
    fn from(stored: &StoredMembership) -> Self {
        Self {
            log_id: stored.log_id().as_ref().map(LogIdRecord::from),
            membership: Some(stored.membership().into()),
        }
    }
}

impl TryFrom<StoredMembershipRecord> for StoredMembership {
    type Error = DecodeError;

    fn try_from(record: StoredMembershipRecord) -> Result<Self, DecodeError> {
        let membership = record.membership.ok_or(DecodeError::Missing("membership"))?;
        Ok(StoredMembership::new(
            record.log_id.map(LogId::from),
            membership.try_into()?,
        ))
    }
}

/// The payload has the highest tags, so its bytes come last: [`share_proposals`] builds on that.
#[derive(Clone, PartialEq, prost::Message)]
struct EntryRecord {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
    #[prost(oneof = "PayloadRecord", tags = "3, 4, 5, 6")]
    payload: Option<PayloadRecord>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum PayloadRecord {
    #[prost(message, tag = "3")]
    Blank(BlankRecord),
    #[prost(message, tag = "4")]
    Membership(MembershipRecord),
    #[prost(message, tag = "5")]
    One(Envelope),
    #[prost(message, tag = "6")]
    Many(Batch),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct BlankRecord {}

/// Makes a log id.
pub fn log_id(term: u64, index: u64) -> LogId {
    openraft::LogId::new(LeaderId::new(term, 0).to_committed(), index)
}

/// Frames a message: version, checksum, message.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(FRAME_HEADER_BYTES + message.encoded_len());
    bytes.put_u16(FORMAT_VERSION);
    bytes.put_u32(0);
    message.encode_raw(&mut bytes);
    let checksum = crc32c::crc32c(&bytes[FRAME_HEADER_BYTES..]);
    bytes[2..FRAME_HEADER_BYTES].copy_from_slice(&checksum.to_be_bytes());
    bytes.freeze()
}

/// Checks a frame and decodes its message; byte fields of the message are slices of `bytes`.
pub(crate) fn unframe<M: Message + Default>(bytes: &Bytes) -> Result<M, DecodeError> {
    let Some((header, message)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Err(DecodeError::TooShort(bytes.len()));
    };
    let [v0, v1, c0, c1, c2, c3] = *header;
    let version = u16::from_be_bytes([v0, v1]);
    if version != FORMAT_VERSION {
        return Err(DecodeError::Version(version));
    }
    let expected = u32::from_be_bytes([c0, c1, c2, c3]);
    let actual = crc32c::crc32c(message);
    if expected != actual {
        return Err(DecodeError::Checksum { expected, actual });
    }
    M::decode(bytes.slice(FRAME_HEADER_BYTES..)).map_err(DecodeError::Malformed)
}

/// Encodes an entry as it lies on disk and travels to peers.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadRecord::Blank(BlankRecord {}),
        EntryPayload::Membership(membership) => PayloadRecord::Membership(membership.into()),
        EntryPayload::Normal(Commands::One(envelope)) => PayloadRecord::One(envelope.clone()),
        EntryPayload::Normal(Commands::Many(batch)) => PayloadRecord::Many(batch.clone()),
    };
    frame(&EntryRecord {
        term: *entry.log_id.leader_id,
        index: entry.log_id.index,
        payload: Some(payload),
    })
}

/// Decodes an entry; the proposals in it are a slice of `bytes`, not a copy.
///
/// # Errors
///
/// Any deviation from what [`encode_entry`] writes, damaged bits included.
pub fn decode_entry(bytes: &Bytes) -> Result<Entry, DecodeError> {
    let record: EntryRecord = unframe(bytes)?;
    let payload = match record.payload.ok_or(DecodeError::Missing("payload"))? {
        PayloadRecord::Blank(BlankRecord {}) => EntryPayload::Blank,
        PayloadRecord::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        PayloadRecord::One(envelope) => EntryPayload::Normal(Commands::One(envelope)),
        PayloadRecord::Many(batch) => EntryPayload::Normal(Commands::Many(batch)),
    };
    Ok(Entry {
        log_id: log_id(record.term, record.index),
        payload,
    })
}

/// Makes the entry's proposals a slice of its own encoding, so that memory holds the body once.
pub(crate) fn share_proposals(entry: &mut Entry, encoded: &Bytes) {
    let body = match &mut entry.payload {
        EntryPayload::Normal(Commands::One(envelope)) => &mut envelope.proposal,
        EntryPayload::Normal(Commands::Many(batch)) => &mut batch.commands,
        EntryPayload::Blank | EntryPayload::Membership(_) => return,
    };
    let shared = encoded.slice(encoded.len() - body.len()..);
    debug_assert_eq!(shared, *body, "the proposals are the last field of an encoded entry");
    *body = shared;
}

/// Encodes a vote.
pub fn encode_vote(vote: &Vote) -> Bytes {
    frame(&VoteRecord::from(vote))
}

/// Decodes a vote; errors as [`decode_entry`].
pub fn decode_vote(bytes: &Bytes) -> Result<Vote, DecodeError> {
    unframe::<VoteRecord>(bytes).map(Vote::from)
}

/// Encodes a log id.
pub fn encode_log_id(id: &LogId) -> Bytes {
    frame(&LogIdRecord::from(id))
}

/// Decodes a log id; errors as [`decode_entry`].
pub fn decode_log_id(bytes: &Bytes) -> Result<LogId, DecodeError> {
    unframe::<LogIdRecord>(bytes).map(LogId::from)
}

/// Encodes a membership with its log id.
pub fn encode_membership(stored: &StoredMembership) -> Bytes {
    frame(&StoredMembershipRecord::from(stored))
}

/// Decodes a membership with its log id; errors as [`decode_entry`].
pub fn decode_membership(bytes: &Bytes) -> Result<StoredMembership, DecodeError> {
    unframe::<StoredMembershipRecord>(bytes)?.try_into()
}
