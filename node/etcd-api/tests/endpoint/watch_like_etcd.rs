//! Watch streams and leases beside a real etcd: the same requests must bring the same answers.

use quorate_etcd_api::pb::authpb;
use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::real::RealEtcd;
use crate::support::{Login, Node, PATIENCE, ROOT_PASSWORD, SDK_PASSWORD};

/// A watch stream whose answers are kept without what names the server.
struct Recording {
    requests: mpsc::Sender<pb::WatchRequest>,
    /// A real etcd opens the stream with its first answer.
    opening: Option<tokio::task::JoinHandle<Streaming<pb::WatchResponse>>>,
    responses: Option<Streaming<pb::WatchResponse>>,
    seen: Vec<pb::WatchResponse>,
}

impl Recording {
    async fn open(login: &mut Login) -> Recording {
        let (requests, stream) = mpsc::channel(16);
        let mut client = login.watch.clone();
        let opening = tokio::spawn(async move {
            let opened = client.watch(ReceiverStream::new(stream)).await;
            opened.expect("stream").into_inner()
        });
        Recording {
            requests,
            opening: Some(opening),
            responses: None,
            seen: Vec::new(),
        }
    }

    /// Sends a request and takes so many answers.
    async fn ask(&mut self, request: RequestUnion, answers: usize) {
        let request_union = Some(request);
        self.requests
            .send(pb::WatchRequest { request_union })
            .await
            .expect("open");
        self.take(answers).await;
    }

    async fn create(&mut self, request: pb::WatchCreateRequest, answers: usize) {
        self.ask(RequestUnion::CreateRequest(request), answers).await;
    }

    async fn take(&mut self, answers: usize) {
        if answers > 0
            && let Some(opening) = self.opening.take()
        {
            self.responses = Some(opening.await.expect("no panic"));
        }
        for _ in 0..answers {
            let responses = self.responses.as_mut().expect("open");
            let response = tokio::time::timeout(PATIENCE, responses.message()).await;
            let seen = &self.seen;
            let response = response.unwrap_or_else(|_| panic!("no answer after {seen:#?}"));
            let mut response = response.expect("no error").expect("it goes on");
            let header = response.header.as_mut().expect("header");
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
            self.seen.push(response);
        }
    }
}

fn on(key: &str, range_end: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
        ..Default::default()
    }
}

async fn delete(login: &mut Login, key: &str, range_end: &str) {
    let request = pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
        ..Default::default()
    };
    login.kv.delete_range(request).await.expect("delete");
}

async fn compact(login: &mut Login, revision: i64) {
    let request = pb::CompactionRequest {
        revision,
        physical: true,
    };
    login.kv.compact(request).await.expect("compact");
}

async fn same<T: PartialEq + std::fmt::Debug>(script: impl AsyncFn(&mut Login) -> T) {
    let node = Node::start().await;
    let ours = script(&mut node.root().await).await;
    let real = RealEtcd::start().await;
    let theirs = script(&mut real.login(None).await).await;
    assert_eq!(ours, theirs, "ours, etcd's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_and_cancelling() {
    same(async |login| {
        login.put("k", "1").await;
        let mut watch = Recording::open(login).await;
        watch.create(on("k", ""), 1).await;
        watch
            .create(
                pb::WatchCreateRequest {
                    watch_id: 7,
                    ..on("k", "l")
                },
                1,
            )
            .await;
        watch
            .create(
                pb::WatchCreateRequest {
                    watch_id: 7,
                    ..on("x", "")
                },
                1,
            )
            .await;
        watch
            .create(
                pb::WatchCreateRequest {
                    watch_id: -5,
                    ..on("x", "")
                },
                1,
            )
            .await;
        watch.create(on("k", "k"), 1).await;
        watch.create(on("l", "k"), 1).await;
        watch
            .create(
                pb::WatchCreateRequest {
                    watch_id: 7,
                    ..on("l", "k")
                },
                1,
            )
            .await;
        watch
            .create(
                pb::WatchCreateRequest {
                    start_revision: -1,
                    ..on("l", "k")
                },
                1,
            )
            .await;
        watch.create(on("", ""), 1).await;
        watch.create(on("", "\0"), 1).await;
        watch
            .create(
                pb::WatchCreateRequest {
                    start_revision: 1000,
                    ..on("k", "")
                },
                1,
            )
            .await;
        for watch_id in [99, 0, 7] {
            let cancel = pb::WatchCancelRequest { watch_id };
            let answers = usize::from(watch_id != 99);
            watch.ask(RequestUnion::CancelRequest(cancel), answers).await;
        }
        watch
            .create(
                pb::WatchCreateRequest {
                    watch_id: 7,
                    ..on("y", "")
                },
                1,
            )
            .await;
        login.put("k", "2").await;
        // Only the one on all keys is left for it.
        watch.take(1).await;
        watch.seen
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_filters_and_previous_values() {
    same(async |login| {
        login.put("a", "1").await;
        login.put("a", "2").await;
        delete(login, "a", "").await;
        login.put("a", "3").await;
        login.put("b", "1").await;
        delete(login, "a", "c").await;
        let mut watch = Recording::open(login).await;
        let history = |filters: Vec<i32>, prev_kv| pb::WatchCreateRequest {
            start_revision: 1,
            prev_kv,
            filters,
            ..on("a", "c")
        };
        watch.create(history(vec![], true), 2).await;
        watch.create(history(vec![0], true), 2).await;
        watch.create(history(vec![1], false), 2).await;
        compact(login, 4).await;
        // The revision before is compacted, so is the value there.
        watch
            .create(
                pb::WatchCreateRequest {
                    start_revision: 4,
                    prev_kv: true,
                    ..on("a", "c")
                },
                2,
            )
            .await;
        watch
            .create(
                pb::WatchCreateRequest {
                    start_revision: 5,
                    prev_kv: true,
                    ..on("a", "c")
                },
                2,
            )
            .await;
        watch
            .create(
                pb::WatchCreateRequest {
                    start_revision: 3,
                    ..on("a", "c")
                },
                2,
            )
            .await;
        watch.seen
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_on_request() {
    same(async |login| {
        login.put("k", "1").await;
        let mut watch = Recording::open(login).await;
        let progress = || RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        // Without a watcher there is no answer.
        watch.ask(progress(), 0).await;
        watch.create(on("k", ""), 1).await;
        login.put("other", "1").await;
        watch.ask(progress(), 1).await;
        login.put("k", "2").await;
        watch.take(1).await;
        watch.ask(progress(), 1).await;
        // Nobody is told of progress before the revision somebody waits for.
        watch
            .create(
                pb::WatchCreateRequest {
                    start_revision: 8,
                    ..on("k", "")
                },
                1,
            )
            .await;
        watch.ask(progress(), 0).await;
        login.put("k", "3").await;
        watch.take(1).await;
        watch.seen
    })
    .await;
}

/// Sizes around the one at which a response is cut, to the byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_are_cut_where_etcd_cuts_them() {
    same(async |login| {
        let mut cuts = Vec::new();
        for (round, last) in [
            1_047_000_usize,
            1_048_180,
            1_048_210,
            1_048_230,
            1_048_250,
            1_048_300,
            1_049_000,
        ]
        .into_iter()
        .enumerate()
        {
            let (a, b, end) = (format!("{round}/a"), format!("{round}/b"), format!("{round}0"));
            login.put(&a, vec![b'x'; 1_048_800]).await;
            login.put(&b, vec![b'x'; last]).await;
            let mut watch = Recording::open(login).await;
            let create = pb::WatchCreateRequest {
                fragment: true,
                prev_kv: true,
                ..on(&a, &end)
            };
            watch.create(create, 1).await;
            delete(login, &a, &end).await;
            loop {
                watch.take(1).await;
                let response = watch.seen.last().expect("taken");
                cuts.push((response.events.len(), response.fragment));
                if !response.fragment {
                    break;
                }
            }
        }
        assert!(
            cuts.contains(&(1, true)) && cuts.contains(&(2, false)),
            "on both sides: {cuts:?}"
        );
        cuts
    })
    .await;
}

/// Users as on our first instance, and one who may read `a`.
async fn secure(real: &RealEtcd) {
    let mut login = real.login(None).await;
    for (name, password) in [("root", ROOT_PASSWORD), ("mas", SDK_PASSWORD)] {
        let user = pb::AuthUserAddRequest {
            name: name.into(),
            password: password.into(),
            ..Default::default()
        };
        login.auth.user_add(user).await.expect("user");
        let role = pb::AuthRoleAddRequest { name: name.into() };
        login.auth.role_add(role).await.expect("role");
        let grant = pb::AuthUserGrantRoleRequest {
            user: name.into(),
            role: name.into(),
        };
        login.auth.user_grant_role(grant).await.expect("grant");
    }
    login.auth.auth_enable(pb::AuthEnableRequest {}).await.expect("enabled");
}

async fn permit(root: &mut Login, key: &str, range_end: &str) {
    let permission = pb::AuthRoleGrantPermissionRequest {
        name: "mas".into(),
        perm: Some(authpb::Permission {
            perm_type: 2,
            key: key.to_owned().into(),
            range_end: range_end.to_owned().into(),
        }),
    };
    root.auth.role_grant_permission(permission).await.expect("granted");
}

fn told<T>(result: Result<tonic::Response<T>, Status>) -> Result<T, (Code, String)> {
    result
        .map(tonic::Response::into_inner)
        .map_err(|status| (status.code(), status.message().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_watch_or_look_at_leases_is_told_as_by_etcd() {
    let node = Node::start().await;
    let real = RealEtcd::start().await;
    secure(&real).await;
    let servers = [
        (
            node.channel().await,
            node.root().await,
            node.login("mas", SDK_PASSWORD).await,
        ),
        (
            real.channel().await,
            real.login(Some(("root", ROOT_PASSWORD))).await,
            real.login(Some(("mas", SDK_PASSWORD))).await,
        ),
    ];
    let mut seen = Vec::new();
    for (channel, mut root, _) in servers {
        permit(&mut root, "a", "b").await;
        root.lease
            .lease_grant(pb::LeaseGrantRequest { id: 5, ttl: 600 })
            .await
            .expect("grant");
        let put = |key: &str| pb::PutRequest {
            key: key.to_owned().into(),
            lease: 5,
            ..Default::default()
        };
        root.kv.put(put("a/1")).await.expect("put");
        let token = crate::support::authenticate(channel.clone(), "mas", SDK_PASSWORD)
            .await
            .expect("login");
        let mut mas = Login::new(channel.clone(), Some(&token));
        let mut answers = Vec::new();
        for login in [
            &mut mas,
            &mut Login::new(channel.clone(), None),
            &mut Login::new(channel.clone(), Some("nonsense")),
        ] {
            let mut watch = Recording::open(login).await;
            watch.create(on("z", ""), 1).await;
            watch.create(on("", "\0"), 1).await;
            watch
                .create(
                    pb::WatchCreateRequest {
                        start_revision: -3,
                        ..on("z", "")
                    },
                    1,
                )
                .await;
            answers.push((watch.seen, lease_answers(login).await));
        }
        root.kv.put(put("z/1")).await.expect("put");
        let after = lease_answers(&mut mas).await;
        seen.push((answers, after));
    }
    assert_eq!(seen[0], seen[1], "ours, etcd's");
}

type Told<T> = Result<T, (Code, String)>;

async fn lease_answers(login: &mut Login) -> (Vec<Told<(i64, i64, usize)>>, Told<Vec<i64>>) {
    let mut left = Vec::new();
    for (id, keys) in [(5, false), (5, true), (6, true)] {
        let answer = told(
            login
                .lease
                .lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys })
                .await,
        );
        left.push(answer.map(|lease| (lease.ttl.signum(), lease.granted_ttl, lease.keys.len())));
    }
    let all = told(login.lease.lease_leases(pb::LeaseLeasesRequest {}).await);
    (
        left,
        all.map(|all| all.leases.into_iter().map(|lease| lease.id).collect()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_within_and_beyond_their_limits() {
    same(async |login| {
        let mut answers = Vec::new();
        for (id, ttl) in [
            (1, 600),
            (1, 600),
            (2, 9_000_000_000),
            (3, 9_000_000_001),
            (4, 0),
            (5, -7),
            (-6, 100),
        ] {
            let granted = told(login.lease.lease_grant(pb::LeaseGrantRequest { id, ttl }).await);
            answers.push(granted.map(|lease| (lease.id, lease.ttl)));
        }
        for id in [1, 99, 0] {
            let revoked = told(login.lease.lease_revoke(pb::LeaseRevokeRequest { id }).await);
            answers.push(revoked.map(|answer| (answer.header.expect("header").revision, 0)));
        }
        answers.push(
            told(
                login
                    .lease
                    .lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 99, keys: true })
                    .await,
            )
            .map(|lease| (lease.ttl, lease.granted_ttl)),
        );
        let once = tokio_stream::once(pb::LeaseKeepAliveRequest { id: 99 });
        let mut alive = login.lease.lease_keep_alive(once).await.expect("stream").into_inner();
        let renewed = alive.message().await.expect("no error").expect("an answer");
        answers.push(Ok((renewed.id, renewed.ttl)));
        answers
    })
    .await;
}
