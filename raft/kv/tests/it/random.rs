//! Seeded random requests.

use bytes::Bytes;
use quorate_kv::*;

/// All keys that are ever written, some of them prefixes of others.
pub const KEYS: [&str; 12] = ["a", "aa", "ab", "b", "b\0", "c", "ca", "d", "e", "f", "fa", "g"];

/// A linear congruential generator: small, and the same on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }

    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn key(&mut self) -> Bytes {
        KEYS[self.below(KEYS.len())].into()
    }

    fn range_end(&mut self) -> Bytes {
        match self.below(6) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(&[0]),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Bytes {
        Bytes::from(vec![b'v'; self.below(4)])
    }

    fn near(&mut self, revision: i64) -> i64 {
        revision + 1 - self.below(12) as i64
    }

    fn lease(&mut self) -> i64 {
        if self.one_in(3) { 1 + self.below(4) as i64 } else { 0 }
    }

    fn put(&mut self) -> PutRequest {
        let (ignore_value, ignore_lease) = (self.one_in(6), self.one_in(6));
        PutRequest {
            key: self.key(),
            value: if ignore_value { Bytes::new() } else { self.value() },
            lease: if ignore_lease { 0 } else { self.lease() },
            prev_kv: self.one_in(2),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            prev_kv: self.one_in(2),
        }
    }

    pub fn range(&mut self, revision: i64) -> RangeRequest {
        let filter = |random: &mut Random| {
            if random.one_in(4) {
                random.near(revision).max(0)
            } else {
                0
            }
        };
        let sort_order = self.below(3) as i32;
        RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: if self.one_in(2) { self.below(4) as i64 } else { 0 },
            revision: if self.one_in(2) { self.near(revision).max(0) } else { 0 },
            sort_order,
            sort_target: if sort_order == 0 { 0 } else { self.below(5) as i32 },
            keys_only: self.one_in(5),
            count_only: self.one_in(5),
            min_mod_revision: filter(self),
            max_mod_revision: filter(self),
            min_create_revision: filter(self),
            max_create_revision: filter(self),
        }
    }

    fn compare(&mut self, revision: i64) -> Compare {
        let number = self.near(revision).max(0);
        let target = match self.below(5) {
            0 => CompareTarget::Version(self.below(3) as i64),
            1 => CompareTarget::Create(number),
            2 => CompareTarget::Mod(number),
            3 => CompareTarget::Value(self.value()),
            _ => CompareTarget::Lease(self.lease()),
        };
        let range_end = if self.one_in(3) { self.range_end() } else { Bytes::new() };
        Compare {
            result: self.below(4) as i32,
            key: self.key(),
            range_end,
            target: Some(target),
        }
    }

    fn txn(&mut self, revision: i64, depth: usize) -> TxnRequest {
        let branch = |random: &mut Random| -> Vec<RequestOp> {
            let kinds = random.below(4);
            let op = |_| {
                let kind = match random.below(8) {
                    0 | 1 => RequestOpKind::Range(random.range(revision)),
                    2 => RequestOpKind::DeleteRange(random.delete()),
                    3 if depth < 3 => RequestOpKind::Txn(random.txn(revision, depth + 1)),
                    _ => RequestOpKind::Put(random.put()),
                };
                RequestOp { kind: Some(kind) }
            };
            (0..kinds).map(op).collect()
        };
        let (success, failure) = (branch(self), branch(self));
        let compare = (0..self.below(3)).map(|_| self.compare(revision)).collect();
        TxnRequest {
            compare,
            success,
            failure,
        }
    }

    pub fn op(&mut self, revision: i64) -> KvOp {
        match self.below(20) {
            0..7 => KvOp::Put(self.put()),
            7..10 => KvOp::DeleteRange(self.delete()),
            10..16 => KvOp::Txn(self.txn(revision, 0)),
            16 => KvOp::Compact(CompactRequest {
                revision: self.near(revision).max(0),
            }),
            17 | 18 => KvOp::LeaseGrant(LeaseGrantRequest {
                id: 1 + self.below(4) as i64,
                ttl_seconds: self.below(9) as i64,
            }),
            _ => KvOp::LeaseRevoke(LeaseRevokeRequest {
                id: 1 + self.below(4) as i64,
            }),
        }
    }

    pub fn system_writes(&mut self) -> Vec<SystemWrite> {
        let write = |_| match self.one_in(2) {
            true => SystemWrite::Put {
                key: self.key(),
                value: self.value(),
            },
            false => SystemWrite::Delete { key: self.key() },
        };
        (0..3).map(write).collect()
    }
}
