//! The gateway over WebSocket, message by message as real etcd's.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::gateway::{comparable, open_node};
use crate::http::{exchange, post};
use crate::real_etcd::RealEtcd;
use crate::support::{Node, PATIENCE, ROOT_PASSWORD};

/// The key of RFC 6455's own example…
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// … and what proves that it was understood.
const ACCEPTED: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Headers of a good handshake.
fn handshake() -> String {
    format!(
        "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n"
    )
}

/// A connection that speaks WebSocket, and the head of the answer to its handshake.
struct Socket {
    stream: WebSocketStream<TcpStream>,
    head: String,
}

impl Socket {
    async fn open(address: SocketAddr, path: &str, more: &str) -> Socket {
        let mut stream = TcpStream::connect(address).await.expect("connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{}{more}\r\n", handshake());
        stream.write_all(request.as_bytes()).await.expect("request");
        let mut head = Vec::new();
        let reading = async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
        };
        timeout(PATIENCE, reading).await.expect("an answer in time");
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Socket {
            stream: WebSocketStream::from_raw_socket(stream, Role::Client, None).await,
            head,
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("sent");
    }

    /// The next message; `None` once the other side has closed, in order or by ending the connection.
    async fn next(&mut self) -> Option<String> {
        match timeout(PATIENCE, self.stream.next()).await.expect("a message in time") {
            Some(Ok(Message::Text(text))) => Some(text.to_string()),
            Some(Ok(other)) => {
                assert!(other.is_close(), "{other:?}");
                None
            }
            Some(Err(_)) | None => None,
        }
    }

    /// So many messages.
    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let next = self.next().await;
            messages.push(next.unwrap_or_else(|| panic!("the connection ended after {messages:?}")));
        }
        messages
    }
}

/// A message without what differs between two clusters.
fn message(text: String) -> String {
    comparable(crate::http::Answer {
        status: 0,
        content_type: String::new(),
        headers: String::new(),
        body: text,
    })
    .2
}

/// A conversation: a path, what is sent, how many messages come back, and whether the connection ends then.
const CONVERSATIONS: &[(&str, &[&str], usize, bool)] = &[
    ("/v3/nothing", &[], 1, true),
    ("/v3/kv/range", &[r#"{"key":5}"#], 1, true),
    (
        "/v3/watch",
        &[r#"{"create_request":{"key":"Zm9v","start_revision":"1"}}"#],
        2,
        false,
    ),
    (
        "/v3/watch",
        &[
            r#"{"create_request":{"key":"Zm9v","watch_id":"7"}}"#,
            r#"{"create_request":{"key":"Zm9v","watch_id":"7"}}"#,
            r#"{"cancel_request":{"watch_id":"7"}}"#,
            r#"{"progress_request":{}}"#,
        ],
        3,
        false,
    ),
    (
        "/v3beta/watch",
        &[r#"{"createRequest":{"key":"Zm9v","startRevision":2}}"#],
        2,
        false,
    ),
    ("/v3/lease/keepalive", &[r#"{"ID":"77"}"#, r#"{"ID":"78"}"#], 2, false),
    ("/v3/lease/keepalive", &[r#"{"ID":"77"}{"ID":"79"}"#], 2, false),
    ("/v3/lease/keepalive?method=PUT", &[r#"{"ID":"77"}"#], 1, false),
    ("/v3/lease/keepalive", &[r#"{"ID":"#, r#""77"}"#], 1, false),
];

async fn converse(address: SocketAddr, path: &str, sent: &[&str], count: usize, ends: bool) -> Vec<String> {
    let mut socket = Socket::open(address, path, "").await;
    for text in sent {
        socket.send(text).await;
    }
    let mut answers: Vec<String> = socket.take(count).await.into_iter().map(message).collect();
    if ends {
        answers.push(format!("then {:?}", socket.next().await));
    }
    answers
}

#[tokio::test]
async fn conversations_are_those_of_real_etcd() {
    let node = open_node().await;
    let etcd = RealEtcd::start().await;
    for address in [node.address, etcd.address] {
        for (path, body) in [
            ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
            ("/v3/lease/grant", r#"{"TTL":"60","ID":"77"}"#),
        ] {
            assert_eq!(post(address, path, body).await.status, 200);
        }
    }
    let mut different = Vec::new();
    for (path, sent, count, ends) in CONVERSATIONS {
        let ours = converse(node.address, path, sent, *count, *ends).await;
        let theirs = converse(etcd.address, path, sent, *count, *ends).await;
        if ours != theirs {
            different.push(format!("{path} {sent:?}\n  ours   {ours:#?}\n  theirs {theirs:#?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// etcd waits for the client's goodbye before it answers a call with one request, and says nothing of a mistake in a stream.
#[tokio::test]
async fn what_etcd_leaves_open_is_answered() {
    let node = open_node().await;
    let answers = converse(
        node.address,
        "/v3/kv/put",
        &[r#"{"key":"Zm9v","value":"YmFy"}"#],
        1,
        true,
    )
    .await;
    assert!(
        answers[0].contains(r#""revision":"2""#) && answers[1] == "then None",
        "{answers:?}"
    );
    let answers = converse(node.address, "/v3/kv/range", &[r#"{"key":"Zm9v"}"#, "more"], 1, true).await;
    assert!(answers[0].contains(r#""value":"YmFy""#), "{answers:?}");
    let answers = converse(node.address, "/v3/watch", &["hello"], 1, true).await;
    assert!(answers[0].contains("invalid character 'h'"), "{answers:?}");
    let sent = [r#"{"create_request":{"key":"Zm9v"}}"#, "hello"];
    let answers = converse(node.address, "/v3/watch", &sent, 1, true).await;
    assert!(
        answers[0].contains("created") && answers[1] == "then None",
        "{answers:?}"
    );
}

#[tokio::test]
async fn events_come_as_they_happen() {
    let node = open_node().await;
    let etcd = RealEtcd::start().await;
    let mut seen = Vec::new();
    for address in [node.address, etcd.address] {
        let mut socket = Socket::open(address, "/v3/watch", "").await;
        socket.send(r#"{"create_request":{"key":"Zm9v"}}"#).await;
        let mut messages = socket.take(1).await;
        for value in ["YQ==", "Yg=="] {
            let put = format!(r#"{{"key":"Zm9v","value":"{value}"}}"#);
            assert_eq!(post(address, "/v3/kv/put", &put).await.status, 200);
            messages.extend(socket.take(1).await);
        }
        // A ping of the client is answered.
        socket
            .stream
            .send(Message::Ping(b"there?".as_slice().into()))
            .await
            .expect("sent");
        let pong = timeout(PATIENCE, socket.stream.next()).await.expect("in time");
        assert_eq!(
            pong.expect("a frame").expect("a pong"),
            Message::Pong(b"there?".as_slice().into())
        );
        // So is its goodbye. Real etcd drops the connection instead.
        socket.stream.close(None).await.expect("closed");
        let goodbye = timeout(PATIENCE, socket.stream.next()).await.expect("in time");
        let polite = goodbye.is_none_or(|frame| frame.is_ok_and(|frame| frame.is_close()));
        assert!(polite || address == etcd.address);
        seen.push(messages.into_iter().map(message).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0][2].contains(r#""value":"Yg==""#), "{seen:?}");
}

#[tokio::test]
async fn handshakes_are_taken_and_refused_as_by_real_etcd() {
    let node = open_node().await;
    let etcd = RealEtcd::start().await;
    let without = |name: &str| {
        let kept = handshake();
        let kept = kept.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        kept.collect::<String>()
    };
    let bad = [
        ("POST", handshake()),
        ("GET", without("sec-websocket-version")),
        ("GET", without("sec-websocket-key")),
        ("GET", handshake().replace(KEY, "c2hvcnQ=")),
        ("GET", handshake().replace("13", "8")),
        // Not asked for at all: the gateway's own answer.
        ("GET", without("upgrade")),
    ];
    for (method, headers) in bad {
        let ours = exchange(node.address, method, "/v3/watch", &headers, "").await;
        let theirs = exchange(etcd.address, method, "/v3/watch", &headers, "").await;
        assert_eq!(comparable(ours), comparable(theirs), "{method} {headers}");
    }
    for protocol in [
        "",
        "sec-websocket-protocol: Bearer, abc\r\n",
        "sec-websocket-protocol: other\r\n",
    ] {
        for address in [node.address, etcd.address] {
            let head = Socket::open(address, "/v3/watch", protocol).await.head.to_lowercase();
            let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            assert_eq!(value("sec-websocket-accept: "), Some(ACCEPTED.to_lowercase()));
            assert_eq!(value("upgrade: ").as_deref(), Some("websocket"));
            let expected = protocol.contains("Bearer").then_some("bearer");
            assert_eq!(value("sec-websocket-protocol: ").as_deref(), expected, "{head}");
        }
    }
}

#[tokio::test]
async fn a_token_comes_with_the_protocol_and_never_as_a_cookie() {
    let node = Node::start().await;
    node.root().await.put("k", "v").await;
    let login = format!(r#"{{"name":"root","password":"{ROOT_PASSWORD}"}}"#);
    let answer = post(node.address, "/v3/auth/authenticate", &login).await;
    let token = answer
        .body
        .split("\"token\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let token = token.expect("a token").to_owned();
    let create = r#"{"create_request":{"key":"aw==","start_revision":"1"}}"#;
    for (headers, allowed) in [
        (format!("sec-websocket-protocol: Bearer, {token}\r\n"), true),
        (format!("sec-websocket-protocol: Bearer,{token}\r\n"), true),
        (format!("cookie: token={token}\r\n"), false),
        (format!("authorization: {token}\r\n"), false),
        ("sec-websocket-protocol: Bearer, made.up\r\n".to_owned(), false),
        (String::new(), false),
    ] {
        let mut socket = Socket::open(node.address, "/v3/watch", &headers).await;
        socket.send(create).await;
        let answer = socket.next().await.expect("an answer");
        assert_eq!(answer.contains(r#""canceled":true"#), !allowed, "{headers} {answer}");
        if allowed {
            assert!(socket.next().await.expect("events").contains(r#""key":"aw==""#));
        }
    }
}

#[tokio::test]
async fn messages_have_a_limit_and_the_port_closes_in_order() {
    let mut node = open_node().await;
    let mut socket = Socket::open(node.address, "/v3/watch", "").await;
    let begun = socket.stream.send(Message::text("x".repeat(4 * 1024 * 1024))).await;
    // The other side may have hung up before all of it was sent.
    drop(begun);
    match timeout(PATIENCE, socket.stream.next()).await.expect("in time") {
        Some(Ok(Message::Close(frame))) => assert_eq!(frame.expect("a reason").code, CloseCode::Size),
        Some(Err(_)) | None => {}
        other => panic!("{other:?}"),
    }
    let mut socket = Socket::open(node.address, "/v3/watch", "").await;
    socket.send(r#"{"create_request":{"key":"Zm9v"}}"#).await;
    socket.take(1).await;
    let closing = node.close();
    let ending = async {
        while let Some(last) = socket.next().await {
            assert!(last.contains("\"error\"") || last.contains("canceled"), "{last}");
        }
    };
    timeout(Duration::from_secs(5), async { tokio::join!(closing, ending) })
        .await
        .expect("nobody waits for the client");
}
