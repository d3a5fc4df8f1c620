//! Everything that this crate decodes, for fuzzing: what a disk holds and what a peer sends.

use bytes::Bytes;
use openraft::Membership;
use prost::Message;

use crate::codec::{
    self, FORMAT_VERSION, LogIdRecord, MembershipRecord, VoteRecord, decode_entry, decode_log_id, decode_membership,
    decode_vote, encode_entry,
};
use crate::network::wire::{
    Answer, AppendMessage, AppendReply, Call, ForwardBatch, ForwardReplies, SnapshotFrame, SnapshotReply, log_id_in,
};
use crate::snapshot::{read_snapshot, verify_snapshot};
use crate::types::Member;

/// Decodes a message as a record of the log: an entry, a vote, a log id, the members. The frame around it is made right.
///
/// # Panics
///
/// If what decodes as an entry does not survive its encoding.
pub fn decode_log_record(message: &[u8]) {
    let mut record = FORMAT_VERSION.to_be_bytes().to_vec();
    record.extend(crc32c::crc32c(message).to_be_bytes());
    record.extend(message);
    let record = Bytes::from(record);
    // What cannot be decoded is refused; that is all.
    let _ = (decode_vote(&record), decode_log_id(&record), decode_membership(&record));
    if let Ok(entry) = decode_entry(&record) {
        let encoded = encode_entry(&entry);
        let again = decode_entry(&encoded).expect("what was encoded decodes");
        assert_eq!(encode_entry(&again), encoded);
    }
    // As it lies there, a wrong frame included.
    let _ = decode_entry(&Bytes::copy_from_slice(message));
}

/// Reads bytes as a snapshot file, as they are and with the checksums of its blocks made right.
pub fn decode_snapshot_file(bytes: &[u8]) {
    // What cannot be read is refused; that is all.
    let _ = verify_snapshot(&mut &bytes[..], "");
    let _ = read_snapshot(&mut &bytes[..], "");
    let mended = crate::snapshot::with_right_checksums(bytes);
    let _ = read_snapshot(&mut mended.as_slice(), "");
}

/// Decodes a frame as each message that peers send each other.
pub fn decode_peer_frame(frame: &[u8]) {
    let frame = Bytes::copy_from_slice(frame);
    if let Ok(append) = AppendMessage::decode(frame.clone()) {
        let _ = log_id_in(append.previous);
        for entry in &append.entries {
            let _ = decode_entry(entry);
        }
    }
    if let Ok(batch) = ForwardBatch::decode(frame.clone()) {
        for item in batch.items {
            let _ = quorate_machine::Proposal::decode(item.proposal);
        }
    }
    let _ = (
        AppendReply::decode(frame.clone()).is_ok(),
        Call::decode(frame.clone()).is_ok(),
        Answer::decode(frame.clone()).is_ok(),
        SnapshotFrame::decode(frame.clone()).is_ok(),
        SnapshotReply::decode(frame.clone()).is_ok(),
        ForwardReplies::decode(frame.clone()).is_ok(),
        LogIdRecord::decode(frame.clone()).is_ok(),
        VoteRecord::decode(frame.clone()).is_ok(),
    );
    if let Ok(record) = MembershipRecord::decode(frame) {
        let _: Result<Membership<u64, Member>, codec::DecodeError> = record.try_into();
    }
}
