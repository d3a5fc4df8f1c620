//! TLS and plaintext on one port, the plain pages, and the drain.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use quorate_etcd_api::pb::etcdserverpb as pb;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Node, PATIENCE, ROOT_PASSWORD, authenticate};

async fn tls_channel(node: &Node) -> Result<Channel, tonic::transport::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(node.certificate.der().clone()).expect("root");
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, address) = (TlsConnector::from(Arc::new(config)), node.address);
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let name = ServerName::try_from("127.0.0.1").expect("name");
            let stream = connector.connect(name, TcpStream::connect(address).await?).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://127.0.0.1").timeout(PATIENCE);
    endpoint.connect_with_connector(connect).await
}

async fn page(node: &Node, path: &str) -> String {
    let mut stream = TcpStream::connect(node.address).await.expect("connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answer");
    answer
}

#[tokio::test]
async fn tls_and_plaintext_share_the_port() {
    let node = Node::start().await;
    let tls = tls_channel(&node).await.expect("TLS");
    authenticate(tls, "root", ROOT_PASSWORD).await.expect("login over TLS");
    node.root().await;
}

#[tokio::test]
async fn where_certificates_are_demanded_plaintext_and_bare_tls_are_refused() {
    let node = Node::start_with(|door| door.require_client_certificate = true).await;
    if let Ok(channel) = tls_channel(&node).await {
        assert!(authenticate(channel, "root", ROOT_PASSWORD).await.is_err());
    }
    let endpoint = Endpoint::from_shared(format!("http://{}", node.address)).expect("endpoint");
    if let Ok(channel) = endpoint.connect().await {
        assert!(authenticate(channel, "root", ROOT_PASSWORD).await.is_err());
    }
}

#[tokio::test]
async fn health_and_version_are_plain_pages() {
    let node = Node::start().await;
    let health = page(&node, "/health").await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains(r#"{"health":"true","reason":""}"#),
        "{health}"
    );
    let version = page(&node, "/version").await;
    assert!(version.contains(r#""etcdserver":"3.6."#), "{version}");
    assert!(page(&node, "/nothing").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn garbage_and_silence_do_no_harm() {
    let node = Node::start().await;
    for garbage in [
        &b"\x16\x03\x01\xff\xff garbage"[..],
        b"\x00\x00\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxx",
    ] {
        let mut stream = TcpStream::connect(node.address).await.expect("connection");
        stream.write_all(garbage).await.expect("sent");
        stream.shutdown().await.expect("closed");
        let mut answer = Vec::new();
        // An error is as good an end as a clean one.
        drop(
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
                .await
                .expect("the connection ends"),
        );
    }
    let silent = TcpStream::connect(node.address).await.expect("connection");
    node.root().await;
    drop(silent);
}

/// Reads until the other side ends the connection; an error is as good an end as a clean one.
async fn until_ended(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let ended = async {
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("the node ends the connection");
}

#[tokio::test]
async fn who_does_not_finish_a_request_loses_the_connection_or_the_call() {
    let node = Node::start().await;
    let plaintext = async |words: &[u8]| {
        let mut stream = TcpStream::connect(node.address).await.expect("connection");
        stream.write_all(words).await.expect("sent");
        stream
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(node.certificate.der().clone()).expect("root");
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("name");
    let stream = TcpStream::connect(node.address).await.expect("connection");
    let silent_tls = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .expect("TLS");
    let call = b"POST /etcdserverpb.KV/Put HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\n\
        content-length: 99\r\nconnection: close\r\n\r\n\0\0\0\0";
    let (preface, call) = (plaintext(b"PRI * HTTP").await, plaintext(call).await);
    tokio::join!(until_ended(silent_tls), until_ended(preface), until_ended(call));
}

#[tokio::test]
async fn closing_the_port_ends_streams_with_unavailable() {
    let mut node = Node::start().await;
    let mut root = node.root().await;
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    let request = pb::watch_request::RequestUnion::CreateRequest(create);
    let request = pb::WatchRequest {
        request_union: Some(request),
    };
    // The request side stays open: a client that closes it ends the stream itself.
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    requests.send(request).await.expect("room");
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut responses = root.watch.watch(stream).await.expect("stream").into_inner();
    assert!(responses.message().await.expect("response").expect("created").created);
    node.close().await;
    let end = responses.message().await.expect_err("the stream ends with an error");
    assert_eq!(
        (end.code(), end.message()),
        (tonic::Code::Unavailable, "etcdserver: server stopped")
    );
    assert!(TcpStream::connect(node.address).await.is_err(), "the port is closed");
}
