//! Lines that are operations of KV clients.

use bytes::Bytes;
use quorate_kv::*;
use quorate_machine::*;

use super::parse::Line;
use super::{Scenario, build};

impl Scenario {
    /// `kv USER put KEY VALUE [lease=ID]`, `kv USER delete KEY [END]`, `kv USER txn-put KEY`, `kv USER grant ID TTL`,
    /// `kv USER revoke ID`.
    pub fn kv(&mut self, line: &Line<'_>) {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let put = |key: &str, value: &str| PutRequest {
            key: bytes(key),
            value: bytes(value),
            lease: line.number_option("lease").unwrap_or(0) as i64,
            ..PutRequest::default()
        };
        let op = match line.word(2) {
            "put" => KvOp::Put(put(line.word(3), line.word(4))),
            "delete" => KvOp::DeleteRange(DeleteRangeRequest {
                key: bytes(line.word(3)),
                range_end: bytes(line.words.get(4).copied().unwrap_or_default()),
                prev_kv: false,
            }),
            "txn-put" => {
                let request = RequestOp {
                    kind: Some(RequestOpKind::Put(put(line.word(3), "x"))),
                };
                KvOp::Txn(TxnRequest {
                    failure: vec![request],
                    ..TxnRequest::default()
                })
            }
            "alarms" => KvOp::Alarm(AlarmRequest::default()),
            "disarm" => KvOp::Alarm(AlarmRequest {
                action: AlarmAction::Deactivate as i32,
                member: etcd_member_id(etcd_cluster_id(build::id(1, 1), build::instance()), line.number(3)),
                kind: AlarmKind::NoSpace as i32,
            }),
            "compact" => KvOp::Compact(CompactRequest {
                revision: line.number(3) as i64,
            }),
            "fill" => KvOp::Put(PutRequest {
                key: bytes(line.word(3)),
                value: Bytes::from(vec![b'v'; line.number(4) as usize]),
                ..PutRequest::default()
            }),
            "revoke" => KvOp::LeaseRevoke(LeaseRevokeRequest {
                id: line.number(3) as i64,
            }),
            "grant" => KvOp::LeaseGrant(LeaseGrantRequest {
                id: line.number(3) as i64,
                ttl_seconds: line.number(4) as i64,
            }),
            other => panic!("unknown kv operation {other}"),
        };
        let auth_revision = self
            .state
            .keyspace(&build::instance())
            .map_or(0, Keyspace::auth_revision);
        let caller = KvCaller {
            user: line.word(1).to_owned(),
            auth_revision,
        };
        // `from=other`: authenticated on another instance's port.
        let of = match line.option("from") {
            Some(_) => build::id(5, 2),
            None => build::instance(),
        };
        let author = Principal {
            kind: Some(PrincipalKind::Kv(KvPrincipal::new(of, caller))),
            source: "192.0.2.9:1".to_owned(),
        };
        self.apply_as(
            author,
            Command::Kv(KvCommand {
                instance: build::instance(),
                op: Some(op),
            }),
        );
    }
}
