//! Checks of a request that need no state, in etcd's order and with etcd's answers.

use std::collections::BTreeSet;

use crate::error::KvError;
use crate::keyrange::{Intervals, KeyRange, Limit};
use crate::lease::MAX_LEASE_TTL_SECONDS;
use crate::op::*;
use crate::types::*;

/// Most comparisons, and most operations of one branch, of a transaction. A nested transaction gets what its parent leaves.
pub const MAX_TXN_OPS: usize = 128;

/// Deepest nesting of transactions. etcd has no such limit; a log entry nested deeper could not be decoded again.
pub const MAX_TXN_DEPTH: usize = 32;

/// Largest encoded operation, in bytes, as in etcd.
pub const MAX_REQUEST_BYTES: usize = 1_572_864;

/// Longest name of a user or a role, and longest password hash, in bytes. etcd has no limit of its own; every request that
/// carries a name is checked against all of them.
pub const MAX_AUTH_NAME_BYTES: usize = 1_024;

/// Checks an operation without looking at any state: required fields, limits, options that exclude each other, and keys that
/// one transaction would write twice.
///
/// # Errors
///
/// The refusal that etcd gives for the same request.
pub fn validate(op: &KvOp) -> Result<(), KvError> {
    match op {
        KvOp::Put(request) => validate_put(request)?,
        KvOp::DeleteRange(request) => require_key(&request.key)?,
        KvOp::Txn(request) => validate_txn(request)?,
        KvOp::LeaseGrant(request) if request.id == 0 => return Err(KvError::LeaseNotFound),
        KvOp::LeaseGrant(request) if request.ttl_seconds > MAX_LEASE_TTL_SECONDS => {
            return Err(KvError::LeaseTtlTooLarge);
        }
        KvOp::UserAdd(user) if user.name.is_empty() => return Err(KvError::UserEmpty),
        KvOp::UserAdd(user) | KvOp::UserChangePassword(user)
            if user.name.len().max(user.password_hash.len()) > MAX_AUTH_NAME_BYTES =>
        {
            return Err(KvError::RequestTooLarge);
        }
        KvOp::RoleAdd(role) if role.is_empty() => return Err(KvError::RoleEmpty),
        KvOp::RoleAdd(role) if role.len() > MAX_AUTH_NAME_BYTES => return Err(KvError::RequestTooLarge),
        KvOp::RoleGrantPermission(request) => validate_permission(request.permission.as_ref())?,
        KvOp::RoleRevokePermission(request) if request.permission.is_none() => {
            return Err(KvError::PermissionNotGiven);
        }
        _ => {}
    }
    if op.encoded_len() > MAX_REQUEST_BYTES {
        return Err(KvError::RequestTooLarge);
    }
    Ok(())
}

/// Checks a read without looking at any state.
///
/// # Errors
///
/// [`KvError::EmptyKey`] or [`KvError::InvalidSortOption`].
pub fn validate_range(request: &RangeRequest) -> Result<(), KvError> {
    require_key(&request.key)?;
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(KvError::InvalidSortOption);
    }
    Ok(())
}

/// Checks a transaction; `validate` does this for one inside an operation.
pub(crate) fn validate_txn(txn: &TxnRequest) -> Result<(), KvError> {
    validate_level(txn, MAX_TXN_OPS, 1)?;
    written(&txn.success)?;
    written(&txn.failure)?;
    Ok(())
}

/// Whether any put or delete of the operation, in any branch of a transaction however nested, can touch a key that begins
/// with `prefix`. Operations on leases are not looked at: a lease deletes only keys that somebody attached with a put.
pub fn op_writes_into(op: &KvOp, prefix: &[u8]) -> bool {
    match op {
        KvOp::Put(request) => request.key.starts_with(prefix),
        KvOp::DeleteRange(request) => KeyRange::new(&request.key, &request.range_end).meets_prefix(prefix),
        KvOp::Txn(request) => txn_writes_into(request, prefix),
        _ => false,
    }
}

fn txn_writes_into(txn: &TxnRequest, prefix: &[u8]) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.kind {
        Some(RequestOpKind::Put(request)) => request.key.starts_with(prefix),
        Some(RequestOpKind::DeleteRange(request)) => {
            KeyRange::new(&request.key, &request.range_end).meets_prefix(prefix)
        }
        Some(RequestOpKind::Txn(nested)) => txn_writes_into(nested, prefix),
        Some(RequestOpKind::Range(_)) | None => false,
    })
}

fn require_key(key: &[u8]) -> Result<(), KvError> {
    if key.is_empty() { Err(KvError::EmptyKey) } else { Ok(()) }
}

fn validate_put(request: &PutRequest) -> Result<(), KvError> {
    require_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(KvError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(KvError::LeaseProvided);
    }
    Ok(())
}

fn validate_permission(permission: Option<&Permission>) -> Result<(), KvError> {
    let permission = permission.ok_or(KvError::PermissionNotGiven)?;
    let (key, range_end) = (&permission.key, &permission.range_end);
    let range_is_valid = range_end.is_empty() || key < range_end || range_end[..] == [0];
    let type_is_known = PermissionType::try_from(permission.perm_type).is_ok();
    if key.is_empty() || !range_is_valid || !type_is_known {
        return Err(KvError::InvalidAuthManagement);
    }
    Ok(())
}

fn validate_level(txn: &TxnRequest, max_ops: usize, depth: usize) -> Result<(), KvError> {
    let ops = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if ops > max_ops || depth > MAX_TXN_DEPTH {
        return Err(KvError::TooManyOps);
    }
    for compare in &txn.compare {
        require_key(&compare.key)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op.kind.as_ref().ok_or(KvError::KeyNotFound)? {
            RequestOpKind::Range(request) => validate_range(request)?,
            RequestOpKind::Put(request) => validate_put(request)?,
            RequestOpKind::DeleteRange(request) => require_key(&request.key)?,
            RequestOpKind::Txn(nested) => validate_level(nested, max_ops - ops, depth + 1)?,
        }
    }
    Ok(())
}

/// Keys that a list of operations puts, and ranges that it deletes.
#[derive(Default)]
struct Written<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

/// Collects what one branch writes and refuses a key written twice, where etcd refuses it: two puts, or a put and a delete of
/// this level or of an earlier nested transaction. The two branches of one nested transaction exclude each other, so both
/// may put a key.
fn written(ops: &[RequestOp]) -> Result<Written<'_>, KvError> {
    let mut all = Written::default();
    for op in ops {
        if let Some(RequestOpKind::DeleteRange(request)) = &op.kind {
            // etcd does not resolve the range end "\0" here; such a deletion may therefore precede a put in one branch.
            let limit = match request.range_end.is_empty() {
                true => KeyRange::One(&request.key).limit(),
                false => Limit::Until(request.range_end[..].into()),
            };
            all.deletes.insert(&request.key, limit);
        }
    }
    for op in ops {
        if let Some(RequestOpKind::Txn(nested)) = &op.kind {
            let (then, otherwise) = (written(&nested.success)?, written(&nested.failure)?);
            let clashes = |key: &&[u8]| all.puts.contains(key) || all.deletes.contains(key);
            if then.puts.iter().chain(&otherwise.puts).any(clashes) {
                return Err(KvError::DuplicateKey);
            }
            all.puts.extend(then.puts);
            all.puts.extend(otherwise.puts);
            all.deletes.merge(then.deletes);
            all.deletes.merge(otherwise.deletes);
        }
    }
    for op in ops {
        if let Some(RequestOpKind::Put(request)) = &op.kind {
            let key = &request.key[..];
            if all.deletes.contains(key) || !all.puts.insert(key) {
                return Err(KvError::DuplicateKey);
            }
        }
    }
    Ok(all)
}
