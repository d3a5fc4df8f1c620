//! Clients that mean harm, or know no better: each gets a clear error or nothing, memory stays bounded, and nobody else
//! notices.

use std::time::{Duration, Instant};

use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::etcdserverpb::watch_request::RequestUnion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::http::exchange;
use crate::support::{Login, Node, PATIENCE};

/// Connections that say hello and nothing more: nearly as many as one process may hold that has both of their ends.
const IDLE_CONNECTIONS: usize = 9_000;

/// Memory of both ends of [`IDLE_CONNECTIONS`]: 40 KiB each.
const MAX_IDLE_BYTES: u64 = 360 * 1024 * 1024;

/// Memory for streams that are opened and not read.
const MAX_STREAM_GROWTH_BYTES: u64 = 150 * 1024 * 1024;

/// What a put of somebody else may take meanwhile, in a debug build on a busy machine.
const MAX_BYSTANDER: Duration = Duration::from_secs(2);

const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .expect("pages");
    pages * 4096
}

/// Puts of somebody else, one after the other; the longest of them.
async fn bystander(root: &mut Login, puts: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..puts {
        let begun = Instant::now();
        root.put("bystander", number.to_string()).await;
        longest = longest.max(begun.elapsed());
    }
    longest
}

fn create(key: &str) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    }
}

#[tokio::test]
async fn malformed_messages_are_refused_one_by_one() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let framed = |message: &[u8]| {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
        frame.extend_from_slice(message);
        String::from_utf8(frame).expect("ASCII")
    };
    let bodies = [
        (framed(b"\x0a\x7f"), 13),
        (framed(b"\x08\x01\x08"), 13),
        (framed(b"\x0b"), 13),
        // Compressed, which nobody has announced.
        (format!("\u{1}{}", &framed(b"x")[1..]), 13),
        // Says that four gigabytes follow, in one letter of text each: 0x7f7f7f7f.
        ("\0\u{7f}\u{7f}\u{7f}\u{7f}".to_owned(), 8),
        (String::new(), 13),
    ];
    for path in [
        "/etcdserverpb.KV/Put",
        "/etcdserverpb.KV/Txn",
        "/etcdserverpb.Auth/Authenticate",
    ] {
        for (body, code) in &bodies {
            let answer = exchange(node.address, "POST", path, "content-type: application/grpc\r\n", body).await;
            let found = answer
                .headers
                .lines()
                .find_map(|line| line.strip_prefix("grpc-status: ")?.parse::<i32>().ok());
            assert!(found.is_some_and(|found| found != 0), "{path} {body:?}: {answer:?}");
            assert_eq!(found, Some(*code), "{path} {body:?}: {answer:?}");
        }
    }
    bystander(&mut root, 1).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_as_in_go() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let put = |bytes: usize| pb::PutRequest {
        key: "k".into(),
        value: vec![7; bytes].into(),
        ..Default::default()
    };
    let refused = root.kv.put(put(1_600_000)).await.expect_err("beyond etcd's limit");
    assert_eq!(
        (refused.code(), refused.message()),
        (tonic::Code::InvalidArgument, "etcdserver: request is too large")
    );
    let refused = root.kv.put(put(3_000_000)).await.expect_err("beyond gRPC's limit");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
    assert!(
        refused
            .message()
            .starts_with("grpc: received message larger than max (30000"),
        "{}",
        refused.message()
    );
    bystander(&mut root, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_little_and_are_given_up() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let before = resident_bytes();
    let mut idle = Vec::with_capacity(IDLE_CONNECTIONS);
    for _ in 0..IDLE_CONNECTIONS {
        let mut connection = TcpStream::connect(node.address).await.expect("a place");
        connection.write_all(HTTP2_HELLO).await.expect("hello");
        idle.push(connection);
    }
    let longest = bystander(&mut root, 20).await;
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "{IDLE_CONNECTIONS} idle connections: {} MiB, longest put beside them {longest:?}",
        grown >> 20
    );
    assert!(grown < MAX_IDLE_BYTES, "{} MiB", grown >> 20);
    assert!(longest < MAX_BYSTANDER, "{longest:?}");
    // They answer no ping, so the node gives them up, each within its five seconds.
    let ended = async {
        for connection in &mut idle {
            let mut sink = [0; 256];
            while connection.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("all are given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_never_read_hold_little_and_nobody_up() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut unread = Vec::new();
    for _ in 0..32 {
        let mut deaf = node.root().await;
        let (requests, stream) = mpsc::channel(1);
        requests.send(create("loud")).await.expect("room");
        let answers = deaf.watch.watch(ReceiverStream::new(stream)).await.expect("stream");
        unread.push((requests, answers));
    }
    let (requests, stream) = mpsc::channel(1);
    requests.send(create("loud")).await.expect("room");
    let mut reading = root
        .watch
        .watch(ReceiverStream::new(stream))
        .await
        .expect("stream")
        .into_inner();
    assert!(reading.message().await.expect("answer").expect("created").created);
    let before = resident_bytes();
    let writes = 200;
    let mut writer = node.root().await;
    let writing = tokio::spawn(async move {
        for _ in 0..writes {
            writer.put("loud", vec![7_u8; 100_000]).await;
        }
    });
    let mut seen = 0;
    while seen < writes {
        let answer = tokio::time::timeout(PATIENCE, reading.message())
            .await
            .expect("in time");
        seen += answer.expect("answer").expect("events").events.len();
    }
    writing.await.expect("written");
    let longest = bystander(&mut root, 20).await;
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "32 deaf watchers of 20 MB: {} MiB, longest put beside them {longest:?}",
        grown >> 20
    );
    assert_eq!(seen, writes, "no event is missing");
    assert!(grown < MAX_STREAM_GROWTH_BYTES, "{} MiB", grown >> 20);
    assert!(longest < MAX_BYSTANDER, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_a_millisecond_disturbs_nobody() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let before = resident_bytes();
    let mut opener = node.root().await;
    let opening = tokio::spawn(async move {
        let mut streams = Vec::new();
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        for number in 0..2_000 {
            pace.tick().await;
            let (requests, stream) = mpsc::channel(1);
            requests.send(create(&format!("k{number}"))).await.expect("room");
            let stream = opener.watch.watch(ReceiverStream::new(stream)).await.expect("a stream");
            streams.push((requests, stream));
        }
        streams
    });
    let mut longest = Duration::ZERO;
    while !opening.is_finished() {
        longest = longest.max(bystander(&mut root, 5).await);
    }
    let streams = opening.await.expect("opened");
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "{} streams: {} MiB, longest put beside them {longest:?}",
        streams.len(),
        grown >> 20
    );
    assert!(grown < MAX_STREAM_GROWTH_BYTES, "{} MiB", grown >> 20);
    assert!(longest < MAX_BYSTANDER, "{longest:?}");
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_owner_is_not() {
    let node = Node::start().await;
    // The owner has been here before.
    let mut root = node.root().await;
    let channel = node.channel().await;
    let mut refusals = Vec::new();
    for guess in 0..12 {
        let refused = crate::support::authenticate(channel.clone(), "root", &format!("guess-{guess}")).await;
        refusals.push(refused.expect_err("a wrong password").code());
    }
    assert_eq!(refusals[..10], [tonic::Code::InvalidArgument; 10]);
    assert_eq!(refusals[10..], [tonic::Code::ResourceExhausted; 2]);
    node.root().await;
    let change = pb::AuthUserChangePasswordRequest {
        name: "mas".to_owned(),
        password: "new".to_owned(),
        ..Default::default()
    };
    root.auth
        .user_change_password(change)
        .await
        .expect("other users are not concerned");
    node.login("mas", "new").await;
}

#[tokio::test]
async fn who_exists_cannot_be_told_from_the_time_of_a_refusal() {
    let node = Node::start().await;
    let mut root = node.root().await;
    for (name, no_password) in [("there", false), ("certified", true)] {
        let options = Some(quorate_etcd_api::pb::authpb::UserAddOptions { no_password });
        let password = if no_password { String::new() } else { "pw".to_owned() };
        let add = pb::AuthUserAddRequest {
            name: name.to_owned(),
            password,
            options,
            ..Default::default()
        };
        root.auth.user_add(add).await.expect("user");
    }
    let channel = node.channel().await;
    let mut fastest = Vec::new();
    for name in ["there", "certified", "nobody"] {
        let mut times = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            let refused = crate::support::authenticate(channel.clone(), name, "wrong")
                .await
                .expect_err("refused");
            // etcd has a text of its own for users that log in by certificate alone.
            let expected = match name {
                "certified" => "auth: authentication failed, password was given for no password user",
                _ => "etcdserver: authentication failed, invalid user ID or password",
            };
            assert_eq!(refused.message(), expected);
            times.push(begun.elapsed());
        }
        fastest.push(times.into_iter().min().expect("times"));
    }
    // A hash takes tens of milliseconds, everything else together one or two.
    let (least, most) = (
        fastest.iter().min().expect("times"),
        fastest.iter().max().expect("times"),
    );
    assert!(*most < *least * 2, "{fastest:?}");
}
