//! Reading the snapshot of an etcd into the blocks of an import.
//!
//! The file is read where it lies; in memory are the leases, users and roles, and the names of the keys that were last changed
//! before the compact revision.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use aws_lc_rs::digest;
use bytes::Bytes;
use prost::Message;
use quorate_kv::{ImportWriter, KeyValue, MAX_REQUEST_BYTES, Permission, PermissionType, UserCredential};

use super::LeaseEntry;
use crate::bolt::{BoltError, BoltFile, Entry};
use crate::pb::authpb;

/// Bytes of the checksum behind the database.
const CHECKSUM_BYTES: u64 = 32;

/// Why a snapshot cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file is no database.
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Cut off, or changed since it was written.
    #[error("the snapshot's checksum does not match; take it again")]
    Checksum,
    /// Copied from a data directory rather than taken as a snapshot.
    #[error("the file has no checksum: it is no snapshot; take one with `etcdctl snapshot save`")]
    NoChecksum,
    /// A database of something else than etcd, or a damaged one.
    #[error("this is no database of etcd, or a damaged one: {0}")]
    Content(&'static str),
    /// A revision has no change.
    #[error(
        "revision {0} is missing: the snapshot was restored with a revision bump, or compacted by an etcd before 3.5.16; \
         start an etcd with it, compact at the newest revision, and take the snapshot again"
    )]
    Gap(i64),
    /// A value larger than a request may be.
    #[error("the key {key:?} has a value of {bytes} bytes, more than the {MAX_REQUEST_BYTES} that fit into a request")]
    TooLarge {
        /// The key.
        key: String,
        /// Size of its value.
        bytes: usize,
    },
}

use SnapshotError::Content;

/// A snapshot of an etcd, open for reading.
pub struct SnapshotFile {
    bolt: BoltFile<BufReader<File>>,
}

/// A revision of the bucket `key`.
struct Revision {
    main: i64,
    sub: u32,
    deleted: bool,
}

impl SnapshotFile {
    /// Opens a file and checks it against its checksum.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] with what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        if length % 512 != CHECKSUM_BYTES {
            // Tell a database without a checksum from something else.
            BoltFile::open(BufReader::new(file))?;
            return Err(SnapshotError::NoChecksum);
        }
        let mut sum = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; 256 * 1024];
        let mut database = (&mut file).take(length - CHECKSUM_BYTES);
        loop {
            match database.read(&mut buffer)? {
                0 => break,
                read => sum.update(&buffer[..read]),
            }
        }
        let mut written = [0; CHECKSUM_BYTES as usize];
        file.read_exact(&mut written)?;
        if sum.finish().as_ref() != written {
            return Err(SnapshotError::Checksum);
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(SnapshotFile {
            bolt: BoltFile::open(BufReader::new(file))?,
        })
    }

    /// Hands every block of the import to `each`, in order; stops at its first error.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`], or what `each` gave.
    pub fn blocks<E: From<SnapshotError>>(&self, mut each: impl FnMut(Bytes) -> Result<(), E>) -> Result<(), E> {
        let compact_revision = self.compact_revision()?;
        let (revision, before) = self.survey(compact_revision)?;
        let (auth_enabled, auth_revision) = self.auth()?;
        let mut writer = ImportWriter::new(revision, compact_revision, auth_enabled, auth_revision);
        let mut put = |block: Option<Bytes>| block.map_or(Ok(()), &mut each);
        for (id, ttl_seconds) in self.leases()? {
            put(writer.lease(id, ttl_seconds))?;
        }
        for user in self.users()? {
            put(writer.user(user.0, user.1))?;
        }
        for (name, permissions) in self.roles()? {
            put(writer.role(name, permissions))?;
        }
        for (place, sub) in before.values() {
            let entry = self.bolt.entry_at(*place).map_err(SnapshotError::from)?;
            put(writer.key(key_value(&entry)?, *sub))?;
        }
        drop(before);
        self.changes(compact_revision, |kv, deleted| put(writer.change(kv, deleted)))?;
        writer.finish().into_iter().try_for_each(each)
    }

    fn each_entry(
        &self,
        bucket: &str,
        mut each: impl FnMut(Entry) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let Some(entries) = self.bolt.bucket(bucket)? else {
            return match bucket {
                "key" | "meta" => Err(Content("a bucket is missing")),
                // An etcd creates the others when it needs them.
                _ => Ok(()),
            };
        };
        for entry in entries {
            each(entry?)?;
        }
        Ok(())
    }

    /// The revision of the last compaction, begun or done: -1 without one.
    fn compact_revision(&self) -> Result<i64, SnapshotError> {
        let mut newest = -1;
        self.each_entry("meta", |entry| {
            if [&b"finishedCompactRev"[..], b"scheduledCompactRev"].contains(&&entry.key[..]) {
                newest = newest.max(revision(&entry.value)?.main);
            }
            Ok(())
        })?;
        Ok(newest)
    }

    /// The newest revision, and where the keys are that live at the compact revision and were last changed before it.
    #[expect(clippy::type_complexity, reason = "a map of places by key")]
    fn survey(&self, compact_revision: i64) -> Result<(i64, BTreeMap<Bytes, ((u64, u16), u32)>), SnapshotError> {
        let mut newest = compact_revision.max(1);
        let mut before = BTreeMap::new();
        self.each_entry("key", |entry| {
            let Revision { main, sub, deleted } = revision(&entry.key)?;
            newest = newest.max(main);
            if main > compact_revision {
                return Ok(());
            }
            let key = Bytes::copy_from_slice(&key_value(&entry)?.key);
            before.remove(&key);
            if main < compact_revision && !deleted {
                before.insert(key, (entry.place, sub));
            }
            Ok(())
        })?;
        Ok((newest, before))
    }

    /// Every change from the compact revision on, in order.
    fn changes<E: From<SnapshotError>>(
        &self,
        compact_revision: i64,
        mut each: impl FnMut(KeyValue, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        // Nothing has revision 1, and the changes of the compact revision may be gone.
        let (mut last, mut position) = ((compact_revision - 1).max(1), 0);
        let entries = self.bolt.bucket("key").map_err(SnapshotError::from)?;
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(SnapshotError::from)?;
            let Revision { main, sub, deleted } = revision(&entry.key)?;
            if main < compact_revision {
                continue;
            }
            if main != last {
                let begins = main == compact_revision + 1 && last < compact_revision;
                if main != last + 1 && !begins {
                    return Err(SnapshotError::Gap(last + 1).into());
                }
                (last, position) = (main, 0);
            }
            if sub != position {
                return Err(SnapshotError::Gap(main).into());
            }
            position += 1;
            let mut kv = key_value(&entry)?;
            if deleted {
                // The file leaves out what the revision's key says already.
                kv.mod_revision = main;
            }
            each(kv, deleted)?;
        }
        Ok(())
    }

    /// Whether authentication is on, and its revision.
    fn auth(&self) -> Result<(bool, u64), SnapshotError> {
        let (mut enabled, mut auth_revision) = (false, 1);
        self.each_entry("auth", |entry| {
            match &entry.key[..] {
                b"authEnabled" => enabled = entry.value[..] == [1],
                b"authRevision" => {
                    let bytes = entry.value[..].try_into();
                    auth_revision = u64::from_be_bytes(bytes.map_err(|_| Content("the revision of users is damaged"))?);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok((enabled, auth_revision))
    }

    fn leases(&self) -> Result<Vec<(i64, i64)>, SnapshotError> {
        let mut leases = Vec::new();
        self.each_entry("lease", |entry| {
            let lease = LeaseEntry::decode(entry.value).map_err(|_| Content("a lease is damaged"))?;
            leases.push((lease.id, lease.ttl_seconds));
            Ok(())
        })?;
        leases.sort_unstable();
        Ok(leases)
    }

    fn users(&self) -> Result<Vec<(UserCredential, Vec<String>)>, SnapshotError> {
        let mut users = Vec::new();
        self.each_entry("authUsers", |entry| {
            let user = authpb::User::decode(entry.value).map_err(|_| Content("a user is damaged"))?;
            let mut roles = user.roles;
            roles.sort_unstable();
            roles.dedup();
            let credential = UserCredential {
                name: text(&user.name)?,
                password_hash: user.password,
                no_password: user.options.is_some_and(|options| options.no_password),
            };
            users.push((credential, roles));
            Ok(())
        })?;
        Ok(users)
    }

    fn roles(&self) -> Result<Vec<(String, Vec<Permission>)>, SnapshotError> {
        let mut roles = Vec::new();
        self.each_entry("authRoles", |entry| {
            let role = authpb::Role::decode(entry.value).map_err(|_| Content("a role is damaged"))?;
            let mut held: Vec<Permission> = role.key_permission.into_iter().map(Permission::from).collect();
            held.sort_by(|a, b| (&a.key, &a.range_end).cmp(&(&b.key, &b.range_end)));
            held.dedup_by(|later, first| merge(first, later));
            roles.push((text(&role.name)?, held));
            Ok(())
        })?;
        Ok(roles)
    }
}

/// Adds what `later` permits to `first` where both are of one range. An etcd may hold a range twice: it looks for the one to
/// change among sorted permissions by a comparison of their first keys alone.
fn merge(first: &mut Permission, later: &Permission) -> bool {
    let same = (&first.key, &first.range_end) == (&later.key, &later.range_end);
    if same && first.perm_type != later.perm_type {
        first.perm_type = PermissionType::ReadWrite as i32;
    }
    same
}

fn text(bytes: &[u8]) -> Result<String, SnapshotError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Content("a name is not text"))
}

/// From the revision's 8 bytes, `_`, the change's 8 bytes, and `t` for a deletion.
fn revision(key: &[u8]) -> Result<Revision, SnapshotError> {
    let number = |from: usize| Some(u64::from_be_bytes(key.get(from..from + 8)?.try_into().ok()?));
    let parse = || {
        let deleted = match key.len() {
            17 => false,
            18 if key[17] == b't' => true,
            _ => return None,
        };
        Some(Revision {
            main: i64::try_from(number(0)?).ok()?,
            sub: u32::try_from(number(9)?).ok()?,
            deleted,
        })
    };
    parse().ok_or(Content("a revision is damaged"))
}

fn key_value(entry: &Entry) -> Result<KeyValue, SnapshotError> {
    let kv = KeyValue::decode(entry.value.clone()).map_err(|_| Content("a key's value is damaged"))?;
    if kv.key.len() + kv.value.len() > MAX_REQUEST_BYTES - RECORD_OVERHEAD_BYTES {
        return Err(SnapshotError::TooLarge {
            key: String::from_utf8_lossy(&kv.key).into_owned(),
            bytes: kv.value.len(),
        });
    }
    Ok(kv)
}

/// What surrounds key and value in a step of the import, in bytes, at most.
const RECORD_OVERHEAD_BYTES: usize = 256;
