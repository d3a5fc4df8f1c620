//! Imports: the whole content or nothing, through snapshots of the state, and beside keys that stay.

use bytes::Bytes;
use quorate_kv::*;

use crate::random::Random;
use crate::script::{hash, restore};

const SEEDS: u64 = 10;
const STEPS: usize = 400;

/// A keyspace with a random history.
fn filled(seed: u64) -> Keyspace {
    let (mut random, mut keyspace) = (Random::new(seed), Keyspace::new());
    for _ in 0..STEPS {
        let op = random.op(keyspace.revision());
        keyspace.apply(None, &op);
    }
    keyspace
}

fn blocks(keyspace: &Keyspace) -> Vec<Bytes> {
    keyspace.encode_blocks().map(Bytes::from).collect()
}

fn step(import: u64, position: usize, action: ImportAction, block: Bytes) -> KvOp {
    KvOp::Import(ImportStep {
        import,
        position: position as u64,
        action: action as i32,
        block,
    })
}

fn append(keyspace: &mut Keyspace, import: u64, position: usize, block: &Bytes) -> Result<KvResult, KvError> {
    let op = step(import, position, ImportAction::Append, block.clone());
    keyspace.apply(None, &op).result
}

fn commit(keyspace: &mut Keyspace, import: u64, position: usize) -> Result<KvResult, KvError> {
    let op = step(import, position, ImportAction::Commit, Bytes::new());
    keyspace.apply(None, &op).result
}

/// Cuts blocks into many small ones, each with a single record, so that every place of the content is a cut.
fn records(blocks: &[Bytes]) -> Vec<Bytes> {
    let mut records = Vec::new();
    for block in blocks {
        let (version, mut rest) = block.split_at(2);
        while !rest.is_empty() {
            let mut body = rest;
            let length = prost::decode_length_delimiter(&mut body).expect("a record");
            let end = rest.len() - body.len() + length;
            records.push(Bytes::from([version, &rest[..end]].concat()));
            rest = &rest[end..];
        }
    }
    records
}

#[test]
fn an_import_gives_the_same_keyspace_however_it_is_cut_and_restored() {
    for seed in 0..SEEDS {
        let source = filled(seed);
        let mut random = Random::new(seed + 1000);
        let mut target = Keyspace::new();
        let records = records(&blocks(&source));
        for (position, record) in records.iter().enumerate() {
            assert_eq!(
                append(&mut target, 7, position, record),
                Ok(KvResult::Import(Nothing {}))
            );
            assert_eq!((target.revision(), target.size_bytes()), (1, 0), "nothing is visible");
            if random.one_in(40) {
                let restored = restore(&target);
                assert_eq!(hash(&restored), hash(&target), "seed {seed} record {position}");
                target = restored;
            }
        }
        assert!(commit(&mut target, 7, records.len()).is_ok());
        assert_eq!(target.revision(), source.revision());
        assert_eq!(target.hash_kv(0), source.hash_kv(0), "seed {seed}");
        assert_eq!(target.leases(), source.leases());
        assert_eq!(target.users(), source.users());
        let events = |keyspace: &Keyspace| keyspace.events_from(keyspace.compact_revision()).map(Vec::from_iter);
        assert_eq!(events(&target), events(&source));
    }
}

#[test]
fn steps_out_of_order_end_the_import_and_another_one_replaces_it() {
    let source = blocks(&filled(3));
    let records = records(&source);
    let mut target = Keyspace::new();
    assert!(append(&mut target, 1, 0, &records[0]).is_ok());
    assert_eq!(append(&mut target, 2, 1, &records[1]), Err(KvError::ImportLost));
    assert!(
        append(&mut target, 1, 1, &records[1]).is_ok(),
        "a stranger does not disturb"
    );
    assert_eq!(append(&mut target, 1, 3, &records[3]), Err(KvError::ImportLost));
    assert_eq!(
        append(&mut target, 1, 2, &records[2]),
        Err(KvError::ImportLost),
        "it is given up"
    );
    assert!(append(&mut target, 1, 0, &records[0]).is_ok());
    assert!(append(&mut target, 2, 0, &records[0]).is_ok(), "the newest counts");
    assert_eq!(commit(&mut target, 1, 1), Err(KvError::ImportLost));
    let abort = step(2, 0, ImportAction::Abort, Bytes::new());
    assert!(target.apply(None, &abort).result.is_ok());
    assert_eq!(hash(&target), hash(&Keyspace::new()));
}

#[test]
fn keys_that_are_kept_are_put_again_on_top() {
    let source = filled(5);
    let mut target = Keyspace::new();
    let own = [("/own/a", "1"), ("/own/b", "2")].map(|(key, value)| SystemWrite::Put {
        key: key.into(),
        value: value.into(),
    });
    target.system_write(&own);
    let steps = blocks(&source);
    for (position, block) in steps.iter().enumerate() {
        let op = step(9, position, ImportAction::Append, block.clone());
        assert!(target.apply_keeping(None, &op, b"/own/").result.is_ok());
    }
    let op = step(9, steps.len(), ImportAction::Commit, Bytes::new());
    let mut without = target.clone();
    assert_eq!(without.apply(None, &op).result, Err(KvError::ImportNotEmpty));
    let applied = target.apply_keeping(None, &op, b"/own/");
    assert_eq!(applied.revision, source.revision() + 1);
    let events = applied.events.expect("the keys that stay");
    assert_eq!(
        events.iter().map(|event| &event.kv.key[..]).collect::<Vec<_>>(),
        [b"/own/a", b"/own/b"]
    );
    let before = target.hash_kv(source.revision()).map(|hash| hash.hash);
    assert_eq!(
        before,
        source.hash_kv(0).map(|hash| hash.hash),
        "below it everything is as it was"
    );
}

#[test]
fn an_import_above_the_quota_or_behind_the_keyspace_is_refused() {
    let source = blocks(&filled(5));
    let mut small = Keyspace::new();
    small.set_quota_bytes(1000);
    assert_eq!(append(&mut small, 1, 0, &source[0]), Err(KvError::NoSpace));
    let mut ahead = filled(6);
    for revision in 0..2000 {
        let key = Bytes::from_static(b"k");
        let value = Bytes::from(revision.to_string());
        ahead.system_write(&[SystemWrite::Put { key, value }]);
    }
    let everything = DeleteRangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        ..Default::default()
    };
    assert!(ahead.apply(None, &KvOp::DeleteRange(everything)).result.is_ok());
    for lease in ahead.leases() {
        ahead.expire_lease(lease, None);
    }
    assert_eq!(append(&mut ahead, 1, 0, &source[0]), Err(KvError::ImportBehind));
}

/// An etcd before 3.5.16 removes deletions made at the compact revision itself.
#[test]
fn the_changes_of_the_compact_revision_may_be_missing() {
    let mut writer = ImportWriter::new(6, 5, false, 1);
    let kv = |key: &str, revision: i64| KeyValue {
        key: key.to_owned().into(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        ..KeyValue::default()
    };
    assert!(writer.key(kv("old", 3), 0).is_none());
    assert!(writer.change(kv("new", 6), false).is_none());
    let steps = writer.finish();
    let mut target = Keyspace::new();
    assert!(append(&mut target, 1, 0, &steps[0]).is_ok());
    assert!(commit(&mut target, 1, 1).is_ok());
    assert_eq!((target.revision(), target.compact_revision()), (6, 5));
    let restored = restore(&target);
    assert_eq!(hash(&restored), hash(&target));
    assert_eq!(target.events_from(5).expect("readable").count(), 1);
    let compact = KvOp::Compact(CompactRequest { revision: 6 });
    assert!(target.apply(None, &compact).result.is_ok());
    while target.sweep(10) {}
    assert_eq!(hash(&restore(&target)), hash(&target));
}
