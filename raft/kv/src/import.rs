//! Taking over the content of another store, such as a snapshot of a real etcd, in bounded steps.
//!
//! The edge turns the foreign store into blocks ([`ImportWriter`]) and proposes one [`ImportStep`] each. Every node builds the
//! new content beside the present one, so that the last step only swaps it in: it becomes visible whole, at its own
//! revisions, or not at all. What is being built is replicated state like any other and travels with snapshots.
//!
//! It deliberately merges nothing: a keyspace with keys of its users takes no import. Users and roles that exist keep what
//! they have; the machine's own keys are put again after the swap.

use bytes::{Buf, Bytes};
use imbl::Vector;
use prost::Message;

use crate::apply::Outcome;
use crate::auth::Auth;
use crate::decode::KeyspaceDecoder;
use crate::encode::FORMAT_VERSION;
use crate::error::KvError;
use crate::keyspace::Keyspace;
use crate::op::*;
use crate::record::*;
use crate::types::*;
use crate::writer::Writer;

/// Size, in bytes, that a block of an import has at most, unless a single record is larger.
pub const MAX_IMPORT_BLOCK_BYTES: usize = 512 * 1024;

/// An import that is under way.
#[derive(Clone)]
pub(crate) struct Importing {
    pub(crate) id: u64,
    /// As they came, for snapshots of the state.
    pub(crate) blocks: Vector<Bytes>,
    decoder: KeyspaceDecoder,
}

impl Importing {
    pub(crate) fn new(id: u64) -> Self {
        Importing {
            id,
            blocks: Vector::new(),
            decoder: KeyspaceDecoder::new(),
        }
    }

    /// Takes the next block in.
    pub(crate) fn push(&mut self, block: Bytes) -> Result<(), KvError> {
        self.decoder.push(block.clone()).map_err(|_| KvError::ImportInvalid)?;
        self.blocks.push_back(block);
        Ok(())
    }
}

/// Refuses a block that puts keys under `kept_prefix`, and one that is no block of an import.
fn check_block(mut block: Bytes, kept_prefix: &[u8]) -> Result<(), KvError> {
    if block.try_get_u16_le() != Ok(FORMAT_VERSION) {
        return Err(KvError::ImportInvalid);
    }
    while block.has_remaining() {
        let record = Record::decode_length_delimited(&mut block).map_err(|_| KvError::ImportInvalid)?;
        let key = match record.kind.ok_or(KvError::ImportInvalid)? {
            RecordKind::Key(record) => record.kv.key,
            RecordKind::Change(record) => record.kv.key,
            RecordKind::Import(_) => return Err(KvError::ImportInvalid),
            _ => continue,
        };
        if !kept_prefix.is_empty() && key.starts_with(kept_prefix) {
            return Err(KvError::ImportReserved);
        }
    }
    Ok(())
}

impl Keyspace {
    /// One step of an import. Keys under `kept_prefix` (none, if it is empty) are not the users': they may be there already,
    /// they stay, and an import that brings such keys is refused. A refused step ends its import.
    pub(crate) fn import(&mut self, step: &ImportStep, kept_prefix: &[u8]) -> Outcome {
        let done = Ok((KvResult::Import(Nothing {}), None));
        if step.position == 0 && step.action() == ImportAction::Append {
            self.importing = Some(Box::new(Importing::new(step.import)));
        }
        // Another import is not touched: somebody goes on with it.
        let mut importing = match self.importing.take_if(|importing| importing.id == step.import) {
            Some(importing) => importing,
            None => return Err(KvError::ImportLost),
        };
        if step.action() != ImportAction::Abort && importing.blocks.len() as u64 != step.position {
            return Err(KvError::ImportLost);
        }
        match step.action() {
            ImportAction::Abort => done,
            ImportAction::Append => {
                self.check_importable(kept_prefix)?;
                check_block(step.block.clone(), kept_prefix)?;
                importing.push(step.block.clone())?;
                let built = importing.decoder.progress().ok_or(KvError::ImportInvalid)?;
                if built.target_revision < self.store.revision {
                    return Err(KvError::ImportBehind);
                }
                if built.size_bytes > self.quota_bytes {
                    return Err(KvError::NoSpace);
                }
                self.importing = Some(importing);
                done
            }
            ImportAction::Commit => {
                self.check_importable(kept_prefix)?;
                let imported = importing.decoder.finish().map_err(|_| KvError::ImportInvalid)?;
                self.take_over(imported)
            }
        }
    }

    /// Refuses an import where users have keys or leases already.
    fn check_importable(&self, kept_prefix: &[u8]) -> Result<(), KvError> {
        let kept = |key: &[u8]| !kept_prefix.is_empty() && key.starts_with(kept_prefix);
        let has_keys = self.store.current.keys().any(|key| !kept(key.as_slice()));
        if has_keys || self.leases.iter().next().is_some() {
            return Err(KvError::ImportNotEmpty);
        }
        Ok(())
    }

    fn take_over(&mut self, imported: Keyspace) -> Outcome {
        if imported.store.revision < self.store.revision {
            return Err(KvError::ImportBehind);
        }
        self.auth = merged(&self.auth, imported.auth)?;
        let kept: Vec<KeyValue> = self
            .store
            .current
            .values()
            .map(|version| version.kv().clone())
            .collect();
        self.store = imported.store;
        self.leases.take_over(imported.leases);
        let mut writer = Writer::new(&mut self.store, &mut self.leases);
        for kv in kept {
            writer.put(kv.key, kv.value, 0);
        }
        Ok((KvResult::Import(Nothing {}), writer.commit()))
    }
}

/// Both sides' users and roles; where both have a name, ours stands. Whoever needed credentials still needs them.
fn merged(ours: &Auth, imported: Auth) -> Result<Auth, KvError> {
    let mut auth = ours.clone();
    let revision = ours.revision.max(imported.revision) + 1;
    let mut changed = false;
    for (name, mut user) in imported.users {
        if !auth.users.contains_key(&name) {
            user.revision = revision;
            auth.users.insert(name, user);
            changed = true;
        }
    }
    for (name, permissions) in imported.roles {
        if !auth.roles.contains_key(&name) {
            auth.roles.insert(name, permissions);
            changed = true;
        }
    }
    if changed {
        auth.revision = revision;
    }
    if imported.enabled {
        auth.enable()?;
    }
    Ok(auth)
}

/// Writes the blocks of an import. Records come in this order: leases, users and roles, each ascending; then the keys that
/// were last changed before the compact revision, ascending; then every change from the compact revision on, in its order.
/// Each call may complete a block, which it gives back.
pub struct ImportWriter {
    block: Vec<u8>,
    records: u64,
}

impl ImportWriter {
    /// A store at this revision, compacted at another (-1: never), with authentication on or off.
    pub fn new(revision: i64, compact_revision: i64, auth_enabled: bool, auth_revision: u64) -> Self {
        let mut writer = ImportWriter {
            block: FORMAT_VERSION.to_le_bytes().to_vec(),
            records: 0,
        };
        writer.push(RecordKind::Header(Header {
            revision,
            compact_revision,
            auth_enabled,
            auth_revision,
            ..Header::default()
        }));
        writer
    }

    /// A lease with its granted time to live.
    pub fn lease(&mut self, id: i64, ttl_seconds: i64) -> Option<Bytes> {
        self.push(RecordKind::Lease(LeaseRecord {
            id,
            ttl_seconds,
            grant: 0,
        }))
    }

    /// A user with its sorted roles.
    pub fn user(&mut self, credential: UserCredential, roles: Vec<String>) -> Option<Bytes> {
        self.push(RecordKind::User(UserRecord {
            name: credential.name,
            password_hash: credential.password_hash,
            no_password: credential.no_password,
            roles,
            revision: 0,
        }))
    }

    /// A role with its permissions, sorted by key and range end.
    pub fn role(&mut self, name: String, permissions: Vec<Permission>) -> Option<Bytes> {
        self.push(RecordKind::Role(RoleRecord { name, permissions }))
    }

    /// A key that was last changed before the compact revision, as that revision's change number `sub`.
    pub fn key(&mut self, kv: KeyValue, sub: u32) -> Option<Bytes> {
        self.push(RecordKind::Key(KeyRecord { kv, sub }))
    }

    /// A change; of a deletion the key value holds the key and the revision alone.
    pub fn change(&mut self, kv: KeyValue, deleted: bool) -> Option<Bytes> {
        self.push(RecordKind::Change(ChangeRecord { deleted, kv }))
    }

    /// The last block.
    pub fn finish(mut self) -> Vec<Bytes> {
        let records = self.records;
        let full = self.push(RecordKind::End(EndRecord { records }));
        full.into_iter().chain([Bytes::from(self.block)]).collect()
    }

    fn push(&mut self, kind: RecordKind) -> Option<Bytes> {
        self.records += 1;
        let record = Record { kind: Some(kind) };
        let header_bytes = FORMAT_VERSION.to_le_bytes().len();
        let needed = record.encoded_len() + prost::length_delimiter_len(record.encoded_len());
        let full = (self.block.len() > header_bytes && self.block.len() + needed > MAX_IMPORT_BLOCK_BYTES).then(|| {
            let next = FORMAT_VERSION.to_le_bytes().to_vec();
            Bytes::from(std::mem::replace(&mut self.block, next))
        });
        record
            .encode_length_delimited(&mut self.block)
            .expect("a vector grows as needed");
        full
    }
}
