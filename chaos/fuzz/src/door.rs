//! A KV port's own HTTP/2, on a real connection to a real node in this process.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_etcd_api::{Clients, KvDoor, KvPort, Lessor, TokenKey, WatchHub, serve_kv};
use quorate_machine::{Bootstrap, Command, Id, NodeRecord, Principal, PrincipalKind, Proposal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const INSTANCE: Id = Id::from_u128(6);
const PATIENCE: Duration = Duration::from_secs(20);
/// What is waited for an answer to a connection that stays open.
const QUIET: Duration = Duration::from_millis(2);
/// An upgrade of one byte: whether the input stands behind the preface, or is what the client says first.
const RAW: u8 = 0xff;

struct Node {
    runtime: Runtime,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

/// Sends the bytes behind HTTP/2's preface (or, with a first byte of 255, as they are) and takes what comes back. Whatever
/// they were, the next client is served.
pub fn door(data: &[u8]) {
    static NODE: OnceLock<Node> = OnceLock::new();
    let node = NODE.get_or_init(start);
    let (preface, data) = match data.split_first() {
        Some((&RAW, rest)) => (&b""[..], rest),
        _ => (PREFACE, data),
    };
    node.runtime.block_on(async {
        let mut stream = TcpStream::connect(node.address).await.expect("the port is open");
        // The other side may close at any byte.
        let _ = stream.write_all(&[preface, data].concat()).await;
        let mut answer = [0; 4096];
        while let Ok(Ok(read)) = tokio::time::timeout(QUIET, stream.read(&mut answer)).await {
            if read == 0 {
                break;
            }
        }
    });
}

fn start() -> Node {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let address = runtime.block_on(serve(directory.path()));
    Node {
        runtime,
        address,
        _directory: directory,
    }
}

async fn serve(directory: &std::path::Path) -> SocketAddr {
    let handle = quorate_raft::testing::single_node(directory).await;
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let record = NodeRecord {
        id: 1,
        name: "node-1".to_owned(),
        ..NodeRecord::default()
    };
    let command = Bootstrap {
        cluster_id: Id::from_u128(1),
        nodes: vec![record],
        module_id: Id::from_u128(2),
        namespace_id: Id::from_u128(3),
        instance_id: INSTANCE,
        root_user_id: Id::from_u128(4),
        root_password_hash: "unused".to_owned(),
        kv_root_password_hash: hash.clone().into(),
        kv_sdk_password_hash: hash.into(),
        feature_points: vec!["mysql".to_owned()],
    };
    let proposal = Proposal {
        author: Some(Principal {
            kind: Some(PrincipalKind::Node(1)),
            source: String::new(),
        }),
        command: Some(Command::Bootstrap(Box::new(command))),
    };
    handle.propose(proposal, PATIENCE).await.expect("a first state");
    let lessor = Lessor::new(handle.clone());
    let door = KvDoor {
        instance: INSTANCE,
        handle: handle.clone(),
        hub: WatchHub::start(handle.clone()),
        leases: Arc::new(lessor),
        clients: Arc::new(Clients::new()),
        token_key: TokenKey::new(&[7; 32]),
        jwt: None,
        tls: None,
        certificate_expiry: None,
        allow_plaintext: true,
        require_client_certificate: false,
        members: None,
        pages_only: false,
    };
    let port = KvPort::reserve("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = port.address();
    tokio::spawn(async move {
        serve_kv(port, door, std::future::pending()).await.expect("the port serves");
    });
    let opened = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(QUIET).await;
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.expect("the port opens");
    address
}
