//! Service Watch.

use std::time::Duration;

use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::etcdserverpb::watch_request::RequestUnion;
use quorate_etcd_api::pb::mvccpb::{Event, event::EventType};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::support::{Login, Node, PATIENCE, SDK_PASSWORD};

/// Requests that wait in the client.
const REQUEST_CAPACITY: usize = 16;

/// A watch stream of a test.
struct Watching {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Watching {
    async fn open(login: &mut Login) -> Watching {
        let (requests, stream) = mpsc::channel(REQUEST_CAPACITY);
        let responses = login
            .watch
            .watch(ReceiverStream::new(stream))
            .await
            .expect("stream")
            .into_inner();
        Watching { requests, responses }
    }

    async fn send(&self, request: RequestUnion) {
        self.requests
            .send(pb::WatchRequest {
                request_union: Some(request),
            })
            .await
            .expect("stream is open");
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.send(RequestUnion::CreateRequest(request)).await;
        let response = self.next().await;
        assert!(response.created, "{response:?}");
        response
    }

    async fn next(&mut self) -> pb::WatchResponse {
        let response = tokio::time::timeout(PATIENCE, self.responses.message())
            .await
            .expect("in time");
        response.expect("no error").expect("stream goes on")
    }

    /// Events until `count` are there; checks that no revision is split.
    async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        while events.len() < count {
            let response = self.next().await;
            let more = response.decode_events().expect("events");
            if let (Some(last), Some(first)) = (events.last(), more.first()) {
                assert!(revision(last) < revision(first), "a revision is split or out of order");
            }
            events.extend(more);
        }
        assert_eq!(events.len(), count);
        events
    }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().expect("kv").mod_revision
}

fn on(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn under(prefix: &str) -> pb::WatchCreateRequest {
    let mut range_end = prefix.as_bytes().to_vec();
    *range_end.last_mut().expect("prefix") += 1;
    pb::WatchCreateRequest {
        range_end: range_end.into(),
        ..on(prefix)
    }
}

async fn delete(login: &mut Login, key: &str) {
    let request = pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    login.kv.delete_range(request).await.expect("delete");
}

#[tokio::test]
async fn a_watch_sees_what_happens_from_its_creation_on() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let before = root.put("a/1", "old").await;
    let mut watch = Watching::open(&mut root).await;
    let created = watch
        .create(pb::WatchCreateRequest {
            prev_kv: true,
            ..under("a/")
        })
        .await;
    assert_eq!(
        (created.watch_id, created.header.expect("header").revision),
        (0, before)
    );
    root.put("a/1", "new").await;
    root.put("b/1", "other").await;
    delete(&mut root, "a/1").await;
    let events = watch.events(2).await;
    assert_eq!(events[0].prev_kv.as_ref().expect("previous").value, "old");
    assert_eq!((events[0].r#type(), revision(&events[0])), (EventType::Put, before + 1));
    assert_eq!(events[1].prev_kv.as_ref().expect("previous").value, "new");
    assert_eq!(
        (events[1].r#type(), revision(&events[1])),
        (EventType::Delete, before + 3)
    );
}

#[tokio::test]
async fn history_comes_whole_in_order_and_filters_apply() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let first = root.put("k", "0").await;
    for value in 1..50 {
        root.put("k", value.to_string()).await;
    }
    delete(&mut root, "k").await;
    let mut watch = Watching::open(&mut root).await;
    watch
        .create(pb::WatchCreateRequest {
            start_revision: first,
            ..on("k")
        })
        .await;
    let revisions: Vec<i64> = watch.events(51).await.iter().map(revision).collect();
    assert_eq!(revisions, (first..first + 51).collect::<Vec<_>>());
    let no_put = pb::watch_create_request::FilterType::Noput as i32;
    let deletes = pb::WatchCreateRequest {
        start_revision: first,
        filters: vec![no_put],
        ..on("k")
    };
    assert_eq!(watch.create(deletes).await.watch_id, 1);
    assert_eq!(watch.events(1).await[0].r#type(), EventType::Delete);
}

/// No change made revision 1, so there is nothing of it to be read, ever.
#[tokio::test]
async fn history_of_a_keyspace_that_nobody_wrote_to_is_read_to_its_end() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut watch = Watching::open(&mut root).await;
    let created = watch
        .create(pb::WatchCreateRequest {
            start_revision: 1,
            ..on("k")
        })
        .await;
    assert_eq!(created.header.expect("header").revision, 1);
    watch
        .send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
        .await;
    assert_eq!(watch.next().await.header.expect("header").revision, 1);
    let put = root.put("k", "v").await;
    assert_eq!(revision(&watch.events(1).await[0]), put);
}

#[tokio::test]
async fn a_start_below_the_compaction_is_created_and_then_cancelled() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let first = root.put("k", "1").await;
    root.put("k", "2").await;
    let last = root.put("k", "3").await;
    root.kv
        .compact(pb::CompactionRequest {
            revision: last,
            physical: false,
        })
        .await
        .expect("compacted");
    let mut watch = Watching::open(&mut root).await;
    let created = watch
        .create(pb::WatchCreateRequest {
            start_revision: first,
            ..on("k")
        })
        .await;
    assert!(!created.canceled);
    let cancelled = watch.next().await;
    assert!(cancelled.canceled && !cancelled.created && cancelled.cancel_reason.is_empty());
    assert_eq!(cancelled.compact_revision, last);
    watch
        .create(pb::WatchCreateRequest {
            start_revision: last,
            ..on("k")
        })
        .await;
    assert_eq!(
        revision(&watch.events(1).await[0]),
        last,
        "the compacted revision itself is there"
    );
}

#[tokio::test]
async fn failed_creates_leave_the_stream_alive() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut watch = Watching::open(&mut root).await;
    let refused = |response: pb::WatchResponse, reason: &str| {
        assert!(
            response.created && response.canceled && response.watch_id == -1,
            "{response:?}"
        );
        assert_eq!(response.cancel_reason, reason);
    };
    watch.create(pb::WatchCreateRequest { watch_id: 5, ..on("k") }).await;
    refused(
        watch.create(pb::WatchCreateRequest { watch_id: 5, ..on("k") }).await,
        "mvcc: duplicate watch ID provided on the WatchStream",
    );
    refused(
        watch
            .create(pb::WatchCreateRequest {
                range_end: "a".into(),
                ..on("k")
            })
            .await,
        "mvcc: watcher range is empty",
    );
    refused(
        watch
            .create(pb::WatchCreateRequest {
                start_revision: -1,
                ..on("k")
            })
            .await,
        "etcdserver: mvcc: required revision has been compacted",
    );
    root.put("k", "v").await;
    assert_eq!(watch.events(1).await.len(), 1);
    watch
        .send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 5 }))
        .await;
    let cancelled = watch.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == 5);
    watch.create(pb::WatchCreateRequest { watch_id: 5, ..on("k") }).await;
}

#[tokio::test]
async fn watches_need_read_permission_and_sdk_streams_are_counted() {
    let node = Node::start().await;
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    let mut sdk = node.login("mas", SDK_PASSWORD).await;
    let mut watch = Watching::open(&mut sdk).await;
    for request in [
        under("/other/"),
        pb::WatchCreateRequest {
            range_end: vec![0].into(),
            ..on("")
        },
    ] {
        let response = watch.create(request).await;
        assert!(response.canceled && response.cancel_reason == denied, "{response:?}");
    }
    watch
        .create(under("/mas-monitor/status/db/services/app1/m/database/orders/active"))
        .await;
    let processes = node.clients.connected_processes();
    assert_eq!(processes.len(), 1);
    assert_eq!(
        (processes[0].application.as_str(), processes[0].user.as_str()),
        ("app1", "mas")
    );
    // Also a stream whose client has nothing more to ask ends with the client. The read comes after that on the connection.
    let (closed, _) = mpsc::channel(1);
    watch.requests = closed;
    sdk.get("/mas-monitor/status/db/services/app1/m/database/orders/active")
        .await;
    assert_eq!(node.clients.connected_processes().len(), 1);
    drop(watch);
    let gone = async {
        while !node.clients.connected_processes().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("the process is forgotten");
    let mut nobody = Login::new(node.channel().await, None);
    let mut watch = Watching::open(&mut nobody).await;
    let unknown = "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
    assert_eq!(watch.create(on("/mas-monitor/x")).await.cancel_reason, unknown);
    let mut impostor = Login::new(node.channel().await, Some("made.up"));
    let mut watch = Watching::open(&mut impostor).await;
    let void = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    assert_eq!(watch.create(on("/mas-monitor/x")).await.cancel_reason, void);
}

#[tokio::test]
async fn progress_is_told_for_the_whole_stream_and_never_overtakes() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let first = root.put("k", "0").await;
    let mut watch = Watching::open(&mut root).await;
    watch
        .create(pb::WatchCreateRequest {
            start_revision: first,
            ..on("k")
        })
        .await;
    for round in 0..100 {
        let written = root.put("k", round.to_string()).await;
        watch
            .send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
            .await;
        let mut seen = 0;
        loop {
            let response = watch.next().await;
            if response.events.is_empty() {
                assert_eq!(response.watch_id, -1);
                let told = response.header.expect("header").revision;
                // Progress may be of before the put if the request came first, but never ahead of the events.
                assert!(told <= written);
                if told == written {
                    break;
                }
                watch
                    .send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
                    .await;
            } else {
                seen = response
                    .decode_events()
                    .expect("events")
                    .iter()
                    .map(revision)
                    .max()
                    .expect("an event");
            }
        }
        assert_eq!(seen, written, "the event came before the progress that covers it");
    }
}

/// As clients do that make their requests of a list: etcd goes on with what was asked for.
#[tokio::test]
async fn a_stream_whose_client_has_nothing_more_to_ask_goes_on() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut watch = Watching::open(&mut root).await;
    watch.create(on("k")).await;
    let (closed, _) = mpsc::channel(1);
    watch.requests = closed;
    for number in 0..3 {
        let written = root.put("k", number.to_string()).await;
        assert_eq!(revision(&watch.events(1).await[0]), written);
    }
}

#[tokio::test]
async fn a_stalled_consumer_gets_everything_later_and_others_at_once() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut stalled = Watching::open(&mut root).await;
    let mut quick_login = node.root().await;
    let mut quick = Watching::open(&mut quick_login).await;
    stalled.create(under("k/")).await;
    quick.create(under("k/")).await;
    // More than gRPC's windows and the stream's budget hold together.
    const PUTS: usize = 400;
    let value = bytes::Bytes::from(vec![b'x'; 32 * 1024]);
    let mut writer = node.root().await;
    let mut written = Vec::new();
    for number in 0..PUTS {
        written.push(writer.put(&format!("k/{}", number % 7), value.clone()).await);
        let event = quick.events(1).await;
        assert_eq!(revision(&event[0]), written[number]);
    }
    let revisions: Vec<i64> = stalled.events(PUTS).await.iter().map(revision).collect();
    assert_eq!(revisions, written);
    let next = writer.put("k/1", "last").await;
    assert_eq!(revision(&stalled.events(1).await[0]), next, "it is served live again");
}

#[tokio::test]
async fn fragments_split_a_large_revision_and_only_that() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut watch = Watching::open(&mut root).await;
    watch
        .create(pb::WatchCreateRequest {
            fragment: true,
            prev_kv: true,
            ..under("f/")
        })
        .await;
    let value = bytes::Bytes::from(vec![b'x'; 700 * 1024]);
    for key in ["f/1", "f/2", "f/3", "f/4"] {
        root.put(key, value.clone()).await;
        watch.events(1).await;
    }
    let request = pb::DeleteRangeRequest {
        key: "f/".into(),
        range_end: "f0".into(),
        prev_kv: false,
    };
    root.kv.delete_range(request).await.expect("delete");
    let (mut parts, mut events) = (0, 0);
    loop {
        let response = watch.next().await;
        parts += 1;
        events += response.events.len();
        if !response.fragment {
            break;
        }
    }
    assert_eq!(events, 4);
    assert!(parts > 1, "2.7 MiB of previous values do not fit one part");
}
