//! Clients: writers that own their keys, and readers of anything.

use std::time::Duration;

use bytes::Bytes;
use openraft::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use prost::Message;
use quorate_kv::{KvCaller, KvOp, PutRequest, RangeRequest};
use quorate_machine::{
    Bootstrap, Command, Id, KvCommand, KvPrincipal, NodeRecord, Principal, PrincipalKind, Proposal, ReplyKind, State,
};

use super::cluster::SimCluster;
use super::{PlantedBug, Random};

/// Longest pause of a client between calls: more calls find little more, and cost the time of more seeds.
const PAUSE_MAX_MS: u64 = 50;
/// Deadline of every call.
const CALL: Duration = Duration::from_secs(1);

fn instance() -> Id {
    Id::from_u128(5)
}

fn proposal(kind: PrincipalKind, command: Command) -> Bytes {
    let author = Principal {
        kind: Some(kind),
        source: "sim".to_owned(),
    };
    let proposal = Proposal {
        author: Some(author),
        command: Some(command),
    };
    proposal.encode_to_vec().into()
}

/// The first command of the cluster.
pub(crate) fn bootstrap() -> Bytes {
    let node = |id: u64| NodeRecord {
        id,
        name: format!("node-{id}"),
        ..NodeRecord::default()
    };
    let command = Bootstrap {
        cluster_id: Id::from_u128(1),
        nodes: (1..=3).map(node).collect(),
        module_id: Id::from_u128(3),
        namespace_id: Id::from_u128(4),
        instance_id: instance(),
        root_user_id: Id::from_u128(6),
        root_password_hash: "hash".to_owned(),
        kv_root_password_hash: Bytes::from_static(b"hash"),
        kv_sdk_password_hash: Bytes::from_static(b"hash"),
        feature_points: Vec::new(),
    };
    proposal(PrincipalKind::Node(1), Command::Bootstrap(Box::new(command)))
}

fn put(key: &str, value: u64) -> Bytes {
    let caller = KvCaller {
        user: "root".to_owned(),
        auth_revision: u64::MAX,
    };
    let request = PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.to_string().into(),
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

/// Value and version of a key; zeros if it is not there.
pub(crate) fn get(state: &State, key: &str) -> (u64, u64) {
    let request = RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..RangeRequest::default()
    };
    let response = state
        .keyspace(&instance())
        .and_then(|keyspace| keyspace.range(&request).ok());
    let found = response.and_then(|response| response.kvs.into_iter().next());
    found.map_or((0, 0), |found| {
        let value = std::str::from_utf8(&found.value)
            .ok()
            .and_then(|text| text.parse().ok());
        (value.unwrap_or(u64::MAX), found.version as u64)
    })
}

/// Writes until the run is over.
pub(crate) async fn write(cluster: SimCluster, writer: u64, mut random: Random) {
    let mut generation = 0;
    while !cluster.is_over() {
        let key = format!("writer-{writer}-{generation}");
        let mut value = 1;
        while !cluster.is_over() {
            SimRuntime::sleep(random.millis(0, PAUSE_MAX_MS)).await;
            let Some(core) = cluster.core(1 + random.below(3)) else {
                continue;
            };
            cluster.history.write_begins(&key, value);
            let outcome = core.propose(put(&key, value), CALL).await;
            match outcome {
                Ok(committed) if matches!(committed.reply.kind, Some(ReplyKind::Kv(_))) => {
                    cluster.history.write_acknowledged(&key, value);
                    value += 1;
                }
                Ok(committed) => {
                    cluster
                        .history
                        .violated(format!("a write was refused: {:?}", committed.reply));
                    return;
                }
                // Perhaps applied, perhaps later: this key is left alone from now on.
                Err(_) => break,
            }
        }
        generation += 1;
    }
}

/// Reads until the run is over.
pub(crate) async fn read(cluster: SimCluster, mut random: Random) {
    while !cluster.is_over() {
        SimRuntime::sleep(random.millis(0, PAUSE_MAX_MS)).await;
        let node = 1 + random.below(3);
        let Some(core) = cluster.core(node) else { continue };
        let Some(key) = cluster.history.some_key(random.next()) else {
            continue;
        };
        let begun = cluster.history.read_begins(&key);
        let trusting = cluster.options.bug == Some(PlantedBug::ReadWithoutQuorum) && core.standings.now().leading;
        if !trusting && core.read_index(CALL).await.is_err() {
            continue;
        }
        let (value, version) = get(&core.state.read(), &key);
        cluster.history.read_ends(&begun, value, version, node);
    }
}
