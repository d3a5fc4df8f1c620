//! Changes: operations from the log, the machine's own writes, and the end of leases.

use bytes::Bytes;

use crate::error::KvError;
use crate::keyspace::Keyspace;
use crate::op::*;
use crate::txn::{self, Target};
use crate::validate::validate;
use crate::version::RevisionEvents;
use crate::writer::Writer;

/// Versions that each write sweeps after a compaction, beside twice as many as it added itself: more than were added, so that
/// the sweep always arrives, and few enough not to be felt.
const SWEEP_PER_WRITE_VERSIONS: usize = 8;

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The reply, or the refusal, which changed nothing.
    pub result: Result<KvResult, KvError>,
    /// Revision of the keyspace after the operation.
    pub revision: i64,
    /// Events of the revision that the operation made, if it made one.
    pub events: Option<RevisionEvents>,
}

impl Applied {
    /// The reply as the log and the de-duplication window hold it.
    pub fn into_reply(self) -> KvReply {
        let result = self.result.unwrap_or_else(|refusal| KvResult::Refused(refusal as i32));
        KvReply {
            revision: self.revision,
            result: Some(result),
        }
    }
}

/// A write of the machine itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemWrite {
    /// Puts a key, without a lease.
    Put {
        /// Key; not empty.
        key: Bytes,
        /// Value.
        value: Bytes,
    },
    /// Deletes a key; one that does not exist changes nothing.
    Delete {
        /// Key; not empty.
        key: Bytes,
    },
}

pub(crate) type Outcome = Result<(KvResult, Option<RevisionEvents>), KvError>;

impl Keyspace {
    /// Executes an operation from the log. It is validated and the caller's permissions are checked again here; a refusal
    /// changes nothing, no alarm either: see [`Keyspace::raise_alarm`]. `None` as the caller is exempt from authentication,
    /// not from the quota.
    pub fn apply(&mut self, caller: Option<&KvCaller>, op: &KvOp) -> Applied {
        self.apply_keeping(caller, op, &[])
    }

    /// As [`Keyspace::apply`], for a keyspace whose keys under `kept_prefix` are the machine's: an import leaves them alone.
    /// Other operations do not look at the prefix.
    pub fn apply_keeping(&mut self, caller: Option<&KvCaller>, op: &KvOp, kept_prefix: &[u8]) -> Applied {
        let checked = validate(op)
            .and_then(|()| self.check_op(caller, op))
            .and_then(|()| self.check_alarms(op))
            .and_then(|()| self.check_quota(op));
        self.finish(checked, |keyspace| keyspace.execute(op, kept_prefix))
    }

    /// The machine's own writes, all in one revision and in order, without permissions, whatever the alarms, and beyond the
    /// quota; above [`crate::MACHINE_RESERVE_BYTES`] more than that, they give up history to make room. `None` if nothing
    /// changed.
    pub fn system_write(&mut self, writes: &[SystemWrite]) -> Option<RevisionEvents> {
        self.make_room_for_the_machine();
        let mut writer = Writer::new(&mut self.store, &mut self.leases);
        for write in writes {
            match write {
                SystemWrite::Put { key, value } => {
                    writer.put(key.clone(), value.clone(), 0);
                }
                SystemWrite::Delete { key } => writer.delete(key.clone()),
            }
        }
        let events = writer.commit();
        self.sweep_after(events.as_ref());
        events
    }

    /// Ends a lease that has expired: deletes its keys, sorted, in one revision. Refused with [`KvError::LeaseNotFound`] if
    /// there is no such lease, or not of this grant: one that was revoked meanwhile does not take with it another one that was
    /// granted under its id. Without a grant, as in logs from before grants were numbered, the id alone counts.
    pub fn expire_lease(&mut self, id: i64, grant: Option<u64>) -> Applied {
        let checked = match self.leases.is_of_grant(id, grant) {
            true => Ok(()),
            false => Err(KvError::LeaseNotFound),
        };
        self.finish(checked, |keyspace| keyspace.revoke(id))
    }

    fn finish(&mut self, checked: Result<(), KvError>, execute: impl FnOnce(&mut Keyspace) -> Outcome) -> Applied {
        let outcome = checked.and_then(|()| execute(self));
        let (result, events) = match outcome {
            Ok((result, events)) => (Ok(result), events),
            Err(refusal) => (Err(refusal), None),
        };
        self.sweep_after(events.as_ref());
        Applied {
            result,
            revision: self.store.revision,
            events,
        }
    }

    fn sweep_after(&mut self, events: Option<&RevisionEvents>) {
        let added = events.map_or(0, |events| events.iter().len());
        self.store.sweep(SWEEP_PER_WRITE_VERSIONS + 2 * added);
    }

    fn execute(&mut self, op: &KvOp, kept_prefix: &[u8]) -> Outcome {
        match op {
            KvOp::Put(request) => {
                // As in etcd the lease comes first here, but second in a transaction.
                if request.lease != 0 && !self.leases.exists(request.lease) {
                    return Err(KvError::LeaseNotFound);
                }
                txn::check_put(&self.store, &self.leases, request)?;
                let mut writer = Writer::new(&mut self.store, &mut self.leases);
                let response = txn::put(&mut writer, request);
                Ok((KvResult::Put(response), writer.commit()))
            }
            KvOp::DeleteRange(request) => {
                let mut writer = Writer::new(&mut self.store, &mut self.leases);
                let response = txn::delete_range(&mut writer, request);
                Ok((KvResult::DeleteRange(response), writer.commit()))
            }
            KvOp::Txn(request) => {
                let path = txn::prepare(&self.store, &self.leases, request)?;
                let mut writer = Writer::new(&mut self.store, &mut self.leases);
                let response = txn::execute(&mut Target::Write(&mut writer), request, &mut path.iter());
                Ok((KvResult::Txn(response), writer.commit()))
            }
            KvOp::Compact(request) => {
                self.store.compact(request.revision)?;
                Ok((KvResult::Compact(Nothing {}), None))
            }
            KvOp::LeaseGrant(request) => {
                let response = self.leases.grant(request)?;
                Ok((KvResult::LeaseGrant(response), None))
            }
            KvOp::LeaseRevoke(request) => self.revoke(request.id),
            KvOp::Alarm(request) => Ok((KvResult::Alarm(self.alarms.execute(request)?), None)),
            KvOp::AuthEnable(_) => auth_done(self.auth.enable()),
            KvOp::AuthDisable(_) => auth_done(self.auth.disable()),
            KvOp::UserAdd(credential) => auth_done(self.auth.user_add(credential)),
            KvOp::UserDelete(name) => auth_done(self.auth.user_delete(name)),
            KvOp::UserChangePassword(credential) => auth_done(self.auth.user_change_password(credential)),
            KvOp::UserGrantRole(grant) => auth_done(self.auth.user_grant_role(grant)),
            KvOp::UserRevokeRole(grant) => auth_done(self.auth.user_revoke_role(grant)),
            KvOp::RoleAdd(name) => auth_done(self.auth.role_add(name)),
            KvOp::RoleDelete(name) => auth_done(self.auth.role_delete(name)),
            KvOp::RoleGrantPermission(grant) => auth_done(self.auth.role_grant_permission(grant)),
            KvOp::RoleRevokePermission(revoke) => auth_done(self.auth.role_revoke_permission(revoke)),
            KvOp::Import(step) => self.import(step, kept_prefix),
        }
    }

    fn revoke(&mut self, id: i64) -> Outcome {
        if !self.leases.exists(id) {
            return Err(KvError::LeaseNotFound);
        }
        let keys: Vec<Bytes> = self.leases.keys(id).map(Bytes::copy_from_slice).collect();
        let mut writer = Writer::new(&mut self.store, &mut self.leases);
        for key in keys {
            writer.delete(key);
        }
        let events = writer.commit();
        self.leases.remove(id);
        Ok((KvResult::LeaseRevoke(Nothing {}), events))
    }
}

fn auth_done(result: Result<(), KvError>) -> Outcome {
    result.map(|()| (KvResult::Auth(Nothing {}), None))
}
