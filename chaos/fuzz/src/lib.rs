//! What the fuzzing targets do with their bytes: everything here decodes what others send or what lies on a disk.
//!
//! A target must not panic, whatever it gets, and what it accepted must hold together afterwards. `cargo xtask fuzz` runs
//! them; `docs/operations.md` says how. Checksums are made right where a format has them, because a fuzzer does not guess
//! them and a hostile peer computes them.

mod door;
mod operations;

use bytes::Bytes;
use prost::Message;
use quorate_kv::{Keyspace, KeyspaceDecoder};
use quorate_machine::{Envelope, Proposal, State, StateDecoder, apply, encode_snapshot};

pub use door::door;
pub use operations::kv_operations;

/// Blocks of a keyspace's snapshot; what decodes is used, encoded, and decoded to the same.
pub fn kv_snapshot(data: &[u8]) {
    let Some(keyspace) = decode_keyspace(blocks(data)) else { return };
    use_keyspace(&keyspace);
    let encoded: Vec<Vec<u8>> = keyspace.encode_blocks().collect();
    let again = decode_keyspace(encoded.iter().map(Vec::as_slice)).expect("what was encoded decodes");
    assert_eq!(hash(&keyspace), hash(&again), "a restored keyspace is the same");
}

/// Proposals as the log holds them, applied to one state; then the blocks of a state's snapshot.
pub fn proposals(data: &[u8]) {
    let mut state = State::new();
    for (index, proposal) in (1..).zip(blocks(data)) {
        let envelope = Envelope {
            time_ms: index,
            proposal: Bytes::copy_from_slice(proposal),
            ..Envelope::default()
        };
        if let Ok(decoded) = Proposal::decode(proposal) {
            let encoded = decoded.encode_to_vec();
            assert_eq!(Proposal::decode(encoded.as_slice()), Ok(decoded), "a proposal survives its encoding");
        }
        if apply(&mut state, index, &envelope).halt.is_some() {
            break;
        }
    }
    let before = state.state_hash();
    let mut decoder = StateDecoder::new();
    for block in encode_snapshot(&state) {
        decoder.push(&block).expect("what was encoded decodes");
    }
    assert_eq!(decoder.finish().expect("a whole state").state_hash(), before);
    let mut decoder = StateDecoder::new();
    for block in blocks(data) {
        if decoder.push(block).is_err() {
            return;
        }
    }
    if let Ok(state) = decoder.finish() {
        state.state_hash();
    }
}

/// Records of the log and the snapshot file, with right checksums.
pub fn log_records(data: &[u8]) {
    quorate_raft::testing::decode_log_record(data);
    quorate_raft::testing::decode_snapshot_file(data);
}

/// Frames between peers.
pub fn peer_messages(data: &[u8]) {
    quorate_raft::testing::decode_peer_frame(data);
}

/// JSON bodies of the gateway, for the method that the first byte chooses.
pub fn gateway_bodies(data: &[u8]) {
    let Some((method, body)) = data.split_first() else { return };
    quorate_etcd_api::fuzzing::gateway_body(usize::from(*method), body);
}

/// Cuts the input into pieces, each behind its length in two bytes, so that one input is a sequence.
pub(crate) fn blocks(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_at_checked(2)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let (block, rest) = rest.split_at(length.min(rest.len()));
        data = rest;
        Some(block)
    })
}

fn decode_keyspace<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> Option<Keyspace> {
    let mut decoder = KeyspaceDecoder::new();
    for block in blocks {
        decoder.push(block.to_vec()).ok()?;
    }
    decoder.finish().ok()
}

/// Looks at everything that clients could ask for.
pub(crate) fn use_keyspace(keyspace: &Keyspace) {
    let all = quorate_kv::RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..Default::default()
    };
    let found = keyspace.range(&all).expect("the newest revision can be read");
    assert_eq!(found.count as usize, found.kvs.len());
    keyspace.hash_kv(0).expect("the newest revision has a hash");
    for (id, ..) in keyspace.lease_grants() {
        keyspace.lease(id).expect("a lease that is listed");
    }
    if let Ok(history) = keyspace.events_from(keyspace.compact_revision().max(1)) {
        history.for_each(drop);
    }
}

pub(crate) fn hash(keyspace: &Keyspace) -> u32 {
    let mut hash = 0;
    keyspace.state_hash(&mut |bytes| hash = crc32c::crc32c_append(hash, bytes));
    hash
}
