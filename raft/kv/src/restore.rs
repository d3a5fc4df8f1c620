//! Putting a keyspace together from records, refusing those that contradict each other.

use bytes::Bytes;

use crate::alarm::{Alarm, AlarmKind};
use crate::auth::{Auth, UserView};
use crate::decode::DecodeError;
use crate::import::Importing;
use crate::key::Key;
use crate::keyspace::Keyspace;
use crate::lease::{Granted, Leases, MAX_LEASE_TTL_SECONDS};
use crate::links::Links;
use crate::record::*;
use crate::store::{FIRST_REVISION, NEVER_COMPACTED, Store};
use crate::types::*;
use crate::version::Version;
use crate::writer::Writer;

/// No counter gets there in the life of a cluster; above it, the next change could overflow.
const MAX_COUNTER: i64 = i64::MAX / 2;

/// Sections of a snapshot in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Alarms,
    Leases,
    Users,
    Roles,
    Keys,
    Changes,
    Imports,
}

/// How far a keyspace is.
pub(crate) struct Progress {
    /// The revision that it will have.
    pub(crate) target_revision: i64,
    /// Its accounted size by now.
    pub(crate) size_bytes: u64,
}

/// A keyspace being put together.
#[derive(Clone)]
pub(crate) struct Building {
    header: Header,
    keyspace: Keyspace,
    section: Section,
    last_alarm: Option<(i32, u64)>,
    last_lease: Option<i64>,
    last_name: Option<String>,
    last_key: Option<Bytes>,
    /// Changes of the revision that is being read.
    changes: Vec<Event>,
}

impl Building {
    pub(crate) fn start(header: Header) -> Result<Self, DecodeError> {
        let Header {
            revision,
            compact_revision,
            quota_bytes,
            auth_enabled,
            auth_revision,
            last_grant,
            ..
        } = header;
        if revision < FIRST_REVISION || compact_revision < NEVER_COMPACTED || compact_revision > revision {
            return Err(DecodeError::Inconsistent("revisions out of order"));
        }
        if revision > MAX_COUNTER || auth_revision.max(last_grant) > MAX_COUNTER.unsigned_abs() {
            return Err(DecodeError::Inconsistent("a counter beyond every possible value"));
        }
        // The first change that the snapshot holds is that of the compact revision; revision 1 has none.
        let before_changes = (compact_revision - 1).max(FIRST_REVISION);
        let mut auth = Auth::new();
        auth.enabled = auth_enabled;
        auth.revision = auth_revision;
        let store = Store::starting_at(before_changes, compact_revision);
        let mut leases = Leases::default();
        leases.count_from(last_grant);
        let keyspace = Keyspace {
            store,
            leases,
            auth,
            alarms: Default::default(),
            quota_bytes,
            importing: None,
        };
        Ok(Building {
            header,
            keyspace,
            section: Section::Alarms,
            last_alarm: None,
            last_lease: None,
            last_name: None,
            last_key: None,
            changes: Vec::new(),
        })
    }

    /// Enters a section; sections never come back.
    fn enter(&mut self, section: Section) -> Result<(), DecodeError> {
        if section < self.section {
            return Err(DecodeError::Inconsistent("records out of order"));
        }
        if section > self.section {
            self.section = section;
            self.last_name = None;
        }
        Ok(())
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) -> Result<(), DecodeError> {
        self.enter(Section::Alarms)?;
        let key = (alarm.kind, alarm.member);
        if self.last_alarm.is_some_and(|last| last >= key) {
            return Err(DecodeError::Inconsistent("alarms out of order"));
        }
        self.last_alarm = Some(key);
        let raised = matches!(alarm.kind(), AlarmKind::NoSpace | AlarmKind::Corrupt);
        if !raised || AlarmKind::try_from(alarm.kind).is_err() || !self.keyspace.alarms.insert(alarm) {
            return Err(DecodeError::Inconsistent("an alarm that cannot be"));
        }
        Ok(())
    }

    pub(crate) fn lease(&mut self, lease: LeaseRecord) -> Result<(), DecodeError> {
        self.enter(Section::Leases)?;
        if lease.id == 0 || self.last_lease.is_some_and(|last| last >= lease.id) {
            return Err(DecodeError::Inconsistent("leases out of order"));
        }
        if !(0..=MAX_LEASE_TTL_SECONDS).contains(&lease.ttl_seconds) {
            return Err(DecodeError::Inconsistent("a lease with an impossible time to live"));
        }
        if lease.grant > self.header.last_grant {
            return Err(DecodeError::Inconsistent("a lease by a grant that never was"));
        }
        self.last_lease = Some(lease.id);
        let LeaseRecord { id, ttl_seconds, grant } = lease;
        self.keyspace.leases.restore(id, Granted { ttl_seconds, grant });
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<(), DecodeError> {
        if name.is_empty() || self.last_name.as_deref().is_some_and(|last| last >= name) {
            return Err(DecodeError::Inconsistent("names out of order"));
        }
        self.last_name = Some(name.to_owned());
        Ok(())
    }

    pub(crate) fn user(&mut self, user: UserRecord) -> Result<(), DecodeError> {
        self.enter(Section::Users)?;
        self.name(&user.name)?;
        if !user.roles.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::Inconsistent("roles of a user out of order"));
        }
        let UserRecord {
            name,
            password_hash,
            no_password,
            roles,
            revision,
        } = user;
        // A copy, as the hash would otherwise keep its whole block in memory.
        let password_hash = Bytes::copy_from_slice(&password_hash);
        let view = UserView {
            name: name.clone(),
            password_hash,
            no_password,
            roles,
            revision,
        };
        self.keyspace.auth.users.insert(name, view);
        Ok(())
    }

    pub(crate) fn role(&mut self, mut role: RoleRecord) -> Result<(), DecodeError> {
        self.enter(Section::Roles)?;
        self.name(&role.name)?;
        for permission in &mut role.permissions {
            permission.key = Bytes::copy_from_slice(&permission.key);
            permission.range_end = Bytes::copy_from_slice(&permission.range_end);
        }
        let in_order = |a: &Permission, b: &Permission| (&a.key, &a.range_end) < (&b.key, &b.range_end);
        if !role.permissions.is_sorted_by(in_order) {
            return Err(DecodeError::Inconsistent("permissions of a role out of order"));
        }
        self.keyspace.auth.roles.insert(role.name, role.permissions);
        Ok(())
    }

    pub(crate) fn key(&mut self, record: KeyRecord) -> Result<(), DecodeError> {
        self.enter(Section::Keys)?;
        let KeyRecord { kv, sub } = record;
        check_put_counters(&kv)?;
        if kv.mod_revision >= self.header.compact_revision {
            return Err(DecodeError::Inconsistent("a key changed later than its section says"));
        }
        if self.last_key.as_ref().is_some_and(|last| *last >= kv.key) {
            return Err(DecodeError::Inconsistent("keys out of order"));
        }
        let kv = compact_copy(kv);
        self.last_key = Some(kv.key.clone());
        let Keyspace { store, leases, .. } = &mut self.keyspace;
        let kind = EventKind::Put;
        let version = Version::new(Event { kind, kv }, sub, Links::default());
        leases.reattach(&version.kv().key, 0, version.kv().lease);
        store.written_bytes += version.cost();
        store.current.insert(Key::new(&version.kv().key), version);
        Ok(())
    }

    pub(crate) fn change(&mut self, change: ChangeRecord) -> Result<(), DecodeError> {
        self.enter(Section::Changes)?;
        let kv = compact_copy(change.kv);
        if change.deleted {
            let tombstone = KeyValue {
                key: kv.key.clone(),
                mod_revision: kv.mod_revision,
                ..KeyValue::default()
            };
            if kv != tombstone || kv.key.is_empty() {
                return Err(DecodeError::Inconsistent("a deletion with more than a key"));
            }
        } else {
            check_put_counters(&kv)?;
        }
        if self
            .changes
            .first()
            .is_some_and(|first| first.kv.mod_revision != kv.mod_revision)
        {
            self.close_revision();
        }
        if kv.mod_revision == self.header.compact_revision + 1 {
            self.pass_over_compact_revision();
        }
        if kv.mod_revision != self.keyspace.store.revision + 1 {
            return Err(DecodeError::Inconsistent("a revision is missing"));
        }
        let kind = if change.deleted {
            EventKind::Delete
        } else {
            EventKind::Put
        };
        self.changes.push(Event { kind, kv });
        Ok(())
    }

    fn close_revision(&mut self) {
        let Keyspace { store, leases, .. } = &mut self.keyspace;
        let mut writer = Writer::new(store, leases);
        for change in self.changes.drain(..) {
            writer.replay(change);
        }
        writer.commit();
    }

    /// The changes of the compact revision itself may be gone: an etcd before 3.5.16 removed deletions made there.
    fn pass_over_compact_revision(&mut self) {
        let (store, compacted) = (&mut self.keyspace.store, self.header.compact_revision);
        if self.changes.is_empty() && store.history.is_empty() && store.revision < compacted {
            store.begin_after(compacted);
        }
    }

    /// A block of an import that was under way.
    pub(crate) fn import(&mut self, import: ImportRecord) -> Result<(), DecodeError> {
        self.enter(Section::Imports)?;
        let importing = self
            .keyspace
            .importing
            .get_or_insert_with(|| Box::new(Importing::new(import.import)));
        if importing.id != import.import {
            return Err(DecodeError::Inconsistent("two imports at the same time"));
        }
        // A copy, as the slice would keep the block of the snapshot in memory.
        let block = Bytes::copy_from_slice(&import.block);
        let pushed = importing.push(block);
        pushed.map_err(|_| DecodeError::Inconsistent("a block of an import that cannot be read"))
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            target_revision: self.header.revision,
            size_bytes: self.keyspace.store.size_bytes(),
        }
    }

    pub(crate) fn finish(mut self) -> Result<Keyspace, DecodeError> {
        self.close_revision();
        if self.header.revision == self.header.compact_revision {
            self.pass_over_compact_revision();
        }
        let store = &mut self.keyspace.store;
        if store.revision != self.header.revision {
            return Err(DecodeError::Inconsistent("the last revisions are missing"));
        }
        store.change_digest = self.header.change_digest;
        if !self.keyspace.leases.is_consistent() {
            return Err(DecodeError::Inconsistent(
                "a key is attached to a lease that does not exist",
            ));
        }
        Ok(self.keyspace)
    }
}

fn check_put_counters(kv: &KeyValue) -> Result<(), DecodeError> {
    let plausible = (1..=MAX_COUNTER).contains(&kv.version)
        && FIRST_REVISION < kv.create_revision
        && kv.create_revision <= kv.mod_revision;
    if kv.key.is_empty() || !plausible {
        return Err(DecodeError::Inconsistent("a key with impossible counters"));
    }
    Ok(())
}

/// Moves key and value into one buffer of their own; slices of the block would keep the whole block in memory.
fn compact_copy(kv: KeyValue) -> KeyValue {
    let mut buffer = Vec::with_capacity(kv.key.len() + kv.value.len());
    buffer.extend_from_slice(&kv.key);
    buffer.extend_from_slice(&kv.value);
    let buffer = Bytes::from(buffer);
    KeyValue {
        key: buffer.slice(..kv.key.len()),
        value: buffer.slice(kv.key.len()..),
        ..kv
    }
}
