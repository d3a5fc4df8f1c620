//! The encoding: golden bytes, round trips, damage, no copies.

mod log_common;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use log_common::{Random, entry, vote};
use openraft::{EntryPayload, Membership};
use prost::Message;
use quorate_machine::{Batch, BatchedCommand, BatchedCommands, Commands, Envelope, SessionStamp};
use quorate_raft::Member;
use quorate_raft::codec::*;

fn member(id: u64) -> Member {
    Member {
        name: format!("node-{id}"),
        zone: format!("az{id}"),
        peer: format!("127.0.0.{id}:2380"),
    }
}

fn membership() -> Membership<u64, Member> {
    let joint = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 4])];
    let members: BTreeMap<u64, Member> = (1..=5).map(|id| (id, member(id))).collect();
    Membership::new(joint, members).expect("a valid membership")
}

fn samples() -> Vec<(&'static str, Entry)> {
    let session = SessionStamp {
        node: 2,
        incarnation: 9,
        sequence: 1_000_000,
        acked_below: 999_990,
    };
    let normal = Envelope {
        time_ms: 123_456,
        wall_ms: 1_790_000_000_000,
        session: Some(session),
        proposal: Bytes::from_static(b"an opaque proposal"),
    };
    let batched = |session, proposal| BatchedCommand {
        session,
        proposal: Bytes::from_static(proposal),
    };
    let commands = BatchedCommands {
        commands: vec![batched(Some(session), b"first"), batched(None, b"second")],
    };
    let batch = Batch {
        time_ms: 123_457,
        wall_ms: 1_790_000_000_001,
        commands: commands.encode_to_vec().into(),
    };
    let at = |index, payload| Entry {
        log_id: log_id(7, index),
        payload,
    };
    vec![
        ("blank", at(0, EntryPayload::Blank)),
        ("normal", at(41, EntryPayload::Normal(normal.into()))),
        (
            "empty proposal",
            at(42, EntryPayload::Normal(Envelope::default().into())),
        ),
        ("membership", at(300, EntryPayload::Membership(membership()))),
        ("no membership", at(1, EntryPayload::Membership(Membership::default()))),
        ("batch", at(43, EntryPayload::Normal(Commands::Many(batch)))),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn released_encodings_stay() {
    let stored = StoredMembership::new(Some(log_id(3, 4)), membership());
    let mut lines: Vec<String> = samples()
        .iter()
        .map(|(name, entry)| format!("entry, {name}: {}", hex(&encode_entry(entry))))
        .collect();
    lines.push(format!("vote: {}", hex(&encode_vote(&vote(5, 3, true)))));
    lines.push(format!("log id: {}", hex(&encode_log_id(&log_id(5, 1 << 40)))));
    lines.push(format!("stored membership: {}", hex(&encode_membership(&stored))));
    let golden: Vec<&str> = include_str!("golden/codec_v1.txt").lines().collect();
    assert_eq!(
        lines, golden,
        "a released encoding changed: raise the format version instead"
    );
}

#[test]
fn what_was_encoded_decodes_to_the_same() {
    for (name, entry) in samples() {
        assert_eq!(decode_entry(&encode_entry(&entry)).as_ref(), Ok(&entry), "{name}");
    }
    let vote = vote(5, 3, true);
    assert_eq!(decode_vote(&encode_vote(&vote)), Ok(vote));
    let id = log_id(5, 7);
    assert_eq!(decode_log_id(&encode_log_id(&id)), Ok(id));
    for log_id in [None, Some(log_id(3, 4))] {
        let stored = StoredMembership::new(log_id, membership());
        assert_eq!(decode_membership(&encode_membership(&stored)), Ok(stored));
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    for (name, entry) in samples() {
        let encoded = encode_entry(&entry);
        for bit in 0..encoded.len() * 8 {
            let mut damaged = encoded.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_entry(&damaged.into()).is_err(), "{name}, bit {bit}");
        }
        for length in 0..encoded.len() {
            assert!(
                decode_entry(&encoded.slice(..length)).is_err(),
                "{name}, cut to {length}"
            );
        }
    }
}

/// Damage that carries a right checksum, as a faulty or hostile peer could send it.
#[test]
fn arbitrary_bytes_never_panic() {
    let mut random = Random(1);
    let encoded: Vec<Bytes> = samples().iter().map(|(_, entry)| encode_entry(entry)).collect();
    for round in 0..20_000 {
        let mut message: Vec<u8> = if round % 2 == 0 {
            (0..random.below(64)).map(|_| random.below(256) as u8).collect()
        } else {
            encoded[random.below(encoded.len() as u64) as usize][FRAME_HEADER_BYTES..].to_vec()
        };
        for _ in 0..random.below(4) {
            if !message.is_empty() {
                let at = random.below(message.len() as u64) as usize;
                message[at] = random.below(256) as u8;
            }
        }
        let mut bytes = FORMAT_VERSION.to_be_bytes().to_vec();
        bytes.extend(crc32c::crc32c(&message).to_be_bytes());
        bytes.extend(message);
        let bytes = Bytes::from(bytes);
        let _ = (decode_entry(&bytes), decode_membership(&bytes), decode_vote(&bytes));
    }
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let mut bytes = encode_entry(&entry(1, 1)).to_vec();
    bytes[1] = 2;
    assert_eq!(decode_entry(&bytes.into()), Err(DecodeError::Version(2)));
}

#[test]
fn a_decoded_proposal_is_a_slice_of_the_frame() {
    let encoded = encode_entry(&entry(3, 8));
    let decoded = decode_entry(&encoded).expect("a sound entry");
    let EntryPayload::Normal(Commands::One(envelope)) = decoded.payload else {
        panic!("a proposal was encoded");
    };
    let frame = encoded.as_ptr_range();
    let proposal = envelope.proposal.as_ptr_range();
    assert!(frame.start <= proposal.start && proposal.end <= frame.end);
}
