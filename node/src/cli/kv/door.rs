//! Connection to the KV endpoint: TLS or plaintext, authenticated, the first node that answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hyper_util::rt::TokioIo;
use quorate_etcd_api::pb::etcdserverpb::AuthenticateRequest;
use quorate_etcd_api::pb::etcdserverpb::auth_client::AuthClient;
use quorate_etcd_api::pb::etcdserverpb::cluster_client::ClusterClient;
use quorate_etcd_api::pb::etcdserverpb::kv_client::KvClient;
use quorate_etcd_api::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_etcd_api::pb::etcdserverpb::watch_client::WatchClient;
use quorate_etcd_api::pb::quoratepb::import_client::ImportClient;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code as GrpcCode, IntoStreamingRequest, Request, Status};

use crate::cli::Options;
use crate::cli::failure::{Code, Failure};
use crate::cli::password::PasswordSource;
use crate::cli::target::read_dev_file;

/// Time to connect to one node, TLS included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Time for one call.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Where the KV endpoint is and as whom to use it; `--cluster dev.json` knows all of it.
#[derive(Args, Debug)]
pub struct DoorOptions {
    /// KV endpoint `host:port`; repeat for all nodes
    #[arg(long, env = "QUORATE_KV_ENDPOINTS", value_delimiter = ',', value_name = "HOST:PORT")]
    endpoint: Vec<String>,
    /// KV user
    #[arg(long, env = "QUORATE_KV_USER", default_value = "root")]
    kv_user: String,
    #[command(flatten)]
    password: PasswordSource,
    /// Certificate authority of the KV endpoint, PEM; plaintext when left out
    #[arg(long, env = "QUORATE_KV_CA", value_name = "FILE")]
    kv_ca: Option<PathBuf>,
    /// Client certificate and key, PEM, where the endpoint asks for one
    #[arg(long, env = "QUORATE_KV_CERT", value_name = "FILE", requires = "kv_key")]
    kv_cert: Option<PathBuf>,
    #[arg(long, env = "QUORATE_KV_KEY", value_name = "FILE", requires = "kv_cert")]
    kv_key: Option<PathBuf>,
}

/// An authenticated connection.
pub struct Door {
    channel: Channel,
    token: MetadataValue<Ascii>,
}

struct Way {
    endpoints: Vec<String>,
    user: String,
    password: String,
    tls: Option<TlsConnector>,
}

impl Door {
    /// Connects and authenticates at the first node that can.
    pub async fn open(options: &Options, door: &DoorOptions) -> Result<Self, Failure> {
        let way = Way::find(options, door)?;
        let mut last = Failure::new(
            Code::Usage,
            "no KV endpoint is known; give --cluster dev.json or --endpoint",
        );
        for endpoint in &way.endpoints {
            match way.enter(endpoint).await {
                Ok(door) => return Ok(door),
                Err(status) => {
                    let unavailable = status.code() == GrpcCode::Unavailable;
                    let code = if unavailable { Code::Unavailable } else { Code::Access };
                    last = Failure::new(code, format!("{endpoint}: {}", status.message()));
                    if !unavailable {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    /// Client of keys.
    pub fn kv(&mut self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    /// Client of the members.
    pub fn cluster(&mut self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// Client of snapshots.
    pub fn maintenance(&mut self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// Client of imports.
    pub fn import(&mut self) -> ImportClient<Channel> {
        ImportClient::new(self.channel.clone())
    }

    /// Client of watches.
    pub fn watch(&mut self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone())
    }

    /// A call with the token and a deadline.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("token", self.token.clone());
        request.set_timeout(CALL_DEADLINE);
        request
    }

    /// A stream with the token and no deadline.
    pub fn stream<S: IntoStreamingRequest>(&self, messages: S) -> Request<S::Stream> {
        let mut request = messages.into_streaming_request();
        request.metadata_mut().insert("token", self.token.clone());
        request
    }
}

impl Way {
    fn find(options: &Options, door: &DoorOptions) -> Result<Self, Failure> {
        if let Some(file) = &options.cluster {
            let dev = read_dev_file(file)?;
            return Ok(Self {
                endpoints: dev.nodes.into_iter().map(|node| node.kv).collect(),
                user: dev.kv.root.user,
                password: dev.kv.root.password,
                tls: Some(connector(&dev.kv.ca, Some((&dev.kv.cert, &dev.kv.key)))?),
            });
        }
        let identity = door.kv_cert.as_deref().zip(door.kv_key.as_deref());
        Ok(Self {
            endpoints: door.endpoint.clone(),
            user: door.kv_user.clone(),
            password: door.password.read(&format!("KV password of {}", door.kv_user))?,
            tls: door.kv_ca.as_deref().map(|ca| connector(ca, identity)).transpose()?,
        })
    }

    async fn enter(&self, endpoint: &str) -> Result<Door, Status> {
        let unavailable = |error: &dyn std::error::Error| {
            let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            Status::unavailable(format!("{error}{cause}"))
        };
        let (tls, address) = (self.tls.clone(), endpoint.to_owned());
        let connect = tower::service_fn(move |_: Uri| connect(tls.clone(), address.clone()));
        let target = Endpoint::from_shared(format!("http://{endpoint}"));
        let target = target.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let target = target.connect_timeout(CONNECT_DEADLINE);
        let channel = target
            .connect_with_connector(connect)
            .await
            .map_err(|error| unavailable(&error))?;
        let mut request = Request::new(AuthenticateRequest {
            name: self.user.clone(),
            password: self.password.clone(),
        });
        request.set_timeout(CALL_DEADLINE);
        let answer = AuthClient::new(channel.clone()).authenticate(request).await?;
        let token = answer.into_inner().token.parse();
        let token = token.map_err(|_| Status::internal("the token is not ASCII"))?;
        Ok(Door { channel, token })
    }
}

/// Either kind of connection.
trait Wire: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Wire for T {}

async fn connect(tls: Option<TlsConnector>, address: String) -> std::io::Result<TokioIo<Box<dyn Wire>>> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(TokioIo::new(Box::new(stream)));
    };
    let host = address
        .rsplit_once(':')
        .map_or(address.as_str(), |(host, _)| host)
        .trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    Ok(TokioIo::new(Box::new(tls.connect(name, stream).await?)))
}

fn connector(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<TlsConnector, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unusable(ca, &error))?;
    }
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = match identity {
        Some((cert, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            let config = builder.with_client_auth_cert(certificates(cert)?, private);
            config.map_err(|error| unusable(cert, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = CertificateDer::pem_file_iter(file).map_err(|error| unusable(file, &error))?;
    found.collect::<Result<_, _>>().map_err(|error| unusable(file, &error))
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Usage, format!("{}: {error}", file.display()))
}
