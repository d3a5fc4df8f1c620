//! A bootstrapped cluster and a write to it.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use quorate_kv::{KvCaller, KvOp, PutRequest};
use quorate_machine::{Bootstrap, Command, Id, KvCommand, KvPrincipal, NodeRecord, Principal, PrincipalKind, Proposal};
use quorate_raft::Retention;
use quorate_raft::testing::TestCluster;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub const CALL: Duration = Duration::from_secs(10);
/// Bounds what takes several calls.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Real nodes keep real time: run side by side on a small machine, they would miss their own deadlines.
static TURN: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

/// Waits until no other test runs nodes.
pub async fn turn() -> OwnedSemaphorePermit {
    Arc::clone(&TURN).acquire_owned().await.expect("never closed")
}

fn instance() -> Id {
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

fn bootstrap() -> Proposal {
    let node = |id: u64| NodeRecord {
        id,
        name: format!("node-{id}"),
        site: ["dc1", "dc2", "arbiter"][id as usize - 1].to_owned(),
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
        kv_root_password_hash: "hash".into(),
        kv_sdk_password_hash: "hash".into(),
        feature_points: Vec::new(),
    };
    proposal(PrincipalKind::Node(1), Command::Bootstrap(Box::new(command)))
}

/// A put by the instance's root.
pub fn put(key: &str) -> Proposal {
    let caller = KvCaller {
        user: "root".to_owned(),
        auth_revision: u64::MAX,
    };
    let request = PutRequest {
        key: key.to_owned().into(),
        value: "value".into(),
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

/// Three nodes, in dc1, dc2 and the arbiter's site, with their first command applied everywhere.
pub async fn bootstrapped(directory: &Path, retention: Retention) -> TestCluster {
    let cluster = TestCluster::start_with(directory, 3, retention, true).await;
    let begun = Instant::now();
    for node in cluster.nodes() {
        while node.read(|state| state.cluster().is_none()) {
            assert!(begun.elapsed() < PATIENCE, "the cluster cannot be bootstrapped");
            // Done by another one's turn already, or without a leader in this moment: both show in the state.
            let _ = node.propose(bootstrap(), CALL).await;
            let _ = node.read_index(CALL).await;
        }
    }
    cluster
}
