//! Services Lock and Election, each test against our endpoint and a real etcd alike.

use std::time::Duration;

use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::{v3electionpb, v3lockpb};
use tonic::{Code, Status};

use crate::real::RealEtcd;
use crate::support::{Login, Node, PATIENCE};

async fn both(test: impl AsyncFn(Login)) {
    let node = Node::start().await;
    test(node.root().await).await;
    let real = RealEtcd::start().await;
    test(real.login(None).await).await;
}

fn check<T: std::fmt::Debug>(result: Result<T, Status>, text: &str) {
    let status = result.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::Unknown, text));
}

async fn grant(login: &mut Login, id: i64) {
    let request = pb::LeaseGrantRequest { id, ttl: 600 };
    login.lease.lease_grant(request).await.expect("grant");
}

async fn revoke(login: &mut Login, id: i64) {
    login
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id })
        .await
        .expect("revoke");
}

fn lock(name: &str, lease: i64) -> v3lockpb::LockRequest {
    let name = name.to_owned().into();
    v3lockpb::LockRequest { name, lease }
}

/// Waits until so many keys are under the prefix.
async fn until_waiting(login: &mut Login, prefix: &str, count: i64) {
    let waiting = async {
        loop {
            let mut range_end = prefix.as_bytes().to_vec();
            *range_end.last_mut().expect("prefix") += 1;
            let request = pb::RangeRequest {
                key: prefix.to_owned().into(),
                range_end: range_end.into(),
                count_only: true,
                ..Default::default()
            };
            if login.kv.range(request).await.expect("range").into_inner().count == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_by_one_at_a_time_in_order() {
    both(async |mut login| {
        for lease in [0xa, 0xb, 0xc] {
            grant(&mut login, lease).await;
        }
        let held = login.lock.lock(lock("l", 0xa)).await.expect("locked").into_inner();
        assert_eq!(held.key, "l/a");
        let again = login
            .lock
            .lock(lock("l", 0xa))
            .await
            .expect("held already")
            .into_inner();
        assert_eq!((again.key, again.header), (held.key.clone(), held.header));
        let waiter = |lease| {
            let mut login = login.clone();
            tokio::spawn(async move { login.lock.lock(lock("l", lease)).await })
        };
        let second = waiter(0xb);
        until_waiting(&mut login.clone(), "l/", 2).await;
        let third = waiter(0xc);
        until_waiting(&mut login, "l/", 3).await;
        assert!(!second.is_finished() && !third.is_finished());
        let unlock = v3lockpb::UnlockRequest { key: held.key };
        login.lock.unlock(unlock.clone()).await.expect("unlocked");
        let second = second.await.expect("no panic").expect("locked").into_inner();
        assert_eq!(second.key, "l/b");
        assert!(!third.is_finished());
        revoke(&mut login, 0xb).await;
        assert_eq!(third.await.expect("no panic").expect("locked").into_inner().key, "l/c");
        login.lock.unlock(unlock).await.expect("a key that is gone is no error");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_that_leaves_gives_its_place_back_and_one_without_lease_gets_one() {
    both(async |mut login| {
        grant(&mut login, 1).await;
        let held = login.lock.lock(lock("l", 1)).await.expect("locked").into_inner();
        let mut leaving = login.clone();
        let waiter = tokio::spawn(async move { leaving.lock.lock(lock("l", 0)).await });
        until_waiting(&mut login, "l/", 2).await;
        waiter.abort();
        until_waiting(&mut login, "l/", 1).await;
        login
            .lock
            .unlock(v3lockpb::UnlockRequest { key: held.key })
            .await
            .expect("unlocked");
        let fresh = login.lock.lock(lock("l", 0)).await.expect("locked").into_inner();
        assert!(
            login
                .get(std::str::from_utf8(&fresh.key).expect("text"))
                .await
                .is_some()
        );
        check(
            login.lock.lock(lock("other", 0x999)).await,
            "etcdserver: requested lease not found",
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_whose_lease_ends_is_told() {
    both(async |mut login| {
        grant(&mut login, 1).await;
        grant(&mut login, 2).await;
        let held = login.lock.lock(lock("l", 1)).await.expect("locked").into_inner();
        let mut other = login.clone();
        let waiter = tokio::spawn(async move { other.lock.lock(lock("l", 2)).await });
        until_waiting(&mut login, "l/", 2).await;
        revoke(&mut login, 2).await;
        login
            .lock
            .unlock(v3lockpb::UnlockRequest { key: held.key })
            .await
            .expect("unlocked");
        check(waiter.await.expect("no panic"), "mutex: session is expired");
    })
    .await;
}

fn campaign(lease: i64, value: &str) -> v3electionpb::CampaignRequest {
    v3electionpb::CampaignRequest {
        name: "e".into(),
        lease,
        value: value.to_owned().into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_follow_each_other_and_observers_see_all_of_them() {
    both(async |mut login| {
        grant(&mut login, 0x11).await;
        grant(&mut login, 0x22).await;
        let name = || v3electionpb::LeaderRequest { name: "e".into() };
        check(login.election.leader(name()).await, "election: no leader");
        let mut watching = login.clone();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let observer = tokio::spawn(async move {
            let mut leaders = watching.election.observe(name()).await.expect("stream").into_inner();
            while let Some(leader) = leaders.message().await.expect("no error") {
                let value = leader.kv.expect("leader").value;
                let _ = tell.send(String::from_utf8(value.to_vec()).expect("text"));
            }
        });
        let mut observed = async || {
            let told = tokio::time::timeout(PATIENCE, told.recv()).await;
            told.expect("in time").expect("it goes on")
        };
        let first = login
            .election
            .campaign(campaign(0x11, "one"))
            .await
            .expect("elected")
            .into_inner();
        let leader = first.leader.expect("leader");
        assert_eq!((&leader.key[..], leader.lease), (&b"e/11"[..], 0x11));
        assert_eq!(observed().await, "one");
        let present = login
            .election
            .leader(name())
            .await
            .expect("leader")
            .into_inner()
            .kv
            .expect("kv");
        assert_eq!((present.create_revision, &present.value[..]), (leader.rev, &b"one"[..]));
        let mut second = login.clone();
        let second = tokio::spawn(async move { second.election.campaign(campaign(0x22, "two")).await });
        until_waiting(&mut login, "e/", 2).await;
        let proclaim = |leader: &v3electionpb::LeaderKey, value: &str| v3electionpb::ProclaimRequest {
            leader: Some(leader.clone()),
            value: value.to_owned().into(),
        };
        login
            .election
            .proclaim(proclaim(&leader, "one again"))
            .await
            .expect("proclaimed");
        // Campaigning again under the same lease is the same leadership, with another value.
        let same = login
            .election
            .campaign(campaign(0x11, "one more"))
            .await
            .expect("leads")
            .into_inner();
        assert_eq!(same.leader.as_ref().map(|leader| leader.rev), Some(leader.rev));
        let resign = v3electionpb::ResignRequest {
            leader: Some(leader.clone()),
        };
        login.election.resign(resign.clone()).await.expect("resigned");
        let elected = second.await.expect("no panic").expect("elected").into_inner();
        assert_eq!(elected.leader.expect("leader").key, "e/22");
        check(
            login.election.proclaim(proclaim(&leader, "late")).await,
            "election: not leader",
        );
        login.election.resign(resign).await.expect("no error");
        for value in ["one again", "one more", "two"] {
            assert_eq!(observed().await, value);
        }
        observer.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_refuse_with_the_texts_of_etcd() {
    both(async |mut login| {
        let text = "\"leader\" field must be provided";
        check(
            login.election.proclaim(v3electionpb::ProclaimRequest::default()).await,
            text,
        );
        check(
            login.election.resign(v3electionpb::ResignRequest::default()).await,
            text,
        );
        check(
            login.election.campaign(campaign(0x999, "v")).await,
            "etcdserver: requested lease not found",
        );
    })
    .await;
}
