//! Transactions: all comparisons on the state before, then all checks, then the operations in order as one revision.

use std::cmp::Ordering;

use crate::error::KvError;
use crate::keyrange::{Intervals, KeyRange};
use crate::lease::Leases;
use crate::range;
use crate::store::Store;
use crate::types::*;
use crate::writer::Writer;

/// Outcome of the comparisons, of nested transactions too, in the order in which execution meets them.
type Path = Vec<bool>;

/// Where operations go. Read-only transactions run without a log entry and without write access.
pub(crate) enum Target<'a, 'b> {
    Read(&'a Store),
    Write(&'a mut Writer<'b>),
}

/// Checks a validated transaction against the state and tells which branches run. Once this succeeds [`execute`] cannot
/// fail.
pub(crate) fn prepare(store: &Store, leases: &Leases, txn: &TxnRequest) -> Result<Path, KvError> {
    let mut path = Path::new();
    resolve(store, txn, &mut path);
    let mut check = Check {
        store,
        leases,
        deleted: Intervals::default(),
    };
    check.branch(txn, &mut path.iter())?;
    Ok(path)
}

/// Runs the branches that `path` names.
pub(crate) fn execute(
    target: &mut Target<'_, '_>,
    txn: &TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
) -> TxnResponse {
    let (succeeded, ops) = chosen(txn, path);
    let responses = ops
        .iter()
        .map(|op| ResponseOp {
            kind: Some(execute_op(target, op, path)),
        })
        .collect();
    TxnResponse { succeeded, responses }
}

fn execute_op(target: &mut Target<'_, '_>, op: &RequestOp, path: &mut std::slice::Iter<'_, bool>) -> ResponseOpKind {
    match (kind(op), target) {
        (RequestOpKind::Txn(nested), target) => ResponseOpKind::Txn(execute(target, nested, path)),
        (RequestOpKind::Range(request), target) => {
            let response = match target {
                Target::Read(store) => range::range(store, request, store.revision),
                Target::Write(writer) => range::range(writer.store(), request, writer.latest_revision()),
            };
            ResponseOpKind::Range(response.expect("revisions were checked before the transaction ran"))
        }
        (RequestOpKind::Put(request), Target::Write(writer)) => ResponseOpKind::Put(put(writer, request)),
        (RequestOpKind::DeleteRange(request), Target::Write(writer)) => {
            ResponseOpKind::DeleteRange(delete_range(writer, request))
        }
        (RequestOpKind::Put(_) | RequestOpKind::DeleteRange(_), Target::Read(_)) => {
            panic!("a transaction that writes must go through the log")
        }
    }
}

/// Executes a put that passed [`check_put`].
pub(crate) fn put(writer: &mut Writer<'_>, request: &PutRequest) -> PutResponse {
    let (mut value, mut lease) = (request.value.clone(), request.lease);
    if request.ignore_value || request.ignore_lease {
        let existing = writer
            .store()
            .current
            .get(&request.key[..])
            .expect("the key was checked to exist")
            .kv();
        if request.ignore_value {
            value = existing.value.clone();
        }
        if request.ignore_lease {
            lease = existing.lease;
        }
    }
    let previous = writer.put(request.key.clone(), value, lease);
    PutResponse {
        prev_kv: previous.filter(|_| request.prev_kv).map(|version| version.kv().clone()),
    }
}

pub(crate) fn delete_range(writer: &mut Writer<'_>, request: &DeleteRangeRequest) -> DeleteRangeResponse {
    let previous = writer.delete_range(KeyRange::new(&request.key, &request.range_end));
    let deleted = previous.len() as i64;
    let prev_kvs = match request.prev_kv {
        true => previous.iter().map(|version| version.kv().clone()).collect(),
        false => Vec::new(),
    };
    DeleteRangeResponse { deleted, prev_kvs }
}

/// Checks a put against the state: the key must exist where something of it is to be kept, and the lease must exist.
pub(crate) fn check_put(store: &Store, leases: &Leases, request: &PutRequest) -> Result<(), KvError> {
    if (request.ignore_value || request.ignore_lease) && !store.current.contains_key(&request.key[..]) {
        return Err(KvError::KeyNotFound);
    }
    if request.lease != 0 && !leases.exists(request.lease) {
        return Err(KvError::LeaseNotFound);
    }
    Ok(())
}

fn kind(op: &RequestOp) -> &RequestOpKind {
    op.kind.as_ref().expect("validation refuses empty operations")
}

fn chosen<'t>(txn: &'t TxnRequest, path: &mut std::slice::Iter<'_, bool>) -> (bool, &'t [RequestOp]) {
    let succeeded = *path
        .next()
        .expect("the path has one entry for each transaction that runs");
    (succeeded, if succeeded { &txn.success } else { &txn.failure })
}

fn resolve(store: &Store, txn: &TxnRequest, path: &mut Path) {
    let succeeded = txn.compare.iter().all(|compare| holds(store, compare));
    path.push(succeeded);
    for op in if succeeded { &txn.success } else { &txn.failure } {
        if let RequestOpKind::Txn(nested) = kind(op) {
            resolve(store, nested, path);
        }
    }
}

/// Whether a comparison holds for every key of its range. Without any key, a comparison with a value fails (an absent value
/// is not an empty one) and all others compare with 0.
fn holds(store: &Store, compare: &Compare) -> bool {
    let mut versions = store
        .scan_current(KeyRange::new(&compare.key, &compare.range_end))
        .peekable();
    if versions.peek().is_none() {
        return !matches!(compare.target, Some(CompareTarget::Value(_))) && holds_for(compare, &KeyValue::default());
    }
    versions.all(|version| holds_for(compare, version.kv()))
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let ordering = match &compare.target {
        Some(CompareTarget::Version(operand)) => kv.version.cmp(operand),
        Some(CompareTarget::Create(operand)) => kv.create_revision.cmp(operand),
        Some(CompareTarget::Mod(operand)) => kv.mod_revision.cmp(operand),
        Some(CompareTarget::Value(operand)) => kv.value.cmp(operand),
        Some(CompareTarget::Lease(operand)) => kv.lease.cmp(operand),
        // A target that etcd does not know compares as equal there.
        None => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        // etcd takes an unknown operator for one that always holds.
        Err(_) => true,
    }
}

/// The checks against the state, on what will run only.
struct Check<'a> {
    store: &'a Store,
    leases: &'a Leases,
    /// Ranges deleted by earlier operations.
    deleted: Intervals<'a>,
}

impl<'a> Check<'a> {
    fn branch(&mut self, txn: &'a TxnRequest, path: &mut std::slice::Iter<'_, bool>) -> Result<(), KvError> {
        for op in chosen(txn, path).1 {
            match kind(op) {
                RequestOpKind::Range(request) => self.range(request)?,
                RequestOpKind::Put(request) => self.put(request)?,
                RequestOpKind::DeleteRange(request) => {
                    let range = KeyRange::new(&request.key, &request.range_end);
                    self.deleted.insert(range.start(), range.limit());
                }
                RequestOpKind::Txn(nested) => self.branch(nested, path)?,
            }
        }
        Ok(())
    }

    /// Unlike a read of its own, a read in a transaction takes a negative revision for a compacted one.
    fn range(&self, request: &RangeRequest) -> Result<(), KvError> {
        match request.revision {
            0 => Ok(()),
            revision if revision > self.store.revision => Err(KvError::FutureRevision),
            revision if revision < self.store.compact_revision => Err(KvError::Compacted),
            _ => Ok(()),
        }
    }

    fn put(&self, request: &PutRequest) -> Result<(), KvError> {
        check_put(self.store, self.leases, request)?;
        // The rule against duplicate keys lets a few deletions before a put of the same key pass (etcd's does too, and then
        // panics here); nothing is left of which the value or the lease could be kept.
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && self.deleted.contains(&request.key) {
            return Err(KvError::KeyNotFound);
        }
        Ok(())
    }
}
