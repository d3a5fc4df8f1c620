//! Writing a keyspace into a snapshot, and feeding it to a hash.

use prost::Message;

use crate::keyspace::Keyspace;
use crate::record::*;
use crate::types::*;

/// Version of the block format, in front of every block.
pub(crate) const FORMAT_VERSION: u16 = 1;

/// Size, in bytes, after which a block is closed. A block is larger only by its last record.
const BLOCK_TARGET_BYTES: usize = 1 << 20;

impl Keyspace {
    /// The whole keyspace as blocks of about 1 MiB at most (one record more, where a value is large), made one at a time, so
    /// that a snapshot of a clone needs no second copy in memory. [`crate::KeyspaceDecoder`] reads them.
    ///
    /// Equal keyspaces give equal blocks, however they came about.
    pub fn encode_blocks(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut records = self.records();
        let mut count = 0;
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let mut block = FORMAT_VERSION.to_le_bytes().to_vec();
            while !ended && block.len() < BLOCK_TARGET_BYTES {
                let kind = records.next().unwrap_or_else(|| {
                    ended = true;
                    RecordKind::End(EndRecord { records: count })
                });
                count += 1;
                let record = Record { kind: Some(kind) };
                record
                    .encode_length_delimited(&mut block)
                    .expect("a vector grows as needed");
            }
            Some(block)
        })
    }

    /// Feeds every domain value, in defined order and with its length, to `hash`. Equal keyspaces feed equal bytes, whatever
    /// their history of clones, sweeps and snapshots. Takes time in proportion to the whole content; on a clone it needs
    /// not hold up the original.
    pub fn state_hash(&self, hash: &mut impl FnMut(&[u8])) {
        for record in self.records() {
            feed(&record, hash);
        }
    }
}

fn feed(record: &RecordKind, hash: &mut impl FnMut(&[u8])) {
    match record {
        RecordKind::Header(header) => {
            feed_numbers(
                hash,
                [1, header.revision, header.compact_revision, header.quota_bytes as i64],
            );
            feed_numbers(
                hash,
                [
                    header.auth_enabled as i64,
                    header.auth_revision as i64,
                    header.change_digest as i64,
                    header.last_grant as i64,
                ],
            );
        }
        RecordKind::Alarm(alarm) => feed_numbers(hash, [8, alarm.kind as i64, alarm.member as i64]),
        RecordKind::Lease(lease) => feed_numbers(hash, [2, lease.id, lease.ttl_seconds, lease.grant as i64]),
        RecordKind::User(user) => {
            feed_numbers(
                hash,
                [
                    3,
                    user.no_password as i64,
                    user.revision as i64,
                    user.roles.len() as i64,
                ],
            );
            feed_bytes(hash, user.name.as_bytes());
            feed_bytes(hash, &user.password_hash);
            user.roles.iter().for_each(|role| feed_bytes(hash, role.as_bytes()));
        }
        RecordKind::Role(role) => {
            feed_numbers(hash, [4, role.permissions.len() as i64]);
            feed_bytes(hash, role.name.as_bytes());
            for permission in &role.permissions {
                feed_numbers(hash, [permission.perm_type as i64]);
                feed_bytes(hash, &permission.key);
                feed_bytes(hash, &permission.range_end);
            }
        }
        RecordKind::Key(key) => {
            feed_kv(hash, 5, &key.kv);
            feed_numbers(hash, [key.sub as i64]);
        }
        RecordKind::Change(change) => feed_kv(hash, if change.deleted { 7 } else { 6 }, &change.kv),
        RecordKind::Import(import) => {
            feed_numbers(hash, [8, import.import as i64]);
            feed_bytes(hash, &import.block);
        }
        RecordKind::End(_) => unreachable!("the end is a mark of the encoding, not content"),
    }
}

fn feed_kv(hash: &mut impl FnMut(&[u8]), mark: i64, kv: &KeyValue) {
    feed_numbers(hash, [mark, kv.create_revision, kv.mod_revision, kv.version, kv.lease]);
    feed_bytes(hash, &kv.key);
    feed_bytes(hash, &kv.value);
}

fn feed_numbers<const N: usize>(hash: &mut impl FnMut(&[u8]), numbers: [i64; N]) {
    numbers.iter().for_each(|number| hash(&number.to_le_bytes()));
}

fn feed_bytes(hash: &mut impl FnMut(&[u8]), bytes: &[u8]) {
    hash(&(bytes.len() as u64).to_le_bytes());
    hash(bytes);
}
