//! Service Maintenance, beside snapshots, and reads in pieces.

use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::etcdserverpb::downgrade_request::DowngradeAction;
use tonic::{Code, Status};

use crate::real::{RealEtcd, hash};
use crate::snapshot::fill;
use crate::support::{Login, Node};

fn check<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err("refused");
    assert_eq!((status.code(), status.message()), (code, text));
}

/// The same changes make the same hashes, at the newest and at earlier revisions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_are_those_of_a_real_etcd() {
    let node = Node::start().await;
    let real = RealEtcd::start().await;
    let (mut ours, mut theirs) = (node.root().await, real.login(None).await);
    fill(&mut ours, 9).await;
    fill(&mut theirs, 9).await;
    let newest = hash(&mut theirs).await;
    assert_eq!(hash(&mut ours).await, newest);
    for revision in [
        newest.compact_revision + 1,
        newest.hash_revision - 200,
        newest.hash_revision,
    ] {
        let of = async |login: &mut Login| {
            let hash = login.maintenance.hash_kv(pb::HashKvRequest { revision }).await;
            pb::HashKvResponse {
                header: None,
                ..hash.expect("hash").into_inner()
            }
        };
        assert_eq!(of(&mut ours).await, of(&mut theirs).await, "revision {revision}");
    }
    for login in [&mut ours, &mut theirs] {
        let of = pb::HashKvRequest {
            revision: newest.compact_revision - 1,
        };
        check(
            login.maintenance.hash_kv(of).await,
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        );
        let of = pb::HashKvRequest {
            revision: newest.hash_revision + 1,
        };
        check(
            login.maintenance.hash_kv(of).await,
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision",
        );
    }
    let whole = async |login: &mut Login| {
        let hash = login
            .maintenance
            .hash(pb::HashRequest {})
            .await
            .expect("hash")
            .into_inner();
        (hash.header.expect("header").revision, hash.hash)
    };
    let before = whole(&mut ours).await;
    assert_eq!(before, whole(&mut ours).await);
    ours.put("k/1", "changed").await;
    assert_ne!(before.1, whole(&mut ours).await.1);
}

/// Where etcd has no root, it asks for none; otherwise the answers are the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downgrades_are_checked_as_by_etcd() {
    let node = Node::start().await;
    let real = RealEtcd::start().await;
    for login in [&mut node.root().await, &mut real.login(None).await] {
        let mut ask = async |action: DowngradeAction, version: &str| {
            let request = pb::DowngradeRequest {
                action: action as i32,
                version: version.to_owned(),
            };
            login
                .maintenance
                .downgrade(request)
                .await
                .map(|answer| answer.into_inner().version)
        };
        for version in ["3.5", "3.5.0", "3.5.9-rc.1"] {
            assert_eq!(ask(DowngradeAction::Validate, version).await.expect("valid"), "3.6");
        }
        for action in [DowngradeAction::Validate, DowngradeAction::Enable] {
            let wrong = "etcdserver: wrong downgrade target version format";
            for version in ["", "3", "x.y", "3.5.x", "3.5.0.0"] {
                check(ask(action, version).await, Code::InvalidArgument, wrong);
            }
            let invalid = "etcdserver: invalid downgrade target version";
            for version in ["3.4", "3.6", "3.7.0", "2.5.0"] {
                check(ask(action, version).await, Code::InvalidArgument, invalid);
            }
        }
        assert_eq!(ask(DowngradeAction::Cancel, "").await.expect("cancelled"), "3.6");
    }
    let enable = pb::DowngradeRequest {
        action: DowngradeAction::Enable as i32,
        version: "3.5".to_owned(),
    };
    let refused = node
        .root()
        .await
        .maintenance
        .downgrade(enable)
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn leadership_moves_only_to_a_voter() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let status = root
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    let own = pb::MoveLeaderRequest {
        target_id: status.leader,
    };
    let moved = root.maintenance.move_leader(own).await.expect("it leads already");
    assert_eq!(moved.into_inner().header, None);
    let nobody = pb::MoveLeaderRequest {
        target_id: status.leader ^ 1,
    };
    check(
        root.maintenance.move_leader(nobody).await,
        Code::FailedPrecondition,
        "etcdserver: bad leader transferee",
    );
}

#[tokio::test]
async fn the_status_needs_a_user() {
    let node = Node::start().await;
    let mut nobody = Login::new(node.channel().await, None);
    check(
        nobody.maintenance.status(pb::StatusRequest {}).await,
        Code::InvalidArgument,
        "etcdserver: user name is empty",
    );
}

#[tokio::test]
async fn a_read_in_pieces_is_the_same_read() {
    let node = Node::start().await;
    let mut root = node.root().await;
    for number in 0..6 {
        root.put(&format!("r/{number}"), vec![b'x'; 600_000]).await;
    }
    let all = pb::RangeRequest {
        key: "r/".into(),
        range_end: "r0".into(),
        ..Default::default()
    };
    let limited = pb::RangeRequest {
        limit: 4,
        ..all.clone()
    };
    let counted = pb::RangeRequest {
        count_only: true,
        ..all.clone()
    };
    for (request, expected_pieces) in [(all.clone(), 3), (limited, 2), (counted, 1)] {
        let whole = root.kv.range(request.clone()).await.expect("range").into_inner();
        let mut pieces = root.kv.range_stream(request).await.expect("stream").into_inner();
        let (mut kvs, mut count, mut last) = (Vec::new(), 0, None);
        while let Some(piece) = pieces.message().await.expect("no error") {
            assert!(last.is_none(), "the header comes last");
            let mut piece = piece.range_response.expect("response");
            kvs.append(&mut piece.kvs);
            count += 1;
            last = piece.header.is_some().then_some(piece);
        }
        let last = last.expect("a last piece");
        assert_eq!(count, expected_pieces);
        assert_eq!((last.count, last.more), (whole.count, whole.more));
        assert_eq!(last.header, whole.header);
        assert!(kvs == whole.kvs);
    }
    for refused in [
        pb::RangeRequest {
            sort_order: 2,
            ..all.clone()
        },
        pb::RangeRequest {
            sort_target: 3,
            ..all.clone()
        },
        pb::RangeRequest {
            min_mod_revision: 1,
            ..all.clone()
        },
    ] {
        let status = root.kv.range_stream(refused).await.expect_err("refused");
        assert_eq!(status.code(), Code::Unimplemented);
    }
    let mut nobody = Login::new(node.channel().await, None);
    check(
        nobody.kv.range_stream(all).await,
        Code::InvalidArgument,
        "etcdserver: user name is empty",
    );
}
