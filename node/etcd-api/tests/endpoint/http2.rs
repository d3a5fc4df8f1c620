//! HTTP/2 of the port: streams, windows and frames that break the rules.

use std::time::Duration;

use quorate_etcd_api::pb::etcdserverpb as pb;

use crate::frames::*;
use crate::support::{Node, PATIENCE, ROOT_PASSWORD, authenticate};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A node and the token of its root user.
async fn node() -> (Node, String) {
    let node = Node::start().await;
    let token = authenticate(node.channel().await, "root", ROOT_PASSWORD)
        .await
        .expect("login");
    (node, token)
}

#[tokio::test]
async fn many_streams_of_one_connection_are_all_answered() {
    let node = Node::start().await;
    let root = node.root().await;
    let each = |number: usize| {
        let mut root = root.clone();
        async move {
            let (key, value) = (format!("k{number}"), format!("v{number}"));
            root.put(&key, value.clone()).await;
            assert_eq!(root.get(&key).await, Some(value.into()));
        }
    };
    futures_util::future::join_all((0..1_000).map(each)).await;
}

#[tokio::test]
async fn requests_may_come_in_any_pieces() {
    let (node, token) = node().await;
    node.root().await.put("k", "v").await;
    let mut client = RawClient::connect(node.address, &[]).await;
    let head = call(RANGE, &[("token", &token)]);
    let (left, right) = head.split_at(head.len() / 2);
    let mut bytes = frame(HEADERS, 0, 1, left);
    bytes.extend(frame(CONTINUATION, 0, 1, &[]));
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, right));
    for byte in get("k") {
        // Each byte between some padding.
        bytes.extend(frame(DATA, PADDED, 1, &[2, byte, 0, 0]));
    }
    bytes.extend(frame(DATA, END_STREAM, 1, &[]));
    for byte in bytes {
        client.send(&[byte]).await;
    }
    let (message, frames) = client.answer(1).await;
    assert_eq!(value(&message).as_deref(), Some(&b"v"[..]));
    let kinds: Vec<u8> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [HEADERS, DATA, HEADERS]);
}

#[tokio::test]
async fn every_call_is_authenticated_whatever_the_connection_sent_before() {
    let (node, token) = node().await;
    node.root().await.put("k", "v").await;
    let mut client = RawClient::connect(node.address, &[]).await;
    let expectations = [
        (Some(&*token), true),
        (None, false),
        (Some("bad"), false),
        (Some(&token), true),
    ];
    for (number, (token, good)) in (0u32..).zip(expectations.into_iter().cycle().take(8)) {
        let stream = 2 * number + 1;
        let more: Vec<(&str, &str)> = token.iter().map(|token| ("token", *token)).collect();
        client.call(stream, RANGE, &more, &get("k")).await;
        let (message, _) = client.answer(stream).await;
        assert_eq!(!message.is_empty(), good, "call {number}");
    }
}

#[tokio::test]
async fn broken_rules_end_the_connection_and_say_which() {
    let node = Node::start().await;
    let head = call(RANGE, &[]);
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        ("DATA of no stream", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("DATA before HEADERS", frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        (
            "HEADERS of an even stream",
            frame(HEADERS, END_HEADERS, 2, &head),
            PROTOCOL_ERROR,
        ),
        (
            "HEADERS of no stream",
            frame(HEADERS, END_HEADERS, 0, &head),
            PROTOCOL_ERROR,
        ),
        (
            "CONTINUATION alone",
            frame(CONTINUATION, END_HEADERS, 1, &head),
            PROTOCOL_ERROR,
        ),
        (
            "PING within a block",
            [frame(HEADERS, 0, 1, &head), frame(PING, 0, 0, &[0; 8])].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "CONTINUATION of another stream",
            [frame(HEADERS, 0, 1, &head), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "endless CONTINUATION",
            [frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, 0, 1, &[]).repeat(100)].concat(),
            ENHANCE_YOUR_CALM,
        ),
        (
            "a block that cannot be read",
            frame(HEADERS, END_HEADERS, 1, &[0xff; 8]),
            COMPRESSION_ERROR,
        ),
        ("PUSH_PROMISE", frame(5, END_HEADERS, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("PING of a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        (
            "RST_STREAM of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            PROTOCOL_ERROR,
        ),
        (
            "WINDOW_UPDATE by nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            PROTOCOL_ERROR,
        ),
        (
            "a window beyond 2 GiB",
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes()),
            FLOW_CONTROL_ERROR,
        ),
        (
            "SETTINGS of five bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            FRAME_SIZE_ERROR,
        ),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        (
            "an initial window beyond 2 GiB",
            frame(SETTINGS, 0, 0, &setting(4, 1 << 31)),
            FLOW_CONTROL_ERROR,
        ),
        (
            "more padding than payload",
            [frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, PADDED, 1, &[9, 1])].concat(),
            PROTOCOL_ERROR,
        ),
    ];
    for (what, bytes, code) in cases {
        let mut client = RawClient::connect(node.address, &[]).await;
        client.send(&bytes).await;
        assert_eq!(client.end().await, Some(code), "{what}");
    }
    let mut client = RawClient::connect(node.address, &[]).await;
    let mut too_long = frame(DATA, 0, 1, &[0; 16_385]);
    too_long.truncate(9);
    client.send(&too_long).await;
    assert_eq!(
        client.end().await,
        Some(FRAME_SIZE_ERROR),
        "a frame of more than 16 KiB"
    );
    node.root().await.put("k", "v").await;
}

#[tokio::test]
async fn bad_requests_cost_their_stream_alone() {
    let (node, token) = node().await;
    let token = ("token", token.as_str());
    let mut client = RawClient::connect(node.address, &[]).await;
    let mut stream = 1;
    let long = "x".repeat(16_000);
    for (head, expected) in [
        (call(RANGE, &[("connection", "close")]), Some(PROTOCOL_ERROR)),
        (call(RANGE, &[("UPPER", "case")]), Some(PROTOCOL_ERROR)),
        (block(&[(":method", "POST"), (":scheme", "http")]), Some(PROTOCOL_ERROR)),
        (call(RANGE, &[("content-length", "7")]), Some(PROTOCOL_ERROR)),
        (call(RANGE, &[token, ("long", &long)]), None),
    ] {
        client
            .send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &head))
            .await;
        let (_, frames) = client.answer(stream).await;
        let last = frames.last().expect("a frame");
        match expected {
            Some(code) => assert_eq!((last.kind, last.code()), (RST_STREAM, code), "stream {stream}"),
            None => assert!(
                frames[0].kind == HEADERS && frames[0].payload.windows(3).any(|part| part == b"431"),
                "{frames:?}"
            ),
        }
        stream += 2;
    }
    // Not one message: none, half of one, two.
    let whole = get("k");
    for request in [
        &[][..],
        &whole[..4],
        &whole[..6],
        &[whole.clone(), whole.clone()].concat(),
    ] {
        client.call(stream, RANGE, &[token], request).await;
        let (_, frames) = client.answer(stream).await;
        let text = String::from_utf8_lossy(&frames[0].payload).into_owned();
        assert!(text.contains("grpc-status") && text.contains("13"), "{text}");
        stream += 2;
    }
    // Too long by what it announces: refused before it has come, and the rest is not waited for.
    client
        .send(&frame(HEADERS, END_HEADERS, stream, &call(PUT, &[token])))
        .await;
    client.send(&frame(DATA, 0, stream, &[0, 0x40, 0, 0, 0])).await;
    let (_, frames) = client.answer(stream).await;
    assert!(String::from_utf8_lossy(&frames[0].payload).contains("larger%20than%20max"));
    let reset = client.next_of(RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (stream, NO_ERROR));
    client.send(&frame(DATA, END_STREAM, stream, b"a straggler")).await;
    client.call(stream + 2, RANGE, &[token], &whole).await;
    let (message, _) = client.answer(stream + 2).await;
    assert_eq!(value(&message), None, "the connection is as good as before");
}

#[tokio::test]
async fn more_data_than_the_window_ends_the_stream() {
    let (node, token) = node().await;
    let token = ("token", token.as_str());
    let mut client = RawClient::connect(node.address, &setting(4, 0)).await;
    // Keep-alives are answered one after the other, and the client takes no answer: what comes waits in the window.
    let path = "/etcdserverpb.Lease/LeaseKeepAlive";
    for stream in [1, 3] {
        client
            .send(&frame(HEADERS, END_HEADERS, stream, &call(path, &[token])))
            .await;
        for _ in 0..=2 * 1024 * 1024 / 16_384 {
            client.send(&frame(DATA, 0, stream, &[0; 16_384])).await;
        }
        let reset = client.next_of(RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (stream, FLOW_CONTROL_ERROR));
    }
    // What such streams took of the connection's window is given back.
    client.send(&frame(SETTINGS, 0, 0, &setting(4, 65_535))).await;
    client.call(5, RANGE, &[token], &get("k")).await;
    let (message, _) = client.answer(5).await;
    assert_eq!(value(&message), None);
}

#[tokio::test]
async fn answers_keep_to_the_clients_windows_and_slow_readers_hinder_nobody() {
    let (node, token) = node().await;
    let token = ("token", token.as_str());
    let mut root = node.root().await;
    let large = "l".repeat(1_000_000);
    root.put("large", large.clone()).await;
    let no_window = setting(4, 0);
    let mut slow = RawClient::connect(node.address, &no_window).await;
    for stream in [1, 3] {
        slow.call(stream, RANGE, &[token], &get("large")).await;
    }
    assert_eq!(slow.next_of(HEADERS).await.stream, 1);
    // A small answer does not fit either, and a refusal needs no window.
    slow.call(5, RANGE, &[token], &get("small")).await;
    slow.call(7, RANGE, &[], &get("small")).await;
    loop {
        let frame = slow.next_of(HEADERS).await;
        if frame.stream == 7 {
            assert_eq!(frame.flags & END_STREAM, END_STREAM);
            break;
        }
    }
    assert_eq!(root.get("large").await.map(|value| value.len()), Some(large.len()));
    // Stream 1 is given a window bit by bit; the connection's own is 65,535 bytes.
    let mut message = Vec::new();
    let update = |stream, bytes: u32| frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    let mut allowed = 0;
    loop {
        slow.send(&[update(1, 50_000), update(0, 50_000)].concat()).await;
        allowed += 50_000;
        slow.send(&frame(PING, 0, 0, b"windowed")).await;
        let mut ended = false;
        loop {
            let frame = slow.next().await.expect("the connection goes on");
            match frame.kind {
                DATA => {
                    assert_eq!(frame.stream, 1, "the others have no window");
                    message.extend_from_slice(&frame.payload);
                }
                HEADERS => ended |= frame.stream == 1 && frame.flags & END_STREAM != 0,
                PING if frame.payload == b"windowed" => break,
                _ => {}
            }
        }
        assert!(message.len() <= allowed);
        if ended {
            break;
        }
    }
    assert_eq!(value(&message).as_deref(), Some(large.as_bytes()));
    // Everything else is let go at once by a larger initial window.
    let open = frame(SETTINGS, 0, 0, &setting(4, 2_000_000));
    slow.send(&[open, update(0, 2_000_000)].concat()).await;
    let (message, _) = slow.answer(3).await;
    assert_eq!(value(&message).as_deref(), Some(large.as_bytes()));
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_not_served_without_end() {
    let (node, token) = node().await;
    let mut root = node.root().await;
    root.put("large", "l".repeat(1_000_000)).await;
    let mut greedy = RawClient::connect(node.address, &setting(4, 0)).await;
    for number in 0..200 {
        greedy
            .call(2 * number + 1, RANGE, &[("token", &token)], &get("large"))
            .await;
    }
    greedy.round_trip().await;
    root.put("k", "v").await;
    // Calls beyond the limit have waited; they go on when earlier answers are taken.
    let update = frame(SETTINGS, 0, 0, &setting(4, 2_000_000));
    let window = frame(WINDOW_UPDATE, 0, 0, &1_000_000_000u32.to_be_bytes());
    greedy.send(&[update, window].concat()).await;
    let mut ended = 0;
    while ended < 200 {
        let frame = greedy.next().await.expect("the connection goes on");
        ended += usize::from(frame.kind == HEADERS && frame.flags & END_STREAM != 0);
    }
}

#[tokio::test]
async fn calls_end_when_the_client_stops_waiting_or_gives_up() {
    let (node, token) = node().await;
    let token = ("token", token.as_str());
    let mut client = RawClient::connect(node.address, &[]).await;
    let started = std::time::Instant::now();
    for (stream, path) in [(1, PUT), (3, WATCH)] {
        let head = call(path, &[token, ("grpc-timeout", "50m")]);
        client.send(&frame(HEADERS, END_HEADERS, stream, &head)).await;
        let (_, frames) = client.answer(stream).await;
        let last = frames.last().expect("a frame");
        let text = String::from_utf8_lossy(&frames[0].payload).into_owned();
        assert!(last.kind == RST_STREAM || text.contains("deadline"), "{frames:?}");
    }
    assert!(started.elapsed() < PATIENCE);
    // Given up in every state: before the message, while it runs, and as a stream.
    for (stream, path) in [(5, PUT), (7, RANGE), (9, WATCH)] {
        client
            .send(&frame(HEADERS, END_HEADERS, stream, &call(path, &[token])))
            .await;
        if path == RANGE {
            client.send(&frame(DATA, END_STREAM, stream, &get("k"))).await;
        }
        client.send(&frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())).await;
    }
    client.call(11, RANGE, &[token], &get("k")).await;
    let (message, _) = client.answer(11).await;
    assert_eq!(value(&message), None);
}

#[tokio::test]
async fn a_storm_of_resets_ends_the_connection() {
    let node = Node::start().await;
    let mut client = RawClient::connect(node.address, &[]).await;
    let head = call(PUT, &[]);
    let reset = 8u32.to_be_bytes();
    let mut storm = Vec::new();
    for number in 0..6_000 {
        let stream = 2 * number + 1;
        storm.extend(frame(HEADERS, END_HEADERS, stream, &head));
        storm.extend(frame(RST_STREAM, 0, stream, &reset));
    }
    // The node may stop reading before everything is sent.
    drop(tokio::io::AsyncWriteExt::write_all(&mut client.stream, &storm).await);
    if let Some(code) = client.end().await {
        assert_eq!(code, ENHANCE_YOUR_CALM);
    }
    node.root().await.put("k", "v").await;
}

#[tokio::test]
async fn a_silent_client_is_asked_and_then_let_go() {
    let node = Node::start().await;
    let mut client = RawClient::connect(node.address, &[]).await;
    let started = std::time::Instant::now();
    let asked = client.next_of(PING).await;
    assert_eq!(asked.flags & ACK, 0);
    client.send(&frame(PING, ACK, 0, &asked.payload)).await;
    client.next_of(PING).await;
    assert!(client.end().await.is_none(), "no rule was broken");
    let limits = Duration::from_secs(3) + Duration::from_secs(5);
    assert!(
        started.elapsed() >= limits - Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_closing_port_lets_calls_end_and_takes_no_more() {
    let (mut node, token) = node().await;
    let address = node.address;
    let mut client = RawClient::connect(address, &[]).await;
    client
        .send(&frame(HEADERS, END_HEADERS, 1, &call(RANGE, &[("token", &token)])))
        .await;
    client.round_trip().await;
    let closing = async {
        node.close().await;
        node
    };
    let talking = async {
        let goaway = client.next_of(GOAWAY).await;
        assert_eq!(
            (goaway.code(), &goaway.payload[..4]),
            (NO_ERROR, &[0x7f, 0xff, 0xff, 0xff][..])
        );
        let ping = client.next_of(PING).await;
        client.send(&frame(PING, ACK, 0, &ping.payload)).await;
        assert_eq!(
            client.next_of(GOAWAY).await.payload[..4],
            [0, 0, 0, 1],
            "the last stream that is served"
        );
        client.call(3, RANGE, &[("token", &token)], &get("k")).await;
        let refused = client.next_of(RST_STREAM).await;
        assert_eq!((refused.stream, refused.code()), (3, 7));
        client.send(&frame(DATA, END_STREAM, 1, &get("k"))).await;
        let (message, _) = client.answer(1).await;
        assert_eq!(value(&message), None);
        assert!(client.next().await.is_none(), "everything is done");
    };
    let (node, ()) = tokio::join!(closing, talking);
    drop(node);
}

/// The largest put that is allowed takes more than one window.
#[tokio::test]
async fn the_largest_requests_pass_and_larger_ones_are_told_so() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let largest = quorate_kv::MAX_REQUEST_BYTES - 1024;
    root.put("large", vec![b'x'; largest]).await;
    assert_eq!(root.get("large").await.map(|value| value.len()), Some(largest));
    let too_large = pb::PutRequest {
        key: "k".into(),
        value: vec![0; 3 * 1024 * 1024].into(),
        ..Default::default()
    };
    let refused = root.kv.put(too_large).await.expect_err("too large");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
}
