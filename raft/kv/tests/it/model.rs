//! A naive model of the store: a full copy of all keys per revision, and no index, sharing or sweep. Slow and simple.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_kv::*;

use crate::random::KEYS;

pub type Keys = BTreeMap<Bytes, KeyValue>;

/// Everything after one revision, and what the revision changed.
#[derive(Clone, Default)]
pub struct Step {
    pub keys: Keys,
    pub events: Vec<Event>,
}

#[derive(Clone)]
pub struct Model {
    /// `steps[r]` is revision `r`; 0 and 1 are empty.
    pub steps: Vec<Step>,
    pub compacted: i64,
    pub leases: BTreeMap<i64, i64>,
}

fn covers(key: &[u8], range_end: &[u8], candidate: &[u8]) -> bool {
    match range_end {
        [] => candidate == key,
        [0] => candidate >= key,
        end => candidate >= key && candidate < end,
    }
}

impl Model {
    pub fn new() -> Self {
        Model {
            steps: vec![Step::default(); 2],
            compacted: -1,
            leases: BTreeMap::new(),
        }
    }

    pub fn revision(&self) -> i64 {
        self.steps.len() as i64 - 1
    }

    pub fn keys(&self) -> &Keys {
        &self.steps.last().unwrap().keys
    }

    /// The revision that is being written, on top of the newest.
    fn draft(&self) -> Step {
        Step {
            keys: self.keys().clone(),
            events: Vec::new(),
        }
    }

    fn commit(&mut self, draft: Step) {
        if !draft.events.is_empty() {
            self.steps.push(draft);
        }
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        self.range_over(request, self.revision(), self.keys())
    }

    fn range_over(&self, request: &RangeRequest, latest: i64, newest: &Keys) -> Result<RangeResponse, KvError> {
        if request.revision > latest {
            return Err(KvError::FutureRevision);
        }
        let revision = if request.revision <= 0 {
            latest
        } else {
            request.revision
        };
        if revision < self.compacted {
            return Err(KvError::Compacted);
        }
        let keys = if revision == latest {
            newest
        } else {
            &self.steps[revision as usize].keys
        };
        let within = |kv: &&KeyValue| covers(&request.key, &request.range_end, &kv.key);
        let mut kvs: Vec<KeyValue> = keys.values().filter(within).cloned().collect();
        let count = kvs.len() as i64;
        if request.count_only {
            return Ok(RangeResponse {
                count,
                ..RangeResponse::default()
            });
        }
        kvs.retain(|kv| {
            (request.min_mod_revision == 0 || kv.mod_revision >= request.min_mod_revision)
                && (request.max_mod_revision == 0 || kv.mod_revision <= request.max_mod_revision)
                && (request.min_create_revision == 0 || kv.create_revision >= request.min_create_revision)
                && (request.max_create_revision == 0 || kv.create_revision <= request.max_create_revision)
        });
        let sorted = request.sort_order() != SortOrder::None;
        match request.sort_target() {
            SortTarget::Key => {}
            SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
            SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
            SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
            SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
        }
        assert!(
            sorted || request.sort_target() == SortTarget::Key,
            "the generator leaves etcd's odd case to a scenario"
        );
        if request.sort_order() == SortOrder::Descend {
            // Ties keep the order of their keys.
            kvs.reverse();
            let target = request.sort_target();
            let same = |a: &KeyValue, b: &KeyValue| match target {
                SortTarget::Key => false,
                SortTarget::Version => a.version == b.version,
                SortTarget::Create => a.create_revision == b.create_revision,
                SortTarget::Mod => a.mod_revision == b.mod_revision,
                SortTarget::Value => a.value == b.value,
            };
            kvs.chunk_by_mut(same).for_each(<[KeyValue]>::reverse);
        }
        let more = request.limit > 0 && kvs.len() > request.limit as usize;
        if more {
            kvs.truncate(request.limit as usize);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResponse { kvs, more, count })
    }

    fn put(&self, draft: &mut Step, request: &PutRequest) -> Result<PutResponse, KvError> {
        let before = draft.keys.get(&request.key).cloned();
        // As etcd: a put by itself asks for the lease first, one in a transaction for the key.
        if request.lease != 0 && !self.leases.contains_key(&request.lease) {
            return Err(KvError::LeaseNotFound);
        }
        if (request.ignore_value || request.ignore_lease) && before.is_none() {
            return Err(KvError::KeyNotFound);
        }
        let revision = self.revision() + 1;
        let kept = before.clone().unwrap_or_default();
        let kv = KeyValue {
            key: request.key.clone(),
            value: if request.ignore_value {
                kept.value
            } else {
                request.value.clone()
            },
            lease: if request.ignore_lease {
                kept.lease
            } else {
                request.lease
            },
            create_revision: before.as_ref().map_or(revision, |before| before.create_revision),
            mod_revision: revision,
            version: kept.version + 1,
        };
        draft.keys.insert(request.key.clone(), kv.clone());
        draft.events.push(Event {
            kind: EventKind::Put,
            kv,
        });
        Ok(PutResponse {
            prev_kv: before.filter(|_| request.prev_kv),
        })
    }

    fn delete(&self, draft: &mut Step, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let within = |kv: &&KeyValue| covers(&request.key, &request.range_end, &kv.key);
        let doomed: Vec<KeyValue> = draft.keys.values().filter(within).cloned().collect();
        for kv in &doomed {
            draft.keys.remove(&kv.key);
            let kv = KeyValue {
                key: kv.key.clone(),
                mod_revision: self.revision() + 1,
                ..KeyValue::default()
            };
            draft.events.push(Event {
                kind: EventKind::Delete,
                kv,
            });
        }
        let deleted = doomed.len() as i64;
        DeleteRangeResponse {
            deleted,
            prev_kvs: if request.prev_kv { doomed } else { Vec::new() },
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let within = |kv: &&KeyValue| covers(&compare.key, &compare.range_end, &kv.key);
        let mut kvs: Vec<KeyValue> = self.keys().values().filter(within).cloned().collect();
        if kvs.is_empty() {
            if matches!(compare.target, Some(CompareTarget::Value(_))) {
                return false;
            }
            kvs.push(KeyValue::default());
        }
        kvs.iter().all(|kv| {
            let ordering = match compare.target.as_ref().unwrap() {
                CompareTarget::Version(operand) => kv.version.cmp(operand),
                CompareTarget::Create(operand) => kv.create_revision.cmp(operand),
                CompareTarget::Mod(operand) => kv.mod_revision.cmp(operand),
                CompareTarget::Value(operand) => kv.value.cmp(operand),
                CompareTarget::Lease(operand) => kv.lease.cmp(operand),
            };
            match CompareResult::try_from(compare.result).unwrap() {
                CompareResult::Equal => ordering.is_eq(),
                CompareResult::Greater => ordering.is_gt(),
                CompareResult::Less => ordering.is_lt(),
                CompareResult::NotEqual => ordering.is_ne(),
            }
        })
    }

    /// Runs on the draft and stops at the first refusal; the caller throws the draft away then.
    fn txn(&self, draft: &mut Step, txn: &TxnRequest) -> Result<TxnResponse, KvError> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let mut responses = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            let kind = match op.kind.as_ref().unwrap() {
                RequestOpKind::Range(request) => {
                    if request.revision > self.revision() {
                        return Err(KvError::FutureRevision);
                    }
                    let latest = self.revision() + if draft.events.is_empty() { 0 } else { 1 };
                    ResponseOpKind::Range(self.range_over(request, latest, &draft.keys)?)
                }
                RequestOpKind::Put(request) => {
                    // Whether a key exists is asked of the state before, too.
                    if (request.ignore_value || request.ignore_lease) && !self.keys().contains_key(&request.key) {
                        return Err(KvError::KeyNotFound);
                    }
                    ResponseOpKind::Put(self.put(draft, request)?)
                }
                RequestOpKind::DeleteRange(request) => ResponseOpKind::DeleteRange(self.delete(draft, request)),
                RequestOpKind::Txn(nested) => ResponseOpKind::Txn(self.txn(draft, nested)?),
            };
            responses.push(ResponseOp { kind: Some(kind) });
        }
        Ok(TxnResponse { succeeded, responses })
    }

    pub fn apply(&mut self, op: &KvOp) -> Result<KvResult, KvError> {
        let mut draft = self.draft();
        let result = match op {
            KvOp::Put(request) => KvResult::Put(self.put(&mut draft, request)?),
            KvOp::DeleteRange(request) => KvResult::DeleteRange(self.delete(&mut draft, request)),
            KvOp::Txn(request) => {
                written(&request.success)?;
                written(&request.failure)?;
                KvResult::Txn(self.txn(&mut draft, request)?)
            }
            KvOp::Compact(request) if request.revision <= self.compacted => return Err(KvError::Compacted),
            KvOp::Compact(request) if request.revision > self.revision() => return Err(KvError::FutureRevision),
            KvOp::Compact(request) => {
                self.compacted = request.revision;
                KvResult::Compact(Nothing {})
            }
            KvOp::LeaseGrant(request) if self.leases.contains_key(&request.id) => return Err(KvError::LeaseExists),
            KvOp::LeaseGrant(request) => {
                let ttl_seconds = request.ttl_seconds.max(2);
                self.leases.insert(request.id, ttl_seconds);
                KvResult::LeaseGrant(LeaseGrantResponse {
                    id: request.id,
                    ttl_seconds,
                })
            }
            KvOp::LeaseRevoke(request) => {
                self.leases.remove(&request.id).ok_or(KvError::LeaseNotFound)?;
                for key in self.lease_keys(request.id) {
                    self.delete(
                        &mut draft,
                        &DeleteRangeRequest {
                            key,
                            ..Default::default()
                        },
                    );
                }
                KvResult::LeaseRevoke(Nothing {})
            }
            other => panic!("the model does not know {other:?}"),
        };
        self.commit(draft);
        Ok(result)
    }

    pub fn system_write(&mut self, writes: &[SystemWrite]) {
        let mut draft = self.draft();
        for write in writes {
            match write {
                SystemWrite::Put { key, value } => {
                    let request = PutRequest {
                        key: key.clone(),
                        value: value.clone(),
                        ..Default::default()
                    };
                    self.put(&mut draft, &request).unwrap();
                }
                SystemWrite::Delete { key } => {
                    self.delete(
                        &mut draft,
                        &DeleteRangeRequest {
                            key: key.clone(),
                            ..Default::default()
                        },
                    );
                }
            }
        }
        self.commit(draft);
    }

    pub fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        self.keys()
            .values()
            .filter(|kv| kv.lease == id)
            .map(|kv| kv.key.clone())
            .collect()
    }

    /// Accounted bytes of everything that can still be read.
    pub fn size_bytes(&self) -> u64 {
        let cost = |kv: &KeyValue| (kv.key.len() + kv.value.len()) as u64 + VERSION_OVERHEAD_BYTES;
        let oldest = self.compacted.max(1) as usize;
        let live: u64 = self.steps[oldest].keys.values().map(cost).sum();
        let later: u64 = self.steps[oldest + 1..]
            .iter()
            .flat_map(|step| &step.events)
            .map(|event| cost(&event.kv))
            .sum();
        live + later
    }
}

/// Keys that a branch puts and keys that it deletes, out of all keys that the generator makes; a key written twice is refused
/// as etcd refuses it.
fn written(ops: &[RequestOp]) -> Result<(BTreeSet<Bytes>, BTreeSet<Bytes>), KvError> {
    let (mut puts, mut deletes) = (BTreeSet::new(), BTreeSet::new());
    for op in ops {
        if let Some(RequestOpKind::DeleteRange(request)) = &op.kind
            && request.range_end != [0][..]
        {
            deletes.extend(all_keys().filter(|key| covers(&request.key, &request.range_end, key)));
        }
    }
    for op in ops {
        if let Some(RequestOpKind::Txn(nested)) = &op.kind {
            let (then, otherwise) = (written(&nested.success)?, written(&nested.failure)?);
            let nested_puts: BTreeSet<Bytes> = then.0.union(&otherwise.0).cloned().collect();
            if !nested_puts.is_disjoint(&puts) || !nested_puts.is_disjoint(&deletes) {
                return Err(KvError::DuplicateKey);
            }
            puts.extend(nested_puts);
            deletes.extend(then.1);
            deletes.extend(otherwise.1);
        }
    }
    for op in ops {
        if let Some(RequestOpKind::Put(request)) = &op.kind
            && (deletes.contains(&request.key) || !puts.insert(request.key.clone()))
        {
            return Err(KvError::DuplicateKey);
        }
    }
    Ok((puts, deletes))
}

pub fn all_keys() -> impl Iterator<Item = Bytes> {
    KEYS.into_iter().map(Bytes::from)
}
