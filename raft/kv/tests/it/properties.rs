//! Seeded random histories against the naive model, with snapshots, clones and sweeps in between.

use crate::model::{Model, all_keys};
use crate::random::Random;
use crate::script::{check_always, hash, restore};
use quorate_kv::*;

const SEEDS: u64 = 40;
const STEPS: usize = 250;

#[test]
fn random_histories_agree_with_the_model() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let (mut keyspace, mut model) = (Keyspace::new(), Model::new());
        for step in 0..STEPS {
            let context = format!("seed {seed} step {step}");
            step_both(&mut random, &mut keyspace, &mut model, &context);
            compare_reads(&mut random, &keyspace, &model, &context);
            check_always(&keyspace);
            if random.one_in(20) {
                keyspace = restore(&keyspace);
            }
            if random.one_in(10) {
                keyspace.sweep(random.below(30));
            }
        }
        compare_everything(&keyspace, &model, &format!("seed {seed}"));
    }
}

fn step_both(random: &mut Random, keyspace: &mut Keyspace, model: &mut Model, context: &str) {
    if random.one_in(12) {
        let writes = random.system_writes();
        let before = model.revision();
        model.system_write(&writes);
        let events = keyspace.system_write(&writes);
        assert_eq!(events.is_some(), model.revision() > before, "{context}: {writes:?}");
        return;
    }
    let op = random.op(keyspace.revision());
    let before = (keyspace.revision(), hash(keyspace));
    let applied = keyspace.apply(None, &op);
    assert_eq!(applied.result, model.apply(&op), "{context}: {op:?}");
    assert_eq!(applied.revision, model.revision(), "{context}: {op:?}");
    match applied.events {
        Some(events) => {
            assert_eq!(events.revision(), before.0 + 1, "{context}: {op:?}");
            assert_eq!(
                Vec::from_iter(events.iter().cloned()),
                model.steps[events.revision() as usize].events,
                "{context}: {op:?}"
            );
        }
        None => assert_eq!(applied.revision, before.0, "{context}: {op:?}"),
    }
    if applied.result.is_err() {
        assert_eq!(hash(keyspace), before.1, "{context}: a refusal changes nothing: {op:?}");
    }
}

fn compare_reads(random: &mut Random, keyspace: &Keyspace, model: &Model, context: &str) {
    assert_eq!(keyspace.revision(), model.revision(), "{context}");
    assert_eq!(keyspace.size_bytes(), model.size_bytes(), "{context}");
    for _ in 0..3 {
        let request = random.range(keyspace.revision());
        assert_eq!(
            keyspace.range(&request),
            model.range(&request),
            "{context}: {request:?}"
        );
    }
}

fn compare_everything(keyspace: &Keyspace, model: &Model, context: &str) {
    for revision in model.compacted.max(1)..=model.revision() {
        let request = RangeRequest {
            key: vec![0].into(),
            range_end: vec![0].into(),
            revision,
            ..Default::default()
        };
        let kvs = keyspace.range(&request).unwrap().kvs;
        assert!(
            kvs.iter().eq(model.steps[revision as usize].keys.values()),
            "{context}: revision {revision}"
        );
        for key in all_keys() {
            let expected = model.steps[revision as usize].keys.get(&key).cloned();
            assert_eq!(
                keyspace.value_before(&key, revision + 1),
                expected,
                "{context}: {key:?} before {revision} + 1"
            );
        }
    }
    assert_eq!(keyspace.value_before(b"a", model.compacted), None, "{context}");
    let from = model.compacted.max(2);
    let events: Vec<_> = keyspace.events_from(from).unwrap().collect();
    let expected = &model.steps[from as usize..];
    assert_eq!(events.len(), expected.len(), "{context}");
    for (events, (revision, step)) in events.iter().zip((from..).zip(expected)) {
        assert_eq!(events.revision(), revision, "{context}");
        assert!(events.iter().eq(&step.events), "{context}: {events:?}");
    }
    assert!(
        keyspace
            .lease_ttls()
            .eq(model.leases.iter().map(|(id, ttl)| (*id, *ttl))),
        "{context}"
    );
    for id in keyspace.leases() {
        assert_eq!(
            keyspace.lease(id).unwrap().keys,
            model.lease_keys(id),
            "{context}: lease {id}"
        );
    }
}

/// Whatever happens between two looks at the leases, an expiry decided at the first ends a lease only if it is still the
/// same one.
#[test]
fn an_old_expiry_ends_no_lease_that_was_granted_later() {
    let (mut ended, mut spared) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut keyspace = Keyspace::new();
        for step in 0..STEPS {
            let seen: Vec<_> = keyspace.lease_grants().collect();
            // By id, what was granted since that look.
            let mut granted = std::collections::BTreeSet::new();
            for _ in 0..random.below(12) {
                let op = random.op(keyspace.revision());
                let done = keyspace.apply(None, &op).result.is_ok();
                if let (KvOp::LeaseGrant(request), true) = (&op, done) {
                    granted.insert(request.id);
                }
            }
            if random.one_in(5) {
                keyspace = restore(&keyspace);
            }
            let Some((id, grant, _)) = seen.get(random.below(seen.len().max(1))).copied() else {
                continue;
            };
            let is_the_same = keyspace.lease(id).is_some() && !granted.contains(&id);
            let applied = keyspace.expire_lease(id, Some(grant));
            let context = format!("seed {seed} step {step} lease {id} of grant {grant}");
            assert_eq!(applied.result.is_ok(), is_the_same, "{context}");
            ended += u32::from(is_the_same);
            spared += u32::from(!is_the_same && keyspace.lease(id).is_some());
        }
    }
    assert!(ended > 100 && spared > 20, "{ended} ended, {spared} spared");
}

#[test]
fn a_clone_never_changes() {
    let mut random = Random::new(7);
    let mut keyspace = Keyspace::new();
    let mut cuts: Vec<(Keyspace, u32, Model)> = Vec::new();
    let mut model = Model::new();
    for step in 0..400 {
        step_both(&mut random, &mut keyspace, &mut model, &format!("step {step}"));
        if step % 20 == 0 {
            cuts.push((keyspace.clone(), hash(&keyspace), model.clone()));
        }
    }
    while keyspace.sweep(usize::MAX) {}
    for (index, (cut, hash_then, model_then)) in cuts.iter().enumerate() {
        assert_eq!(hash(cut), *hash_then, "cut {index}");
        compare_everything(cut, model_then, &format!("cut {index}"));
    }
}

#[test]
fn equal_logs_give_equal_states_however_they_are_swept_and_restored() {
    let mut random = Random::new(11);
    let (mut plain, mut other) = (Keyspace::new(), Keyspace::new());
    for _ in 0..500 {
        let op = random.op(plain.revision());
        assert_eq!(plain.apply(None, &op), other.apply(None, &op));
        match random.below(6) {
            0 => other = restore(&other),
            1 => while other.sweep(3) {},
            _ => {}
        }
        assert_eq!(hash(&plain), hash(&other));
    }
}
