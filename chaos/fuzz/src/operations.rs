//! Requests of clients, from their wire form to the state.

use prost::Message;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_kv::{self as kv, Keyspace, KvCaller, KvOp, validate};

use crate::{blocks, hash, use_keyspace};

/// gRPC requests and operations of the log on one keyspace. The first byte of each piece chooses what the rest is.
pub fn kv_operations(data: &[u8]) {
    let mut keyspace = Keyspace::new();
    for block in blocks(data) {
        let Some((kind, message)) = block.split_first() else { continue };
        let Some(op) = operation(*kind, message) else { continue };
        let caller = (kind & 0x80 != 0).then(|| KvCaller {
            user: "root".to_owned(),
            auth_revision: keyspace.auth_revision(),
        });
        let before = hash(&keyspace);
        let revision = keyspace.revision();
        let valid = validate(&op).is_ok();
        if let KvOp::Txn(txn) = &op
            && valid
            && Keyspace::txn_is_read_only(txn)
        {
            // A refusal is as good as an answer.
            let _ = keyspace.read_txn(txn);
        }
        let applied = keyspace.apply(caller.as_ref(), &op);
        assert!(keyspace.revision() == revision || keyspace.revision() == revision + 1 || matches!(op, KvOp::Import(_)));
        match &applied.result {
            Ok(_) => assert!(valid, "what is not valid is not carried out"),
            Err(_) => assert_eq!(hash(&keyspace), before, "a refusal changes nothing"),
        }
        applied.into_reply().encode_to_vec();
    }
    use_keyspace(&keyspace);
    let encoded: Vec<Vec<u8>> = keyspace.encode_blocks().collect();
    let mut decoder = kv::KeyspaceDecoder::new();
    for block in encoded {
        decoder.push(block).expect("what was encoded decodes");
    }
    let restored = decoder.finish().expect("a whole keyspace");
    assert_eq!(hash(&keyspace), hash(&restored), "a restored keyspace is the same");
}

fn operation(kind: u8, message: &[u8]) -> Option<KvOp> {
    fn request<W: Message + Default, R: From<W>>(message: &[u8]) -> Option<R> {
        W::decode(message).ok().map(R::from)
    }
    Some(match kind & 0x7 {
        0 => KvOp::Put(request::<pb::PutRequest, _>(message)?),
        1 => KvOp::DeleteRange(request::<pb::DeleteRangeRequest, _>(message)?),
        2 | 3 => KvOp::Txn(request::<pb::TxnRequest, _>(message)?),
        4 => {
            let asked = pb::LeaseGrantRequest::decode(message).ok()?;
            KvOp::LeaseGrant(kv::LeaseGrantRequest {
                id: asked.id,
                ttl_seconds: asked.ttl,
            })
        }
        5 => {
            let asked = pb::LeaseRevokeRequest::decode(message).ok()?;
            KvOp::LeaseRevoke(kv::LeaseRevokeRequest { id: asked.id })
        }
        6 => {
            let asked = pb::CompactionRequest::decode(message).ok()?;
            KvOp::Compact(kv::CompactRequest {
                revision: asked.revision,
            })
        }
        // Users, roles, alarms, imports, as the log holds them.
        _ => Logged::decode(message).ok()?.op?,
    })
}

/// An operation of any kind, as commands hold it.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Logged {
    #[prost(
        oneof = "KvOp",
        tags = "1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 30"
    )]
    op: Option<KvOp>,
}
