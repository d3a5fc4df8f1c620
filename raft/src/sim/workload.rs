//! Clients: writers that own their keys, and readers of anything.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use openraft::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use prost::Message;
use quorate_kv::{KvCaller, KvOp, PutRequest, RangeRequest};
use quorate_machine::{
    Bootstrap, Command, Id, KvCommand, KvPrincipal, NodeRecord, Principal, PrincipalKind, Proposal, ReplyKind, State,
};

use super::cluster::{SimCluster, SimCore};
use super::{PlantedBug, Random};
use crate::propose::WithoutQuorum;

/// Longest pause of a client between calls: more calls find little more, and cost the time of more seeds.
const PAUSE_MAX_MS: u64 = 50;
/// Deadline of every call.
const CALL: Duration = Duration::from_secs(1);
/// The same of a caller that waits through the loss of a quorum.
const PATIENT_CALL: Duration = Duration::from_secs(5);

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

/// Writes until the run is over; with more than one lane it proposes as many puts of different keys at once, which share
/// entries.
pub(crate) async fn write(cluster: SimCluster, writer: u64, lanes: u64, mut random: Random) {
    let mut lanes: Vec<Lane> = (0..lanes).map(|lane| Lane::new(writer, lane)).collect();
    while !cluster.is_over() {
        SimRuntime::sleep(random.millis(0, PAUSE_MAX_MS)).await;
        let Some(core) = cluster.core(1 + random.below(3)) else {
            continue;
        };
        let puts = lanes.iter_mut().map(|lane| lane.put(&cluster, &core));
        if join_all(puts).await.contains(&false) {
            return;
        }
    }
}

/// Writes one key after the other: 1, 2, 3… into each, until an outcome is unknown.
struct Lane {
    name: String,
    generation: u64,
    value: u64,
    deadline: Duration,
    without_quorum: WithoutQuorum,
}

impl Lane {
    fn new(writer: u64, lane: u64) -> Self {
        // Some callers wait through the loss of a quorum, some go on at once.
        let (deadline, without_quorum) = match writer % 2 {
            0 => (CALL, WithoutQuorum::Fail),
            _ => (PATIENT_CALL, WithoutQuorum::Wait),
        };
        Self {
            name: format!("writer-{writer}-{lane}"),
            generation: 0,
            value: 1,
            deadline,
            without_quorum,
        }
    }

    /// Puts the next value; false if the cluster broke its word.
    async fn put(&mut self, cluster: &SimCluster, core: &SimCore) -> bool {
        let key = format!("{}-{}", self.name, self.generation);
        cluster.history.write_begins(&key, self.value);
        let proposal = put(&key, self.value);
        match core.propose(proposal, self.deadline, self.without_quorum).await {
            Ok(committed) if matches!(committed.reply.kind, Some(ReplyKind::Kv(_))) => {
                cluster.history.write_acknowledged(&key, self.value);
                self.value += 1;
            }
            Ok(committed) => {
                let text = format!("a write was refused: {:?}", committed.reply);
                cluster.history.violated(text);
                return false;
            }
            // Perhaps applied, perhaps later: this key is left alone from now on.
            Err(_) => (self.generation, self.value) = (self.generation + 1, 1),
        }
        true
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
