//! What peers say to each other, as prost messages, and its conversion from and to openraft's types.
//!
//! The version of the protocol is in the path of the calls (`/quorate.peer.v1/…`). Tags are never reused. Entries travel as
//! they lie in the log ([`crate::codec`]): nobody between the proposer and `apply` decodes a proposal.

use bytes::Bytes;
use quorate_machine::{Reply, SessionStamp};

use crate::codec::{LogId, LogIdRecord, VoteRecord};

/// To the wire form of an optional log id.
pub(crate) fn log_id_out(log_id: Option<&LogId>) -> Option<LogIdRecord> {
    log_id.map(Into::into)
}

/// From the wire form of an optional log id.
pub(crate) fn log_id_in(message: Option<LogIdRecord>) -> Option<LogId> {
    message.map(Into::into)
}

/// Entries to append, or a heartbeat.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppendMessage {
    #[prost(message, required, tag = "1")]
    pub vote: VoteRecord,
    #[prost(message, optional, tag = "2")]
    pub previous: Option<LogIdRecord>,
    /// Encoded as in the log, checksum included.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub entries: Vec<Bytes>,
    #[prost(message, optional, tag = "4")]
    pub leader_commit: Option<LogIdRecord>,
}

/// Answer to one [`AppendMessage`], in the order of the requests.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppendReply {
    #[prost(oneof = "AppendOutcome", tags = "1, 2, 3, 4")]
    pub outcome: Option<AppendOutcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum AppendOutcome {
    /// Everything up to this log id is stored durably.
    #[prost(message, tag = "1")]
    Matching(LogIdRecord),
    /// The same for an empty log.
    #[prost(message, tag = "2")]
    MatchingNone(Nothing),
    #[prost(message, tag = "3")]
    Conflict(LogIdRecord),
    #[prost(message, tag = "4")]
    HigherVote(VoteRecord),
}

/// Nothing to say.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Nothing {}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct VoteRequestMessage {
    #[prost(message, required, tag = "1")]
    pub vote: VoteRecord,
    #[prost(message, optional, tag = "2")]
    pub last_log_id: Option<LogIdRecord>,
    /// The election is authorised by the leader (or its followers agreed that it is dead): leases do not hold it up.
    #[prost(bool, tag = "3")]
    pub leadership_transfer: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct VoteReplyMessage {
    #[prost(message, required, tag = "1")]
    pub vote: VoteRecord,
    #[prost(bool, tag = "2")]
    pub granted: bool,
    #[prost(message, optional, tag = "3")]
    pub last_log_id: Option<LogIdRecord>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct TransferMessage {
    #[prost(message, required, tag = "1")]
    pub from: VoteRecord,
    #[prost(uint64, tag = "2")]
    pub to: u64,
    #[prost(message, optional, tag = "3")]
    pub last_log_id: Option<LogIdRecord>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct TransferReply {
    /// Set if the vote of the receiver is another one than the request's.
    #[prost(message, optional, tag = "1")]
    pub vote_changed: Option<VoteRecord>,
    /// True if the receiver's log was not flushed far enough.
    #[prost(bool, tag = "2")]
    pub not_flushed: bool,
    #[prost(message, optional, tag = "3")]
    pub actual: Option<LogIdRecord>,
}

/// "The leader of this vote refuses connections here; do you see the same?"
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LeaderGone {
    #[prost(message, required, tag = "1")]
    pub vote: VoteRecord,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LeaderGoneReply {
    #[prost(bool, tag = "1")]
    pub agreed: bool,
    #[prost(message, optional, tag = "2")]
    pub last_log_id: Option<LogIdRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReadIndexReply {
    /// Absent: the receiver does not lead, or could not confirm that it does.
    #[prost(uint64, optional, tag = "1")]
    pub index: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AskReply {
    #[prost(oneof = "AskOutcome", tags = "1, 2, 3")]
    pub outcome: Option<AskOutcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum AskOutcome {
    #[prost(bytes = "bytes", tag = "1")]
    Answer(Bytes),
    #[prost(string, tag = "2")]
    Refused(String),
    #[prost(message, tag = "3")]
    NotLeader(Nothing),
}

/// A call with one answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Call {
    #[prost(oneof = "CallKind", tags = "2, 3, 4, 5, 6, 7, 8, 20")]
    pub kind: Option<CallKind>,
}

/// Tag 1 was a heartbeat, which has a stream now.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum CallKind {
    #[prost(message, tag = "2")]
    Vote(VoteRequestMessage),
    #[prost(message, tag = "3")]
    PreVote(VoteRequestMessage),
    #[prost(message, tag = "4")]
    Transfer(TransferMessage),
    #[prost(message, tag = "5")]
    ReadIndex(Nothing),
    #[prost(bytes = "bytes", tag = "6")]
    Ask(Bytes),
    #[prost(message, tag = "7")]
    LeaderGone(LeaderGone),
    /// Are you there, and could you lead? [`AnswerKind::Failed`] says no to the second.
    #[prost(message, tag = "8")]
    Ping(Nothing),
    /// An opaque request to the node itself, whoever leads; answered by [`AnswerKind::Ask`].
    #[prost(bytes = "bytes", tag = "20")]
    AskNode(Bytes),
}

/// Answer to a [`Call`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(oneof = "AnswerKind", tags = "2, 4, 5, 6, 7, 8, 15")]
    pub kind: Option<AnswerKind>,
}

/// Tag 1 answered a heartbeat.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum AnswerKind {
    #[prost(message, tag = "2")]
    Vote(VoteReplyMessage),
    #[prost(message, tag = "4")]
    Transfer(TransferReply),
    #[prost(message, tag = "5")]
    ReadIndex(ReadIndexReply),
    #[prost(message, tag = "6")]
    Ask(AskReply),
    #[prost(message, tag = "7")]
    LeaderGone(LeaderGoneReply),
    #[prost(message, tag = "8")]
    Pong(Nothing),
    /// The receiver could not carry it out.
    #[prost(string, tag = "15")]
    Failed(String),
}

/// A frame of a snapshot on its way to a follower: the vote first, then the file in order.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotFrame {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteRecord>,
    /// Length of the whole file, with the vote.
    #[prost(uint64, tag = "2")]
    pub length: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub chunk: Bytes,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SnapshotReply {
    #[prost(message, required, tag = "1")]
    pub vote: VoteRecord,
}

/// One forwarded proposal under its de-duplication stamp.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardItem {
    #[prost(message, required, tag = "1")]
    pub stamp: SessionStamp,
    #[prost(bytes = "bytes", tag = "2")]
    pub proposal: Bytes,
}

/// Proposals on their way to the leader.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardBatch {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<ForwardItem>,
}

/// What became of forwarded proposals; in any order.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardReplies {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<ForwardReply>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardReply {
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// Absent: not carried out here, send it to the leader again.
    #[prost(message, optional, tag = "2")]
    pub reply: Option<Reply>,
    #[prost(uint64, tag = "3")]
    pub log_index: u64,
}
