//! A node with one instance, its port, and clients of it.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use quorate_etcd_api::pb::{etcdserverpb as pb, quoratepb, v3electionpb, v3lockpb};
use quorate_etcd_api::{Clients, KvDoor, KvPort, Lessor, TokenKey, WatchHub, serve_kv};
use quorate_machine::{Bootstrap, Command, Id, NodeRecord, Principal, PrincipalKind, Proposal, UserPrincipal};
use quorate_raft::{Handle, LeaderRequestHandler};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Bounds every wait of these tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const ROOT_PASSWORD: &str = "root-secret";
pub const SDK_PASSWORD: &str = "sdk-secret";

pub const INSTANCE: Id = Id::from_u128(6);

/// Real nodes keep real time: run side by side on a small machine, they would miss their own deadlines.
static TURN: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

/// Waits until no other test runs nodes.
pub async fn turn() -> OwnedSemaphorePermit {
    Arc::clone(&TURN).acquire_owned().await.expect("never closed")
}

/// A running node with its port; both end when dropped.
pub struct Node {
    pub handle: Handle,
    pub clients: Arc<Clients>,
    pub address: SocketAddr,
    pub certificate: rcgen::Certificate,
    shutdown: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
    /// The data of a node that ends with this one.
    directory: Option<tempfile::TempDir>,
    turn: Option<OwnedSemaphorePermit>,
}

struct LeaseRequests(Lessor);

impl LeaderRequestHandler for LeaseRequests {
    fn handle(&self, _from: u64, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        self.0.handle_leader_request(request)
    }
}

impl Node {
    pub async fn start() -> Node {
        Node::start_with(|_| {}).await
    }

    /// Starts a node whose state knows `nodes` members; it is the only one that runs.
    pub async fn start_of(nodes: u64) -> Node {
        Node::start_among(nodes, |_| {}).await
    }

    /// Starts a node whose door `change` has adapted.
    pub async fn start_with(change: impl FnOnce(&mut KvDoor)) -> Node {
        Node::start_among(1, change).await
    }

    async fn start_among(nodes: u64, change: impl FnOnce(&mut KvDoor)) -> Node {
        let turn = turn().await;
        let directory = tempfile::tempdir().expect("temporary directory");
        let handle = quorate_raft::testing::single_node(directory.path()).await;
        bootstrap(&handle, nodes).await;
        let mut node = Node::on(handle, change).await;
        node.directory = Some(directory);
        node.turn = Some(turn);
        node
    }

    /// Opens the port of a node that is bootstrapped.
    pub async fn on(handle: Handle, change: impl FnOnce(&mut KvDoor)) -> Node {
        let lessor = Lessor::new(handle.clone());
        handle.set_leader_request_handler(Arc::new(LeaseRequests(lessor.clone())));
        tokio::spawn(lessor.clone().run());
        let clients = Arc::new(Clients::new());
        let (certificate, tls) = certificate();
        let mut door = KvDoor {
            instance: INSTANCE,
            handle: handle.clone(),
            hub: WatchHub::start(handle.clone()),
            leases: Arc::new(lessor),
            clients: Arc::clone(&clients),
            token_key: TokenKey::new(&[7; 32]),
            jwt: None,
            tls: Some(watch::channel(tls).1),
            certificate_expiry: None,
            allow_plaintext: true,
            require_client_certificate: false,
            members: None,
            pages_only: false,
        };
        change(&mut door);
        let port = KvPort::reserve("127.0.0.1:0".parse().expect("address")).expect("free port");
        let address = port.address();
        let (shutdown, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serve_kv(port, door, stopped).await.expect("the port opens");
        });
        let node = Node {
            handle,
            clients,
            address,
            certificate,
            shutdown: Some(shutdown),
            served: Some(served),
            directory: None,
            turn: None,
        };
        node.until_open().await;
        node
    }

    async fn until_open(&self) {
        let open = async {
            while tokio::net::TcpStream::connect(self.address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, open)
            .await
            .expect("the port opens in time");
    }

    /// Closes the port and waits until it is drained.
    pub async fn close(&mut self) {
        drop(self.shutdown.take());
        if let Some(served) = self.served.take() {
            tokio::time::timeout(PATIENCE, served)
                .await
                .expect("drained in time")
                .expect("no panic");
        }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("endpoint");
        endpoint.timeout(PATIENCE).connect().await.expect("connection")
    }

    /// A channel whose streams may be idle for long.
    pub async fn login(&self, user: &str, password: &str) -> Login {
        let channel = self.channel().await;
        let token = authenticate(channel.clone(), user, password).await.expect("login");
        Login::new(channel, Some(&token))
    }

    pub async fn root(&self) -> Login {
        self.login("root", ROOT_PASSWORD).await
    }

    pub async fn sdk(&self) -> Login {
        self.login("mas", SDK_PASSWORD).await
    }

    /// Clients that send no token.
    pub async fn anonymous(&self) -> Login {
        Login::new(self.channel().await, None)
    }
}

impl Drop for Node {
    /// A node that owns its data stops before the data goes.
    fn drop(&mut self) {
        if self.directory.is_none() {
            return;
        }
        let handle = self.handle.clone();
        let stopping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("runtime").block_on(handle.shutdown());
        });
        stopping.join().expect("the node stops");
    }
}

pub async fn authenticate(channel: Channel, user: &str, password: &str) -> Result<String, Status> {
    let mut client = pb::auth_client::AuthClient::new(channel);
    let request = pb::AuthenticateRequest {
        name: user.to_owned(),
        password: password.to_owned(),
    };
    Ok(client.authenticate(request).await?.into_inner().token)
}

/// Adds the token to every request.
#[derive(Clone)]
pub struct WithToken(Option<MetadataValue<Ascii>>);

impl Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

type Authorized = InterceptedService<Channel, WithToken>;

/// Clients of one logged-in user.
#[derive(Clone)]
pub struct Login {
    pub kv: pb::kv_client::KvClient<Authorized>,
    pub watch: pb::watch_client::WatchClient<Authorized>,
    pub lease: pb::lease_client::LeaseClient<Authorized>,
    pub auth: pb::auth_client::AuthClient<Authorized>,
    pub cluster: pb::cluster_client::ClusterClient<Authorized>,
    pub maintenance: pb::maintenance_client::MaintenanceClient<Authorized>,
    pub lock: v3lockpb::lock_client::LockClient<Authorized>,
    pub election: v3electionpb::election_client::ElectionClient<Authorized>,
    pub import: quoratepb::import_client::ImportClient<Authorized>,
}

impl Login {
    pub fn new(channel: Channel, token: Option<&str>) -> Login {
        let token = WithToken(token.map(|token| token.parse().expect("ASCII token")));
        let service = InterceptedService::new(channel, token);
        Login {
            kv: pb::kv_client::KvClient::new(service.clone()),
            watch: pb::watch_client::WatchClient::new(service.clone()),
            lease: pb::lease_client::LeaseClient::new(service.clone()),
            auth: pb::auth_client::AuthClient::new(service.clone()),
            cluster: pb::cluster_client::ClusterClient::new(service.clone()),
            maintenance: pb::maintenance_client::MaintenanceClient::new(service.clone()),
            lock: v3lockpb::lock_client::LockClient::new(service.clone()),
            election: v3electionpb::election_client::ElectionClient::new(service.clone()),
            import: quoratepb::import_client::ImportClient::new(service),
        }
    }

    pub async fn put(&mut self, key: &str, value: impl Into<Bytes>) -> i64 {
        let request = pb::PutRequest {
            key: key.to_owned().into(),
            value: value.into(),
            ..Default::default()
        };
        let response = self.kv.put(request).await.expect("put").into_inner();
        response.header.expect("header").revision
    }

    pub async fn get(&mut self, key: &str) -> Option<Bytes> {
        let request = pb::RangeRequest {
            key: key.to_owned().into(),
            ..Default::default()
        };
        let response = self.kv.range(request).await.expect("range").into_inner();
        response.kvs.into_iter().next().map(|kv| kv.value)
    }
}

pub async fn propose(handle: &Handle, command: Command) {
    propose_as(handle, PrincipalKind::Node(1), command).await;
}

/// Proposes as another node than the one that runs.
pub async fn propose_as_node(handle: &Handle, node: u64, command: Command) {
    propose_as(handle, PrincipalKind::Node(node), command).await;
}

/// Proposes as the console's root.
pub async fn propose_as_root(handle: &Handle, command: Command) {
    let root = UserPrincipal {
        name: "root".to_owned(),
        auth_revision: 1,
        token: None,
    };
    propose_as(handle, PrincipalKind::User(root), command).await;
}

async fn propose_as(handle: &Handle, kind: PrincipalKind, command: Command) {
    let proposal = Proposal {
        author: Some(Principal {
            kind: Some(kind),
            source: String::new(),
        }),
        command: Some(command),
    };
    let committed = handle.propose(proposal, PATIENCE).await.expect("committed");
    assert!(committed.reply.refusal().is_none(), "{:?}", committed.reply);
}

/// Makes the cluster's first state, on the leader.
pub async fn bootstrap(handle: &Handle, nodes: u64) {
    let record = |id: u64| NodeRecord {
        id,
        name: format!("node-{id}"),
        zone: format!("az{id}"),
        peer: format!("127.0.0.{id}:2380"),
        kv: format!("127.0.0.{id}:2379"),
        console: format!("127.0.0.{id}:8443"),
        site: "dc1".to_owned(),
        learner: false,
    };
    let hash = |password: &str| bcrypt::hash(password, 4).expect("hash");
    let command = Bootstrap {
        cluster_id: Id::from_u128(1),
        nodes: (1..=nodes).map(record).collect(),
        module_id: Id::from_u128(2),
        namespace_id: Id::from_u128(3),
        instance_id: INSTANCE,
        root_user_id: Id::from_u128(4),
        root_password_hash: "unused".to_owned(),
        kv_root_password_hash: hash(ROOT_PASSWORD).into(),
        kv_sdk_password_hash: hash(SDK_PASSWORD).into(),
        feature_points: vec!["mysql".to_owned()],
    };
    propose(handle, Command::Bootstrap(Box::new(command))).await;
}

fn certificate() -> (rcgen::Certificate, Arc<rustls::ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("server configuration");
    (made.cert, Arc::new(config))
}
