//! What a node has acknowledged, it shows: also a follower, whose clients are answered with the leader's reply.

use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::v3electionpb;
use quorate_raft::testing::{TestCluster, three_nodes};
use tonic::Status;

use crate::support::{Login, Node, authenticate, bootstrap, turn};

/// Writes of each test: enough for a follower to be caught behind.
const WRITES: usize = 150;

struct Following {
    cluster: TestCluster,
    node: Node,
    leader: u64,
    _directory: tempfile::TempDir,
    _turn: tokio::sync::OwnedSemaphorePermit,
}

/// Three nodes; the port of one that does not lead.
async fn following() -> Following {
    let turn = turn().await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let cluster = three_nodes(directory.path()).await;
    let leader = cluster.wait_for_leader().await;
    bootstrap(cluster.node(leader), 3).await;
    let follower = if leader == 1 { 2 } else { 1 };
    let node = Node::on(cluster.node(follower).clone(), |_| {}).await;
    Following {
        cluster,
        node,
        leader,
        _directory: directory,
        _turn: turn,
    }
}

fn serializable(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
        serializable: true,
        ..Default::default()
    }
}

async fn opened_at(login: &mut Login) -> i64 {
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    let request = pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    };
    let requests =
        futures_util::StreamExt::chain(futures_util::stream::iter([request]), futures_util::stream::pending());
    let mut responses = login.watch.watch(requests).await.expect("stream").into_inner();
    let created = responses.message().await.expect("response").expect("created");
    created.header.expect("header").revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_reads_show_what_the_node_acknowledged() {
    let mut following = following().await;
    let mut root = following.node.root().await;
    for number in 0..WRITES {
        let value = number.to_string();
        let revision = root.put("k", value.clone()).await;
        // By turns, because only the first read after a write can be too early.
        let request = match number % 2 {
            0 => serializable("k", ""),
            _ => serializable("k", "l"),
        };
        let read = root.kv.range(request).await.expect("range").into_inner();
        assert_eq!(read.kvs[0].value, value.as_bytes());
        assert!(read.header.expect("header").revision >= revision);
    }
    following.cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_from_now_begin_after_what_the_node_acknowledged() {
    let mut following = following().await;
    let mut root = following.node.root().await;
    for number in 0..WRITES {
        let revision = root.put("k", number.to_string()).await;
        let opened = opened_at(&mut root).await;
        assert!(
            opened >= revision,
            "a watch from {opened} would tell of {revision} again"
        );
    }
    following.cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_of_what_the_node_acknowledged() {
    let mut following = following().await;
    let mut root = following.node.root().await;
    let request = |union| pb::WatchRequest {
        request_union: Some(union),
    };
    let (requests, requested) = tokio::sync::mpsc::channel(2);
    let create = pb::WatchCreateRequest {
        key: "other".into(),
        ..Default::default()
    };
    let create = request(pb::watch_request::RequestUnion::CreateRequest(create));
    requests.send(create).await.expect("room");
    let requested = tokio_stream::wrappers::ReceiverStream::new(requested);
    let mut responses = root.watch.watch(requested).await.expect("stream").into_inner();
    assert!(responses.message().await.expect("response").expect("created").created);
    for number in 0..WRITES {
        let revision = root.put("k", number.to_string()).await;
        let progress = pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        requests.send(request(progress)).await.expect("room");
        let told = responses.message().await.expect("response").expect("progress");
        let told = told.header.expect("header").revision;
        assert!(told >= revision, "progress to {told} after {revision} was acknowledged");
    }
    following.cluster.stop_all().await;
}

/// A restart changes nothing of that: the port opens once the state holds what the node acknowledged in its earlier life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_shows_what_it_acknowledged_before() {
    /// While the node is gone.
    const LATER_WRITES: usize = 2_000;
    let Following {
        mut cluster,
        mut node,
        leader,
        _directory,
        _turn,
    } = following().await;
    let follower = node.handle.node_id();
    let acknowledged = node.root().await.put("k", "acknowledged").await;
    node.close().await;
    cluster.kill(follower).await;
    let leading = Node::on(cluster.node(leader).clone(), |_| {}).await;
    let root = leading.root().await;
    let puts = (0..LATER_WRITES).map(|number| {
        let mut root = root.clone();
        async move { root.put(&format!("later/{number}"), "v").await }
    });
    let written = futures_util::future::join_all(puts).await;
    let newest = written.into_iter().max().expect("some");
    cluster.restart(follower).await;
    let node = Node::on(cluster.node(follower).clone(), |_| {}).await;
    let mut root = node.root().await;
    let opened = opened_at(&mut root).await;
    assert!(opened >= newest, "a watch from {opened} would tell of {newest} again");
    let read = root.kv.range(serializable("k", "")).await.expect("range").into_inner();
    assert_eq!(read.kvs[0].mod_revision, acknowledged);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_and_status_cover_what_the_node_acknowledged() {
    let mut following = following().await;
    let mut root = following.node.root().await;
    for number in 0..WRITES {
        let revision = root.put("k", number.to_string()).await;
        let header = match number % 2 {
            0 => {
                let request = pb::HashKvRequest { revision: 0 };
                root.maintenance
                    .hash_kv(request)
                    .await
                    .expect("hash")
                    .into_inner()
                    .header
            }
            _ => {
                let request = pb::StatusRequest {};
                root.maintenance
                    .status(request)
                    .await
                    .expect("status")
                    .into_inner()
                    .header
            }
        };
        assert!(header.expect("header").revision >= revision);
    }
    following.cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_user_is_a_stranger_at_the_node_that_deleted_it() {
    let mut following = following().await;
    let mut root = following.node.root().await;
    let channel = following.node.channel().await;
    for number in 0..WRITES {
        let name = format!("u{number}");
        let user = pb::AuthUserAddRequest {
            name: name.clone(),
            password: "p".into(),
            ..Default::default()
        };
        root.auth.user_add(user).await.expect("added");
        let token = authenticate(channel.clone(), &name, "p").await.expect("token");
        let mut login = Login::new(channel.clone(), Some(&token));
        let user = pb::AuthUserDeleteRequest { name };
        root.auth.user_delete(user).await.expect("deleted");
        let refused = keep_alive_once(&mut login).await.expect_err("refused");
        assert_eq!(refused.message(), "etcdserver: invalid auth token", "{number}");
    }
    following.cluster.stop_all().await;
}

async fn keep_alive_once(login: &mut Login) -> Result<(), Status> {
    let requests = futures_util::stream::iter([pb::LeaseKeepAliveRequest { id: 1 }]);
    let mut answers = login.lease.lease_keep_alive(requests).await?.into_inner();
    answers.message().await.map(drop)
}

/// Who stands in a queue waits for those who came before through another node, however far this one is behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_leads_before_its_turn_at_a_node_that_is_behind() {
    let mut following = following().await;
    let leader = Node::on(following.cluster.node(following.leader).clone(), |_| {}).await;
    let (mut before, mut root) = (leader.root().await, following.node.root().await);
    let lease = pb::LeaseGrantRequest { id: 1, ttl: 600 };
    root.lease.lease_grant(lease).await.expect("granted");
    let mut waited = 0;
    for number in 0..WRITES {
        let first = format!("e{number}/0");
        let mut campaigner = root.clone();
        let request = v3electionpb::CampaignRequest {
            name: format!("e{number}").into(),
            lease: 1,
            value: "the next one".into(),
        };
        // At the same time, so that both keys may come to this node with one message.
        let mut campaign = std::pin::pin!(campaigner.election.campaign(request));
        let queued = async {
            let created = before.put(&first, "the leader").await;
            while count_below(&mut before, &format!("e{number}")).await < 2 {}
            // The answer to the campaigner, if there were one, would be here before this one.
            count_below(&mut root, &format!("e{number}")).await;
            created
        };
        let mut queued = std::pin::pin!(queued);
        tokio::select! {
            elected = &mut campaign => {
                let elected = elected.expect("elected").into_inner().leader.expect("leader").rev;
                let created = queued.await;
                assert!(elected < created, "{number}: two lead, since {created} and since {elected}");
            }
            _ = &mut queued => {
                waited += 1;
                let key = first.clone().into();
                let delete = pb::DeleteRangeRequest { key, ..Default::default() };
                following.node.root().await.kv.delete_range(delete).await.expect("deleted");
                campaign.await.expect("elected");
            }
        }
    }
    assert!(waited > 0, "nobody came before the campaigner");
    following.cluster.stop_all().await;
}

async fn count_below(login: &mut Login, name: &str) -> i64 {
    let request = pb::RangeRequest {
        key: format!("{name}/").into(),
        range_end: format!("{name}0").into(),
        count_only: true,
        ..Default::default()
    };
    login.kv.range(request).await.expect("range").into_inner().count
}

/// A node that passes on what switches authentication off must not refuse strangers after it said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_served_once_authentication_is_off() {
    let mut following = following().await;
    for _ in 0..10 {
        let mut root = following.node.root().await;
        let mut stranger = following.node.anonymous().await;
        root.auth
            .auth_disable(pb::AuthDisableRequest {})
            .await
            .expect("disabled");
        stranger.put("k", "v").await;
        stranger
            .auth
            .auth_enable(pb::AuthEnableRequest {})
            .await
            .expect("enabled");
    }
    following.cluster.stop_all().await;
}
