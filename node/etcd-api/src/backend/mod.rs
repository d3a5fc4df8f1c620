//! A keyspace as the database file of an etcd 3.6, and back.
//!
//! The file is what `etcdutl snapshot restore` takes: etcd's buckets with its names, keys and encodings. Members and what
//! Raft keeps there describe this cluster; restoring replaces them.

mod import;
mod stream;

use prost::Message;
use quorate_kv::Keyspace;

use crate::bolt::{Contents, Visit};
use crate::context::{Context, EMULATED_CLUSTER_VERSION, member_id};
use crate::errors;
use crate::members::urls;
use crate::pb::authpb;

pub use import::{SnapshotError, SnapshotFile};
pub(crate) use stream::snapshot_stream;

/// etcd's buckets, ascending.
const BUCKETS: [&str; 10] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    "key",
    "lease",
    "members",
    "members_removed",
    "meta",
];

/// An entry of the bucket `lease`.
#[derive(Clone, PartialEq, prost::Message)]
struct LeaseEntry {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl_seconds: i64,
    #[prost(int64, tag = "3")]
    remaining_ttl_seconds: i64,
}

/// A member as the bucket `members` shows it.
struct MemberEntry {
    id: u64,
    json: String,
}

/// Everything that a database file holds, at one moment.
pub(crate) struct Backend {
    keyspace: Keyspace,
    members: Vec<MemberEntry>,
    voters: Vec<u64>,
    applied_index: u64,
    term: u64,
}

impl Backend {
    /// What the port's keyspace holds now.
    pub(crate) fn now(context: &Context) -> Result<Backend, tonic::Status> {
        let status = context.status.borrow().clone();
        let id = |node: u64| member_id(context.cluster_id, node);
        let (keyspace, members, applied_index) = context.handle.read(|state| {
            let member = |node: &quorate_machine::NodeRecord| MemberEntry {
                id: id(node.id),
                json: format!(
                    r#"{{"id":{},"peerURLs":[{}],"name":{},"clientURLs":[{}]}}"#,
                    id(node.id),
                    json_urls(&node.peer),
                    json_text(&node.name),
                    json_urls(&node.kv),
                ),
            };
            let members: Vec<MemberEntry> = state.nodes().map(member).collect();
            (
                state.keyspace(&context.instance).cloned(),
                members,
                state.applied_index(),
            )
        });
        Ok(Backend {
            keyspace: keyspace.ok_or_else(errors::unknown_instance)?,
            members,
            voters: status.voters.iter().map(|node| id(*node)).collect(),
            applied_index,
            term: status.term,
        })
    }

    pub(crate) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// etcd's `Hash`: CRC32C over every bucket's name, keys and values, but for what Raft counts.
    pub(crate) fn hash(&self) -> u32 {
        let ignored: [&[u8]; 3] = [b"consistent_index", b"term", b"storageVersion"];
        let mut crc = 0;
        for bucket in self.buckets() {
            crc = crc32c::crc32c_append(crc, bucket.as_bytes());
            let Ok(()) = self.visit::<std::convert::Infallible>(bucket, &mut |key, value| {
                if *bucket != "meta" || !ignored.contains(&key) {
                    crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value);
                }
                Ok(())
            });
        }
        crc
    }

    fn users(&self) -> impl Iterator<Item = authpb::User> {
        self.keyspace.users().into_iter().filter_map(|name| {
            let user = self.keyspace.user(&name)?;
            Some(authpb::User {
                name: name.into(),
                password: user.password_hash,
                roles: user.roles,
                options: Some(authpb::UserAddOptions {
                    no_password: user.no_password,
                }),
            })
        })
    }

    /// Keys ascending.
    fn meta(&self) -> Vec<(&'static str, Vec<u8>)> {
        let voters: Vec<String> = self.voters.iter().map(u64::to_string).collect();
        let conf_state = format!(r#"{{"voters":[{}],"auto_leave":false}}"#, voters.join(","));
        let mut meta = vec![
            ("confState", conf_state.into_bytes()),
            ("consistent_index", self.applied_index.to_be_bytes().to_vec()),
        ];
        let compacted = self.keyspace.compact_revision();
        if compacted >= 0 {
            // A revision as the bucket `key` has it, without a change's number.
            let mut revision = compacted.to_be_bytes().to_vec();
            revision.push(b'_');
            revision.extend_from_slice(&[0; 8]);
            meta.push(("finishedCompactRev", revision.clone()));
            meta.push(("scheduledCompactRev", revision));
        }
        meta.push(("storageVersion", EMULATED_CLUSTER_VERSION.into()));
        meta.push(("term", self.term.to_be_bytes().to_vec()));
        meta
    }
}

impl Contents for Backend {
    fn buckets(&self) -> &'static [&'static str] {
        &BUCKETS
    }

    fn visit<E>(&self, bucket: &str, visit: &mut Visit<'_, E>) -> Result<(), E> {
        let keyspace = &self.keyspace;
        match bucket {
            "auth" => {
                visit(b"authEnabled", &[u8::from(keyspace.auth_enabled())])?;
                visit(b"authRevision", &keyspace.auth_revision().to_be_bytes())
            }
            "authUsers" => self
                .users()
                .try_for_each(|user| visit(&user.name.clone(), &user.encode_to_vec())),
            "authRoles" => keyspace.granted_permissions().try_for_each(|(name, held)| {
                let role = authpb::Role {
                    name: name.to_owned().into(),
                    key_permission: held.iter().cloned().map(authpb::Permission::from).collect(),
                };
                visit(name.as_bytes(), &role.encode_to_vec())
            }),
            "cluster" => {
                visit(b"clusterVersion", EMULATED_CLUSTER_VERSION.as_bytes())?;
                visit(b"downgrade", br#"{"target-version":"","enabled":false}"#)
            }
            "key" => {
                let (mut key, mut value) = (Vec::new(), Vec::new());
                keyspace.bucket_entries().try_for_each(|entry| {
                    key.clear();
                    value.clear();
                    entry.write_key(&mut key);
                    entry.write_value(&mut value);
                    visit(&key, &value)
                })
            }
            "lease" => {
                // Ascending as unsigned numbers, which is how the file is ordered.
                let mut leases: Vec<(i64, i64)> = keyspace.lease_ttls().collect();
                leases.sort_by_key(|(id, _)| id.cast_unsigned());
                leases.into_iter().try_for_each(|(id, ttl_seconds)| {
                    let lease = LeaseEntry {
                        id,
                        ttl_seconds,
                        remaining_ttl_seconds: 0,
                    };
                    visit(&id.to_be_bytes(), &lease.encode_to_vec())
                })
            }
            "members" => {
                let mut members: Vec<(String, &str)> = self
                    .members
                    .iter()
                    .map(|member| (format!("{:x}", member.id), &member.json[..]))
                    .collect();
                members.sort_unstable();
                let mut members = members.into_iter();
                members.try_for_each(|(id, json)| visit(id.as_bytes(), json.as_bytes()))
            }
            "meta" => self
                .meta()
                .into_iter()
                .try_for_each(|(key, value)| visit(key.as_bytes(), &value)),
            _ => Ok(()),
        }
    }
}

/// Addresses of the registry as JSON strings, with commas between them.
fn json_urls(addresses: &str) -> String {
    let urls = urls(addresses);
    urls.iter().map(|url| json_text(url)).collect::<Vec<_>>().join(",")
}

/// A JSON string.
fn json_text(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}
