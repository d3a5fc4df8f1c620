//! Keys, ranges, puts, deletions and reads.

use bytes::Bytes;
use rand::RngExt;

use super::{Generator, RESERVED_FROM, RESERVED_TO, World};
use crate::differential::operation::bytes;
use crate::wire::etcdserverpb as pb;

/// Few enough to meet each other often.
const KEYS: &[&str] = &[
    "a", "b", "b\0", "c", "dir/", "dir/1", "dir/2", "dir/3", "dir0", "k", "kk", "m", "z", "\u{7f}", "!", "\0", "\0\0",
];
/// Of a value that is large but accepted, and of one that is not.
const LARGE_BYTES: usize = 200 << 10;
const TOO_LARGE_BYTES: usize = 1_572_900;

impl Generator {
    pub(super) fn key(&mut self) -> Bytes {
        match self.random.random_range(0..100) {
            0 => Bytes::new(),
            1 => Bytes::from_static(b"\xff"),
            2 => Bytes::from_static(b"\xff\xff\xff"),
            3..40 => {
                let number = self.random.random_range(0..20);
                bytes(&format!("n/{number:02}"))
            }
            _ => bytes(self.pick::<&str>(KEYS)),
        }
    }

    /// A key and a range end: one key, a span, a reversed span, a prefix, everything from a key on, everything.
    pub(super) fn key_range(&mut self) -> (Bytes, Bytes) {
        match self.random.random_range(0..20) {
            0..8 => (self.key(), Bytes::new()),
            8..12 => (self.key(), self.key()),
            12..14 => (self.key(), Bytes::from_static(b"\0")),
            14..16 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            16..18 => (bytes("n/"), bytes("n0")),
            18 => (Bytes::new(), self.key()),
            _ => (bytes("dir/"), bytes("dir0")),
        }
    }

    fn value(&mut self) -> Bytes {
        match self.random.random_range(0..10_000) {
            0..3 => Bytes::from(vec![b'v'; LARGE_BYTES]),
            3 => Bytes::from(vec![b'V'; TOO_LARGE_BYTES]),
            4..1_000 => Bytes::new(),
            1_000..2_000 => Bytes::from_static(b"\0\xff\xfe"),
            _ => bytes(&format!("v{}", self.random.random_range(0..6))),
        }
    }

    pub(super) fn put(&mut self) -> pb::PutRequest {
        let ignore_value = self.chance(8);
        let ignore_lease = self.chance(8);
        let given_too = self.chance(15);
        pb::PutRequest {
            key: self.key(),
            value: if ignore_value && !given_too {
                Bytes::new()
            } else {
                self.value()
            },
            lease: if self.chance(25) && (!ignore_lease || given_too) {
                self.lease()
            } else {
                0
            },
            prev_kv: self.chance(30),
            ignore_value,
            ignore_lease,
        }
    }

    pub(super) fn delete_range(&mut self) -> pb::DeleteRangeRequest {
        let (mut key, mut range_end) = match self.chance(75) {
            true => (self.key(), Bytes::new()),
            false => self.key_range(),
        };
        // What meets the machine's own keys is refused as a whole.
        let open = range_end[..] == [0];
        if !range_end.is_empty() && key[..] < *RESERVED_TO && (open || range_end[..] > *RESERVED_FROM) {
            key = bytes("dir/");
            if !open {
                range_end = bytes("dir0");
            }
        }
        pb::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.chance(40),
        }
    }

    pub(super) fn range(&mut self, world: &World) -> pb::RangeRequest {
        let (key, range_end) = self.key_range();
        let mut request = pb::RangeRequest {
            key,
            range_end,
            ..Default::default()
        };
        if self.chance(40) {
            request.revision = self.revision(world);
        }
        if self.chance(30) {
            request.limit = *self.pick(&[1, 2, 3, 5, 100, -1, i64::MAX, i64::MIN]);
        }
        if self.chance(30) {
            request.sort_order = *self.pick(&[0, 1, 2, 1, 2, 3, -1]);
            request.sort_target = *self.pick(&[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, -1]);
        }
        if self.chance(15) {
            request.min_mod_revision = self.revision(world);
        }
        if self.chance(10) {
            request.max_mod_revision = self.revision(world);
        }
        if self.chance(10) {
            request.min_create_revision = self.revision(world);
        }
        if self.chance(10) {
            request.max_create_revision = self.revision(world);
        }
        request.keys_only = self.chance(15);
        request.count_only = self.chance(10);
        request.serializable = self.chance(30);
        request
    }
}
