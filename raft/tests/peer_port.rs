//! What the peer port grants to whom: deadlines for those that say nothing, places for strangers and for nodes, nothing for
//! nodes that were removed.

mod cluster_common;

use std::time::{Duration, Instant};

use cluster_common::{CALL, assert_carried_out, bootstrap, must_put, remove_node};
use quorate_raft::testing::{TestCa, TestCluster, ping, three_nodes, wait_until};
use quorate_raft::{PeerDialer, Purpose, TcpDialer};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Deadline of the port for the handshake, and again for the first bytes.
const DEADLINE: Duration = Duration::from_secs(5);
/// Above the deadline by what a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Places for clients without a certificate.
const ANONYMOUS_PLACES: usize = 64;

/// Waits until the port closes a connection; how long that took.
async fn closed_after(mut stream: impl AsyncReadExt + Unpin) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset counts as an end.
    assert!(end.is_ok(), "the port keeps a silent connection");
    started.elapsed()
}

async fn connect(cluster: &TestCluster, as_node: Option<u64>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(cluster.address(1)).await.expect("connected");
    let name = ServerName::try_from(quorate_raft::peer_certificate_name(1)).expect("a name");
    let connector = cluster.ca().connector(as_node);
    connector.connect(name, stream).await.expect("a handshake")
}

/// A client that greets and then only holds its place; `None` if the port closes the connection.
async fn hold(cluster: &TestCluster, as_node: Option<u64>) -> Option<TlsStream<TcpStream>> {
    let mut stream = connect(cluster, as_node).await;
    // The preface and empty settings; what comes back are the port's settings.
    let greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    stream.write_all(greeting).await.ok()?;
    stream.read_u8().await.ok()?;
    Some(stream)
}

async fn node_2_gets_through(cluster: &TestCluster) {
    let tls = cluster.ca().tls(2);
    let answer = ping(&tls, 1, &cluster.address(1).to_string()).await;
    answer.expect("a node gets through");
}

/// One cluster for all: three would starve each other on a small machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_and_places() {
    let directory = tempfile::tempdir().expect("directory");
    let mut cluster = three_nodes(directory.path()).await;
    who_says_nothing_is_closed(&cluster).await;
    strangers_take_no_places_of_nodes(&cluster).await;
    one_node_takes_no_places_of_another(&cluster).await;
    cluster.stop_all().await;
}

async fn who_says_nothing_is_closed(cluster: &TestCluster) {
    let tcp = TcpStream::connect(cluster.address(1)).await.expect("connected");
    let tls = connect(cluster, None).await;
    let mut begun = connect(cluster, None).await;
    begun.write_all(b"PRI * HTTP").await.expect("written");
    let (tcp, tls, begun) = tokio::join!(closed_after(tcp), closed_after(tls), closed_after(begun));
    for took in [tcp, tls, begun] {
        assert!(took >= DEADLINE - Duration::from_secs(1), "closed after {took:?}");
    }
}

async fn strangers_take_no_places_of_nodes(cluster: &TestCluster) {
    let mut held = Vec::new();
    for _ in 0..ANONYMOUS_PLACES {
        held.push(hold(cluster, None).await.expect("a place is free"));
    }
    assert!(hold(cluster, None).await.is_none(), "one too many");
    node_2_gets_through(cluster).await;
}

async fn one_node_takes_no_places_of_another(cluster: &TestCluster) {
    let mut held = Vec::new();
    while let Some(stream) = hold(cluster, Some(3)).await {
        held.push(stream);
        assert!(held.len() < 100, "a node may open any number of connections");
    }
    node_2_gets_through(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_port_answers_only_nodes_of_the_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = TestCluster::start(directory.path(), 1).await;
    let address = cluster.address(1).to_string();
    let good = cluster.ca().tls(2);
    assert_eq!(ping(&good, 1, &address).await, Ok(()));
    let stranger = TestCa::default().tls(2);
    assert!(
        ping(&stranger, 1, &address).await.is_err(),
        "a certificate of another CA"
    );
    let misnamed = cluster.ca().tls_named("laptop.example.org".to_owned());
    assert!(ping(&misnamed, 1, &address).await.is_err(), "a certificate of no node");
    assert!(ping(&good, 2, &address).await.is_err(), "node 1 taken for node 2");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_is_let_in_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = three_nodes(directory.path()).await;
    let reply = cluster.node(1).propose(bootstrap(), CALL).await;
    assert_carried_out(&reply.expect("the cluster answers").reply);
    let leader = cluster.wait_for_leader().await;
    let gone = if leader == 2 { 3 } else { 2 };
    let (first, address) = (cluster.node(1).clone(), cluster.address(1).to_string());
    let within = Duration::from_secs(1);
    let hears = || first.reachable_peers(within).contains(&gone);
    wait_until("node 1 hears it", hears).await;

    let leading = cluster.node(leader).clone();
    let reply = leading.propose(remove_node(gone), CALL).await;
    assert_carried_out(&reply.expect("the cluster answers").reply);
    first.read_index(CALL).await.expect("node 1 reads");
    let tls = cluster.ca().tls(gone);
    let member = ping(&tls, 1, &address).await;
    assert_eq!(member, Ok(()), "until consensus has removed it, it is a member");

    leading.remove(vec![gone], CALL).await.expect("it is removed");
    // It runs on and calls: what it had open is closed, and it does not get in again.
    wait_until("node 1 does not hear it", || !hears()).await;
    assert!(ping(&tls, 1, &address).await.is_err());
    let next = cluster.ca().tls(4);
    assert_eq!(ping(&next, 1, &address).await, Ok(()), "a node that is still to join");
    must_put(&first, "key", "value", CALL).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn the_dialer_binds_its_source_address() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let source = "127.0.0.3".parse().unwrap();
    let dialer = TcpDialer { source: Some(source) };
    let (connected, accepted) = tokio::join!(dialer.connect(1, address, Purpose::Control), listener.accept());
    connected.unwrap();
    assert_eq!(accepted.unwrap().1.ip(), source);
}
