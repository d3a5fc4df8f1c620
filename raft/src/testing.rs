//! Real clusters on loopback for tests: real TLS with certificates of their own, real logs in a directory, real elections.
//!
//! Not a simulation: time is real. A node can be stopped in order, killed like a process, and started again on its data.

mod decoding;
mod links;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use quorate_machine::Id;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::network::wire::{Call, CallKind, Nothing};
use crate::network::{GrpcTransport, Heard, LOSSES_CAPACITY, Peer, Purpose, Transport};
use crate::{
    Beginning, Handle, Member, PeerDialer, PeerTls, RaftOptions, Retention, StartError, TcpDialer,
    peer_certificate_name, start,
};

pub use decoding::{decode_log_record, decode_peer_frame, decode_snapshot_file};
pub use links::TestLinks;

/// How long a test cluster may take to have a leader.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between looks at a condition.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// A peer CA.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Default for TestCa {
    fn default() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key pair can be made");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a CA can sign itself"),
        }
    }
}

impl TestCa {
    /// TLS for a peer whose certificate says `name`.
    pub fn tls_named(&self, name: String) -> PeerTls {
        let mut params = CertificateParams::new(vec![name]).expect("the name is a DNS name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key pair can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the CA can sign");
        let (ca, certificate, key) = (self.issuer.pem(), certificate.pem(), key.serialize_pem());
        PeerTls::from_pem(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).expect("the certificates are good")
    }

    /// TLS of a node.
    pub fn tls(&self, node_id: u64) -> PeerTls {
        self.tls_named(peer_certificate_name(node_id))
    }

    /// Connects to peer ports by hand: with a node's certificate, or as a stranger that has none.
    pub fn connector(&self, node_id: Option<u64>) -> tokio_rustls::TlsConnector {
        if let Some(node_id) = node_id {
            let client = self.tls(node_id).client.expect("nodes of these tests speak TLS");
            return client.into();
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("the CA is a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("the defaults exist");
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth()).into()
    }
}

/// A cluster on loopback.
pub struct TestCluster {
    directory: PathBuf,
    cluster_id: Id,
    ca: TestCa,
    addresses: BTreeMap<u64, SocketAddr>,
    nodes: BTreeMap<u64, Handle>,
    /// Snapshots and log of nodes started from now on.
    pub retention: Retention,
    /// Fast elections of nodes started from now on.
    pub fast_elections: bool,
    /// Links that can be cut; `None` connects directly.
    links: Option<TestLinks>,
}

fn free_listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port")
}

impl TestCluster {
    /// Starts nodes 1 to `size` in `directory`, the first of which initialises the cluster, and waits for a leader.
    pub async fn start(directory: &Path, size: u64) -> Self {
        Self::start_with(directory, size, Retention::default(), true).await
    }

    /// The same with settings.
    pub async fn start_with(directory: &Path, size: u64, retention: Retention, fast_elections: bool) -> Self {
        Self::start_on_links(directory, size, retention, fast_elections, None).await
    }

    /// Three nodes whose links can be cut.
    pub async fn start_linked(directory: &Path, retention: Retention, links: &TestLinks) -> Self {
        Self::start_on_links(directory, 3, retention, true, Some(links.clone())).await
    }

    async fn start_on_links(
        directory: &Path,
        size: u64,
        retention: Retention,
        fast_elections: bool,
        links: Option<TestLinks>,
    ) -> Self {
        let mut listeners: BTreeMap<u64, TcpListener> = (1..=size).map(|id| (id, free_listener())).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("a bound listener has an address");
        let mut cluster = Self {
            directory: directory.to_path_buf(),
            cluster_id: Id::from_u128(7),
            ca: TestCa::default(),
            addresses: listeners
                .iter()
                .map(|(id, listener)| (*id, address(listener)))
                .collect(),
            nodes: BTreeMap::new(),
            retention,
            fast_elections,
            links,
        };
        let members: BTreeMap<u64, Member> = cluster.addresses.keys().map(|id| (*id, cluster.member(*id))).collect();
        for id in (1..=size).rev() {
            let beginning = if id == 1 {
                Beginning::Initialise(members.clone())
            } else {
                Beginning::Join
            };
            let listener = listeners.remove(&id).expect("every node has a listener");
            cluster.start_on(id, listener, beginning).await;
        }
        cluster.wait_for_leader().await;
        cluster
    }

    /// What the membership says of a node.
    pub fn member(&self, id: u64) -> Member {
        Member {
            name: format!("node-{id}"),
            zone: format!("az{id}"),
            peer: self.addresses[&id].to_string(),
        }
    }

    async fn start_on(&mut self, id: u64, listener: TcpListener, beginning: Beginning) {
        self.try_start_on(id, listener, beginning)
            .await
            .expect("the node starts");
    }

    async fn try_start_on(&mut self, id: u64, listener: TcpListener, beginning: Beginning) -> Result<(), StartError> {
        let data_dir = self.directory.join(format!("node-{id}"));
        let tls = self.ca.tls(id);
        let dialer: Arc<dyn PeerDialer> = match &self.links {
            Some(links) => links.dialer(id),
            None => Arc::new(TcpDialer::default()),
        };
        let mut options = RaftOptions::new(id, self.cluster_id, data_dir, listener, tls, dialer);
        options.beginning = beginning;
        options.retention = self.retention;
        options.fast_elections = self.fast_elections;
        self.nodes.insert(id, start(options).await?);
        Ok(())
    }

    /// Starts a stopped or killed node on its data and its address.
    pub async fn restart(&mut self, id: u64) {
        let listener = TcpListener::bind(self.addresses[&id]).expect("the node's port is free again");
        self.start_on(id, listener, Beginning::Continue).await;
    }

    /// The same for a node whose data may be unusable.
    ///
    /// # Errors
    ///
    /// What [`start`] says.
    pub async fn try_restart(&mut self, id: u64) -> Result<(), StartError> {
        let listener = TcpListener::bind(self.addresses[&id]).expect("the node's port is free again");
        self.try_start_on(id, listener, Beginning::Continue).await
    }

    /// Starts a new node that the cluster has yet to take in.
    pub async fn start_new(&mut self, id: u64) {
        let listener = free_listener();
        self.addresses
            .insert(id, listener.local_addr().expect("a bound listener has an address"));
        self.start_on(id, listener, Beginning::Join).await;
    }

    /// Stops a node in order.
    pub async fn stop(&mut self, id: u64) {
        if let Some(handle) = self.nodes.remove(&id) {
            handle.shutdown().await;
        }
    }

    /// Ends a node as if its process had been killed.
    pub async fn kill(&mut self, id: u64) {
        if let Some(handle) = self.nodes.remove(&id) {
            handle.kill().await;
        }
    }

    /// A running node.
    pub fn node(&self, id: u64) -> &Handle {
        &self.nodes[&id]
    }

    /// Every running node.
    pub fn nodes(&self) -> impl Iterator<Item = &Handle> {
        self.nodes.values()
    }

    /// The peer address of a node.
    pub fn address(&self, id: u64) -> SocketAddr {
        self.addresses[&id]
    }

    /// The CA of the peers.
    pub fn ca(&self) -> &TestCa {
        &self.ca
    }

    /// Waits until every running node serves and agrees on the leader; gives its id.
    pub async fn wait_for_leader(&self) -> u64 {
        let mut agreed = None;
        wait_until("the nodes agree on a leader", || {
            let statuses: Vec<_> = self.nodes.values().map(|node| node.status().borrow().clone()).collect();
            agreed = statuses.first().and_then(|status| status.leader);
            let running = agreed.is_some_and(|leader| self.nodes.contains_key(&leader));
            running && statuses.iter().all(|status| status.serving && status.leader == agreed)
        })
        .await;
        agreed.expect("waited for it")
    }

    /// Stops every node.
    pub async fn stop_all(&mut self) {
        for handle in std::mem::take(&mut self.nodes).into_values().rev() {
            handle.shutdown().await;
        }
    }
}

/// Waits for a condition, at most 20 s.
///
/// # Panics
///
/// When the time is over; with `what`.
pub async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LEADER_TIMEOUT, "waited in vain until {what}");
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// A cluster of one node in `directory`, serving; it lives as long as the handle.
pub async fn single_node(directory: &Path) -> Handle {
    TestCluster::start(directory, 1).await.node(1).clone()
}

/// A cluster of three nodes in `directory`, serving, with a leader.
pub async fn three_nodes(directory: &Path) -> TestCluster {
    TestCluster::start(directory, 3).await
}

/// Calls the peer port at `address` as a peer with this certificate, taking it for node `to`.
///
/// # Errors
///
/// Why there was no answer.
pub async fn ping(tls: &PeerTls, to: u64, address: &str) -> Result<(), String> {
    let (losses, _lost) = tokio::sync::mpsc::channel(LOSSES_CAPACITY);
    let transport = GrpcTransport::new(tls.clone(), Arc::new(TcpDialer::default()), Heard::default(), losses);
    let peer = Peer {
        id: to,
        address: address.to_owned(),
    };
    let frame = Call {
        kind: Some(CallKind::Ping(Nothing {})),
    }
    .encode_to_vec();
    transport
        .call(&peer, Purpose::Control, frame.into())
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}
