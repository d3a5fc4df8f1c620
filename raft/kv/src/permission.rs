//! Who may do what. Asked at the edge before a proposal and for reads, and again by `apply`, where it decides.

use crate::alarm::AlarmAction;
use crate::auth::{Auth, UserView};
use crate::error::KvError;
use crate::keyrange::{Intervals, KeyRange};
use crate::keyspace::Keyspace;
use crate::op::*;
use crate::types::*;

/// What a request wants of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// A caller that has been looked up.
enum Subject<'a> {
    /// Authentication is off, the caller is internal, or the user holds the role `root`.
    Unlimited,
    User(&'a UserView),
}

/// In all these, `None` stands for an internal caller that is exempt from authentication, and everything is allowed while
/// authentication is off.
impl Keyspace {
    /// Whether `caller` may read the range. A watch on the range needs the same.
    ///
    /// # Errors
    ///
    /// [`KvError::UserEmpty`] without a user, [`KvError::AuthOldRevision`] if users, roles or permissions have changed since
    /// the caller was authenticated, [`KvError::PermissionDenied`] otherwise.
    pub fn check_range(&self, caller: Option<&KvCaller>, key: &[u8], range_end: &[u8]) -> Result<(), KvError> {
        self.check_access(&self.subject(caller)?, key, range_end, Access::Read)
    }

    /// Whether `caller` may propose `op`. Compaction, alarms and everything about users and roles needs the role `root`; granting a
    /// lease needs any user; a revoke needs write access to every attached key.
    ///
    /// # Errors
    ///
    /// As [`Keyspace::check_range`].
    pub fn check_op(&self, caller: Option<&KvCaller>, op: &KvOp) -> Result<(), KvError> {
        match op {
            KvOp::Put(request) => self.check_put(&self.subject(caller)?, request),
            KvOp::DeleteRange(request) => self.check_delete(&self.subject(caller)?, request),
            KvOp::Txn(request) => self.check_txn(caller, request),
            KvOp::LeaseGrant(_) => self.subject(caller).map(|_| ()),
            KvOp::LeaseRevoke(request) => self.check_lease_keys(&self.subject(caller)?, request.id),
            // Telling the alarms needs any user, as in etcd.
            KvOp::Alarm(request) if request.action == AlarmAction::Get as i32 => self.subject(caller).map(|_| ()),
            KvOp::Compact(_)
            | KvOp::Alarm(_)
            | KvOp::AuthEnable(_)
            | KvOp::AuthDisable(_)
            | KvOp::UserAdd(_)
            | KvOp::UserDelete(_)
            | KvOp::UserChangePassword(_)
            | KvOp::UserGrantRole(_)
            | KvOp::UserRevokeRole(_)
            | KvOp::RoleAdd(_)
            | KvOp::RoleDelete(_)
            | KvOp::RoleGrantPermission(_)
            | KvOp::RoleRevokePermission(_)
            | KvOp::Import(_) => self.check_admin(caller),
        }
    }

    /// Whether `caller` may run the transaction: every comparison and every operation of both branches, however nested, is
    /// checked, whichever would run.
    ///
    /// # Errors
    ///
    /// As [`Keyspace::check_range`].
    pub fn check_txn(&self, caller: Option<&KvCaller>, txn: &TxnRequest) -> Result<(), KvError> {
        self.check_branches(&self.subject(caller)?, txn)
    }

    /// Whether `caller` holds the role `root`. As in etcd, the auth revision does not matter here: what counts is that the
    /// user has the role now.
    ///
    /// # Errors
    ///
    /// [`KvError::UserEmpty`], [`KvError::UserNotFound`] or [`KvError::PermissionDenied`].
    pub fn check_admin(&self, caller: Option<&KvCaller>) -> Result<(), KvError> {
        let Some(caller) = caller.filter(|_| self.auth.enabled) else {
            return Ok(());
        };
        if caller.user.is_empty() {
            return Err(KvError::UserEmpty);
        }
        let user = self.auth.users.get(&caller.user).ok_or(KvError::UserNotFound)?;
        if Auth::has_root_role(user) {
            Ok(())
        } else {
            Err(KvError::PermissionDenied)
        }
    }

    fn subject(&self, caller: Option<&KvCaller>) -> Result<Subject<'_>, KvError> {
        let Some(caller) = caller.filter(|_| self.auth.enabled) else {
            return Ok(Subject::Unlimited);
        };
        if caller.user.is_empty() {
            return Err(KvError::UserEmpty);
        }
        if caller.auth_revision < self.auth.revision {
            return Err(KvError::AuthOldRevision);
        }
        let user = self.auth.users.get(&caller.user).ok_or(KvError::PermissionDenied)?;
        Ok(if Auth::has_root_role(user) {
            Subject::Unlimited
        } else {
            Subject::User(user)
        })
    }

    fn check_put(&self, subject: &Subject<'_>, request: &PutRequest) -> Result<(), KvError> {
        self.check_access(subject, &request.key, &[], Access::Write)?;
        // Whoever attaches a key to a lease can end the lease by that, so the other keys must be theirs to write.
        self.check_lease_keys(subject, request.lease)?;
        if request.prev_kv {
            self.check_access(subject, &request.key, &[], Access::Read)?;
        }
        Ok(())
    }

    fn check_delete(&self, subject: &Subject<'_>, request: &DeleteRangeRequest) -> Result<(), KvError> {
        self.check_access(subject, &request.key, &request.range_end, Access::Write)?;
        if request.prev_kv {
            self.check_access(subject, &request.key, &request.range_end, Access::Read)?;
        }
        Ok(())
    }

    fn check_branches(&self, subject: &Subject<'_>, txn: &TxnRequest) -> Result<(), KvError> {
        for compare in &txn.compare {
            self.check_access(subject, &compare.key, &compare.range_end, Access::Read)?;
        }
        for op in txn.success.iter().chain(&txn.failure) {
            match &op.kind {
                Some(RequestOpKind::Range(request)) => {
                    self.check_access(subject, &request.key, &request.range_end, Access::Read)?;
                }
                Some(RequestOpKind::Put(request)) => self.check_put(subject, request)?,
                Some(RequestOpKind::DeleteRange(request)) => self.check_delete(subject, request)?,
                Some(RequestOpKind::Txn(nested)) => self.check_branches(subject, nested)?,
                None => {}
            }
        }
        Ok(())
    }

    fn check_lease_keys(&self, subject: &Subject<'_>, lease: i64) -> Result<(), KvError> {
        if matches!(subject, Subject::Unlimited) {
            return Ok(());
        }
        self.leases
            .keys(lease)
            .try_for_each(|key| self.check_access(subject, key, &[], Access::Write))
    }

    fn check_access(&self, subject: &Subject<'_>, key: &[u8], range_end: &[u8], access: Access) -> Result<(), KvError> {
        let Subject::User(user) = subject else {
            return Ok(());
        };
        let range = match KeyRange::new(key, range_end) {
            // A span without a key in it needs, as in etcd, a permission on its start.
            KeyRange::Span(start, end) if start >= end => KeyRange::One(start),
            range => range,
        };
        let granted = user
            .roles
            .iter()
            .filter_map(|role| self.auth.roles.get(role))
            .flatten()
            .filter(|permission| allows(permission, access))
            .map(|permission| KeyRange::new(&permission.key, &permission.range_end));
        let allowed = match range {
            KeyRange::One(key) => granted.into_iter().any(|granted| granted.contains(key)),
            // A range may be covered by several permissions together.
            _ => {
                let mut union = Intervals::default();
                granted.for_each(|granted| union.insert(granted.start(), granted.limit()));
                union.covers(range)
            }
        };
        if allowed {
            Ok(())
        } else {
            Err(KvError::PermissionDenied)
        }
    }
}

fn allows(permission: &Permission, access: Access) -> bool {
    match permission.perm_type() {
        PermissionType::ReadWrite => true,
        PermissionType::Read => access == Access::Read,
        PermissionType::Write => access == Access::Write,
    }
}
