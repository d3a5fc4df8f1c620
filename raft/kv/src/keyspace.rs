//! The keyspace as a value: construction, reads and accessors. Changes are in `apply`, permissions in `permission`.

use crate::alarm::Alarms;
use crate::auth::{Auth, UserView};
use crate::error::KvError;
use crate::import::Importing;
use crate::lease::Leases;
use crate::range;
use crate::store::Store;
use crate::txn::{self, Target};
use crate::types::*;
use crate::validate;
use crate::version::RevisionEvents;

/// Quota of a new keyspace, in accounted bytes, as etcd's default.
pub const DEFAULT_QUOTA_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// One keyspace: what one etcd cluster would hold.
///
/// Cloning shares everything and copies on write; the clone is an unchanging view of this moment.
#[derive(Clone)]
pub struct Keyspace {
    pub(crate) store: Store,
    pub(crate) leases: Leases,
    pub(crate) auth: Auth,
    pub(crate) alarms: Alarms,
    pub(crate) quota_bytes: u64,
    /// Content that is being imported and is not visible yet.
    pub(crate) importing: Option<Box<Importing>>,
}

impl Default for Keyspace {
    fn default() -> Self {
        Keyspace::new()
    }
}

impl Keyspace {
    /// An empty keyspace at revision 1, without authentication, with the default quota.
    pub fn new() -> Keyspace {
        Keyspace {
            store: Store::new(),
            leases: Leases::default(),
            auth: Auth::new(),
            alarms: Alarms::default(),
            quota_bytes: DEFAULT_QUOTA_BYTES,
            importing: None,
        }
    }

    /// Newest revision; the first write makes it 2.
    pub fn revision(&self) -> i64 {
        self.store.revision
    }

    /// Revision of the last compaction, -1 before the first one (as in etcd's `HashKV` reply). The compact revision itself
    /// can still be read.
    pub fn compact_revision(&self) -> i64 {
        self.store.compact_revision
    }

    /// Reads keys at any revision that is not compacted, with every option of etcd's `Range`.
    ///
    /// # Errors
    ///
    /// Those of [`crate::validate_range`], [`KvError::Compacted`], [`KvError::FutureRevision`]. Permissions are not checked
    /// here; see [`Keyspace::check_range`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        validate::validate_range(request)?;
        range::range(&self.store, request, self.store.revision)
    }

    /// Whether the transaction only reads, in both branches and however nested, so that it needs no log entry.
    pub fn txn_is_read_only(txn: &TxnRequest) -> bool {
        txn.success.iter().chain(&txn.failure).all(|op| match &op.kind {
            Some(RequestOpKind::Range(_)) => true,
            Some(RequestOpKind::Txn(nested)) => Keyspace::txn_is_read_only(nested),
            Some(RequestOpKind::Put(_) | RequestOpKind::DeleteRange(_)) => false,
            // Such a transaction is refused anyway; either way will do that.
            None => true,
        })
    }

    /// Runs a transaction for which [`Keyspace::txn_is_read_only`] holds. Permissions are not checked here; see
    /// [`Keyspace::check_txn`].
    ///
    /// # Errors
    ///
    /// Those of [`crate::validate`], [`KvError::Compacted`], [`KvError::FutureRevision`].
    ///
    /// # Panics
    ///
    /// If the transaction writes.
    pub fn read_txn(&self, txn: &TxnRequest) -> Result<TxnResponse, KvError> {
        assert!(
            Keyspace::txn_is_read_only(txn),
            "a transaction that writes must go through the log"
        );
        validate::validate_txn(txn)?;
        let path = txn::prepare(&self.store, &self.leases, txn)?;
        Ok(txn::execute(&mut Target::Read(&self.store), txn, &mut path.iter()))
    }

    /// The events of every revision from `revision` on, ascending; nothing yet for a future revision. The compact revision
    /// itself is included, with its deletions.
    ///
    /// # Errors
    ///
    /// [`KvError::Compacted`] below the compact revision.
    pub fn events_from(&self, revision: i64) -> Result<impl Iterator<Item = RevisionEvents>, KvError> {
        if revision < self.store.compact_revision {
            return Err(KvError::Compacted);
        }
        Ok(self.store.history.from(revision).map(|entry| entry.changes.clone()))
    }

    /// The key as it stood just before `revision`, for `prev_kv` of a watch; `None` if it did not exist then or that state
    /// is compacted.
    pub fn value_before(&self, key: &[u8], revision: i64) -> Option<KeyValue> {
        let before = revision
            .checked_sub(1)
            .filter(|before| *before >= self.store.compact_revision)?;
        self.store.get_at(key, before).map(|version| version.kv().clone())
    }

    /// Drops what compactions made unreachable, looking at no more than `budget_versions` changes. True while work remains.
    ///
    /// Nothing observable depends on it, neither results nor [`Keyspace::size_bytes`] nor hashes, so it may be called at any
    /// time. Each write sweeps a little by itself; this is for keyspaces at rest.
    pub fn sweep(&mut self, budget_versions: usize) -> bool {
        self.store.sweep(budget_versions)
    }

    /// Accounted bytes of all readable versions: keys, values and [`crate::VERSION_OVERHEAD_BYTES`] each.
    pub fn size_bytes(&self) -> u64 {
        self.store.size_bytes()
    }

    /// Accounted bytes above which clients can no longer put, nor grant leases.
    pub fn quota_bytes(&self) -> u64 {
        self.quota_bytes
    }

    /// Sets the quota, in accounted bytes.
    pub fn set_quota_bytes(&mut self, quota_bytes: u64) {
        self.quota_bytes = quota_bytes;
    }

    /// CRC32C over every change since the keyspace was made. Equal histories have equal digests, at no cost to compute, but
    /// it tells nothing about damage to stored values; [`Keyspace::state_hash`] does.
    pub fn change_digest(&self) -> u32 {
        self.store.change_digest
    }

    /// A lease with its attached keys.
    pub fn lease(&self, id: i64) -> Option<Lease> {
        self.leases.get(id)
    }

    /// Ids of all leases, ascending.
    pub fn leases(&self) -> Vec<i64> {
        self.lease_ttls().map(|(id, _)| id).collect()
    }

    /// (id, granted time to live in seconds) of all leases, ascending by id.
    pub fn lease_ttls(&self) -> impl Iterator<Item = (i64, i64)> {
        self.leases.iter().map(|(id, granted)| (id, granted.ttl_seconds))
    }

    /// The number of a lease's grant and its granted time to live in seconds.
    pub fn lease_grant(&self, id: i64) -> Option<(u64, i64)> {
        let granted = self.leases.granted(id)?;
        Some((granted.grant, granted.ttl_seconds))
    }

    /// (id, number of its grant, granted time to live in seconds) of all leases, ascending by id. The number tells leases apart
    /// that have had the same id one after the other; see [`Keyspace::expire_lease`].
    pub fn lease_grants(&self) -> impl Iterator<Item = (i64, u64, i64)> {
        let leases = self.leases.iter();
        leases.map(|(id, granted)| (id, granted.grant, granted.ttl_seconds))
    }

    /// Whether requests need an authenticated user.
    pub fn auth_enabled(&self) -> bool {
        self.auth.enabled
    }

    /// Count of changes to users, roles and permissions; 1 in a new keyspace.
    pub fn auth_revision(&self) -> u64 {
        self.auth.revision
    }

    /// One user, with the password hash.
    pub fn user(&self, name: &str) -> Option<UserView> {
        self.auth.users.get(name).cloned()
    }

    /// Names of all users, sorted.
    pub fn users(&self) -> Vec<String> {
        self.auth.users.keys().cloned().collect()
    }

    /// Names of all roles, sorted.
    pub fn roles(&self) -> Vec<String> {
        self.auth.roles.keys().cloned().collect()
    }

    /// Permissions of a role, sorted by key; the role `root` has one on everything.
    pub fn role(&self, name: &str) -> Option<Vec<Permission>> {
        self.auth.role(name)
    }
}
