//! Commands for clusters under test: a bootstrap and writes to its first instance.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::time::Duration;

use bytes::Bytes;
use quorate_kv::{KvCaller, KvOp, PutRequest, RangeRequest};
use quorate_machine::{
    Bootstrap, Command, Id, KvCommand, KvPrincipal, NodeRecord, Principal, PrincipalKind, Proposal, RemoveNode, Reply,
    ReplyKind,
};
use quorate_raft::{CallError, Committed, Handle};

/// Time for calls that are expected to succeed without a change of leader.
pub const CALL: Duration = Duration::from_secs(5);

/// The first instance.
pub fn instance() -> Id {
    Id::from_u128(5)
}

fn proposal(kind: PrincipalKind, command: Command) -> Proposal {
    let author = Principal {
        kind: Some(kind),
        source: "test".to_owned(),
    };
    Proposal {
        author: Some(author),
        command: Some(command),
    }
}

fn node_record(id: u64) -> NodeRecord {
    NodeRecord {
        id,
        name: format!("node-{id}"),
        zone: format!("az{id}"),
        ..NodeRecord::default()
    }
}

/// The first command of a cluster.
pub fn bootstrap() -> Proposal {
    let command = Bootstrap {
        cluster_id: Id::from_u128(1),
        nodes: (1..=3).map(node_record).collect(),
        module_id: Id::from_u128(3),
        namespace_id: Id::from_u128(4),
        instance_id: instance(),
        root_user_id: Id::from_u128(6),
        root_password_hash: "hash".to_owned(),
        kv_root_password_hash: Bytes::from_static(b"hash"),
        kv_sdk_password_hash: Bytes::from_static(b"hash"),
        feature_points: vec!["mysql".to_owned()],
    };
    proposal(PrincipalKind::Node(1), Command::Bootstrap(Box::new(command)))
}

/// Takes a node out of the registry.
pub fn remove_node(node: u64) -> Proposal {
    proposal(PrincipalKind::Node(1), Command::RemoveNode(RemoveNode { node }))
}

/// A put by the instance's root.
pub fn put(handle: &Handle, key: &str, value: &str) -> Proposal {
    let auth_revision = handle.read(|state| {
        state
            .keyspace(&instance())
            .map_or(0, |keyspace| keyspace.auth_revision())
    });
    let caller = KvCaller {
        user: "root".to_owned(),
        auth_revision,
    };
    let request = PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..PutRequest::default()
    };
    let command = KvCommand {
        instance: instance(),
        op: Some(KvOp::Put(request)),
    };
    proposal(
        PrincipalKind::Kv(KvPrincipal::new(command.instance, caller)),
        Command::Kv(command),
    )
}

/// Puts and panics if it was not carried out.
pub async fn must_put(handle: &Handle, key: &str, value: &str, deadline: Duration) -> Committed {
    match handle.propose(put(handle, key, value), deadline).await {
        Ok(committed) => {
            assert_carried_out(&committed.reply);
            committed
        }
        Err(error) => panic!("put of {key} on node {}: {error}", handle.node_id()),
    }
}

/// Panics if the reply is a refusal.
pub fn assert_carried_out(reply: &Reply) {
    assert!(
        matches!(
            &reply.kind,
            Some(ReplyKind::Kv(_) | ReplyKind::Done(_) | ReplyKind::Object(_))
        ),
        "not carried out: {reply:?}"
    );
}

/// A key's value and version in a node's state.
pub fn get(handle: &Handle, key: &str) -> Option<(String, i64)> {
    let request = RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..RangeRequest::default()
    };
    handle.read(|state| {
        let response = state
            .keyspace(&instance())?
            .range(&request)
            .expect("the range is valid");
        let found = response.kvs.first()?;
        Some((String::from_utf8_lossy(&found.value).into_owned(), found.version))
    })
}

/// Reads after a read index.
pub async fn linearizable_get(handle: &Handle, key: &str) -> Result<Option<(String, i64)>, CallError> {
    handle.read_index(CALL).await?;
    Ok(get(handle, key))
}
