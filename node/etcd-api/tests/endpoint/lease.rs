//! Leases: grant, keep-alive, expiry, revoke.

use std::time::{Duration, Instant};

use futures_util::stream;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_raft::testing::{three_nodes, wait_until};
use tonic::Code;

use crate::support::{Login, Node, PATIENCE, SDK_PASSWORD, bootstrap, turn};

async fn grant(root: &mut Login, ttl: i64) -> i64 {
    let granted = root
        .lease
        .lease_grant(pb::LeaseGrantRequest { ttl, id: 0 })
        .await
        .expect("grant")
        .into_inner();
    assert!(granted.id > 0);
    granted.id
}

async fn put_leased(root: &mut Login, key: &str, lease: i64) {
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        lease,
        ..Default::default()
    };
    root.kv.put(request).await.expect("put");
}

async fn keep_alive(root: &mut Login, leases: Vec<i64>) -> Vec<i64> {
    let requests = stream::iter(leases.into_iter().map(|id| pb::LeaseKeepAliveRequest { id }));
    let mut answers = root
        .lease
        .lease_keep_alive(requests)
        .await
        .expect("stream")
        .into_inner();
    let mut ttls = Vec::new();
    while let Some(answer) = answers.message().await.expect("answer") {
        ttls.push(answer.ttl);
    }
    ttls
}

#[tokio::test]
async fn a_lease_is_told_listed_renewed_and_revoked() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let lease = grant(&mut root, 100).await;
    put_leased(&mut root, "k", lease).await;
    let request = pb::LeaseTimeToLiveRequest { id: lease, keys: true };
    let told = root.lease.lease_time_to_live(request).await.expect("told").into_inner();
    assert_eq!((told.granted_ttl, told.keys.len()), (100, 1));
    assert!((98..=100).contains(&told.ttl), "{}", told.ttl);
    let listed = root
        .lease
        .lease_leases(pb::LeaseLeasesRequest {})
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(listed.leases, [pb::LeaseStatus { id: lease }]);
    assert_eq!(keep_alive(&mut root, vec![lease, 12345]).await, [100, 0]);
    root.lease
        .lease_revoke(pb::LeaseRevokeRequest { id: lease })
        .await
        .expect("revoked");
    assert_eq!(root.get("k").await, None);
    let again = root
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id: lease })
        .await
        .expect_err("gone");
    assert_eq!(
        (again.code(), again.message()),
        (Code::NotFound, "etcdserver: requested lease not found")
    );
    let told = root
        .lease
        .lease_time_to_live(pb::LeaseTimeToLiveRequest { id: lease, keys: false })
        .await;
    assert_eq!(told.expect("told").into_inner().ttl, -1);
}

#[tokio::test]
async fn a_lease_granted_again_under_its_id_starts_at_its_own_time() {
    let node = Node::start().await;
    let mut root = node.root().await;
    for ttl in [1000, 100, 500] {
        let granted = root.lease.lease_grant(pb::LeaseGrantRequest { ttl, id: 7 }).await;
        assert_eq!(granted.expect("granted").into_inner().id, 7);
        let request = pb::LeaseTimeToLiveRequest { id: 7, keys: false };
        let told = root.lease.lease_time_to_live(request).await.expect("told").into_inner();
        assert!((ttl - 2..=ttl).contains(&told.ttl), "{} of {ttl}", told.ttl);
        root.lease
            .lease_revoke(pb::LeaseRevokeRequest { id: 7 })
            .await
            .expect("revoked");
    }
}

#[tokio::test]
async fn who_may_see_and_keep_a_lease_depends_on_its_keys() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let lease = grant(&mut root, 100).await;
    put_leased(&mut root, "secret", lease).await;
    let mut sdk = node.login("mas", SDK_PASSWORD).await;
    let denied = "etcdserver: permission denied";
    let told = |keys| pb::LeaseTimeToLiveRequest { id: lease, keys };
    sdk.lease
        .lease_time_to_live(told(false))
        .await
        .expect("without the keys");
    let refused = sdk
        .lease
        .lease_time_to_live(told(true))
        .await
        .expect_err("with the keys");
    assert_eq!(refused.message(), denied);
    let refused = sdk
        .lease
        .lease_leases(pb::LeaseLeasesRequest {})
        .await
        .expect_err("all leases");
    assert_eq!(refused.message(), denied);
    let requests = stream::iter([pb::LeaseKeepAliveRequest { id: lease }]);
    let mut answers = sdk.lease.lease_keep_alive(requests).await.expect("stream").into_inner();
    let refused = answers.message().await.expect_err("a renewal");
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, denied));
}

#[tokio::test]
async fn a_lease_that_nobody_renews_takes_its_keys_with_it_and_a_renewed_one_stays() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let (short, kept) = (grant(&mut root, 1).await, grant(&mut root, 2).await);
    put_leased(&mut root, "short", short).await;
    put_leased(&mut root, "kept", kept).await;
    let start = Instant::now();
    while root.get("short").await.is_some() {
        assert!(start.elapsed() < PATIENCE, "the lease never expires");
        assert_eq!(keep_alive(&mut root, vec![kept]).await, [2]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A time to live below the minimum of two seconds is raised to it; an expiry is never early.
    assert!(start.elapsed() >= Duration::from_millis(1900), "{:?}", start.elapsed());
    assert!(root.get("kept").await.is_some());
}

/// Nobody could renew it meanwhile, and a client renews as soon as it can: etcd's leader steps down without a quorum and starts
/// every lease anew when it leads again; ours may lead on in its term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_survives_a_time_without_a_quorum_that_is_longer_than_its_own() {
    const TTL_SECONDS: i64 = 8;
    /// Of a lease that is granted afterwards: the shortest there is.
    const WITNESS_TTL_SECONDS: i64 = 2;
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut cluster = three_nodes(directory.path()).await;
    let leader = cluster.wait_for_leader().await;
    bootstrap(cluster.node(leader), 3).await;
    let node = Node::on(cluster.node(leader).clone(), |_| {}).await;
    let mut root = node.root().await;
    let lease = grant(&mut root, TTL_SECONDS).await;
    put_leased(&mut root, "k", lease).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    assert_eq!(keep_alive(&mut root, vec![lease]).await, [TTL_SECONDS]);
    for id in &others {
        cluster.kill(*id).await;
    }
    let lost = Instant::now();
    wait_until("the lease would have run out", || {
        lost.elapsed() > Duration::from_secs(TTL_SECONDS.unsigned_abs() + 1)
    })
    .await;
    for id in &others {
        cluster.restart(*id).await;
    }
    // Nearly always it leads on in its term; in another one every lease begins anew in any case.
    cluster.wait_for_leader().await;
    // Once another one has run out, those that were due when the quorum came back have been looked at several times.
    let witness = grant(&mut root, WITNESS_TTL_SECONDS).await;
    put_leased(&mut root, "witness", witness).await;
    let expired = async { while root.get("witness").await.is_some() {} };
    tokio::time::timeout(PATIENCE, expired).await.expect("it runs out");
    assert_eq!(keep_alive(&mut root, vec![lease]).await, [TTL_SECONDS]);
    assert!(root.get("k").await.is_some());
    cluster.stop_all().await;
}
