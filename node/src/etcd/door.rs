//! The client ports of a member.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use quorate_etcd_api::{Clients, KvDoor, KvPort, Lessor, TokenKey, WatchHub, serve_kv};
use quorate_machine::Id;
use quorate_raft::Handle;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::config::EtcdConfig;
use super::urls::Url;
use crate::membership::{Membership, Numbering};
use crate::reconcilers::{Heartbeats, LeaderRequests};

/// Pause between two looks at whether a port is open.
const PAUSE: Duration = Duration::from_millis(10);

/// The ports, reserved: a conflict shows before anything is written.
pub struct Ports(Vec<Port>);

struct Port {
    url: Url,
    socket: KvPort,
    /// It serves health and metrics alone.
    pages_only: bool,
}

impl Ports {
    /// Reserves the ports of all client and metrics URLs.
    pub fn reserve(config: &EtcdConfig) -> anyhow::Result<Self> {
        let client = config.listen_client.iter().map(|url| (url, false));
        let listens = client.chain(config.listen_metrics.iter().map(|url| (url, true)));
        let reserved = listens.map(|(url, pages_only)| {
            let address = url.bind_address().map_err(anyhow::Error::msg)?;
            Ok(Port {
                url: url.clone(),
                socket: KvPort::reserve(address)?,
                pages_only,
            })
        });
        reserved.collect::<anyhow::Result<_>>().map(Self)
    }
}

/// What the ports serve.
pub struct Parts<'a> {
    pub config: &'a EtcdConfig,
    pub handle: &'a Handle,
    pub heartbeats: Arc<Heartbeats>,
    pub instance: Id,
    pub token_secret: Id,
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Opens the ports and waits until they accept; what it gives serves them until `stop` is cancelled.
pub async fn open(
    parts: Parts<'_>,
    ports: Ports,
    stop: &CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
    let handle = parts.handle.clone();
    let lessor = Lessor::new(handle.clone());
    let token = parts.config.token.clone();
    let membership = Membership::new(handle.clone(), parts.heartbeats.clone(), Numbering::Etcd { token });
    handle.set_leader_request_handler(Arc::new(LeaderRequests {
        handle: handle.clone(),
        heartbeats: parts.heartbeats.clone(),
        lessor: lessor.clone(),
        membership: membership.clone(),
    }));
    let mut secret = [0; 32];
    let tag = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &parts.token_secret.as_u128().to_be_bytes());
    secret.copy_from_slice(tag.as_ref());
    let (hub, clients) = (WatchHub::start(handle.clone()), Arc::new(Clients::new()));
    let addresses: Vec<_> = ports.0.iter().map(|port| port.socket.address()).collect();
    let doors: Vec<_> = ports
        .0
        .into_iter()
        .map(
            |Port {
                 url,
                 socket,
                 pages_only,
             }| {
                let door = KvDoor {
                    instance: parts.instance,
                    handle: handle.clone(),
                    hub: hub.clone(),
                    leases: Arc::new(lessor.clone()),
                    clients: clients.clone(),
                    token_key: TokenKey::new(&secret),
                    jwt: parts.config.jwt.clone(),
                    tls: parts
                        .tls
                        .clone()
                        .filter(|_| url.tls)
                        .map(|tls| tokio::sync::watch::channel(tls).1),
                    allow_plaintext: !url.tls,
                    require_client_certificate: url.tls && parts.config.client_tls.client_cert_auth,
                    certificate_expiry: None,
                    members: Some(Arc::new(membership.clone())),
                    pages_only,
                };
                tokio::spawn(serve_kv(socket, door, stop.clone().cancelled_owned()))
            },
        )
        .collect();
    for address in addresses {
        // Refused until the member can answer; whoever fails to serve says so through its task.
        while TcpStream::connect(address).await.is_err() && !doors.iter().any(tokio::task::JoinHandle::is_finished) {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let leases = stop.clone().run_until_cancelled_owned(lessor.run());
    Ok(async move {
        let leases = tokio::spawn(leases);
        let served = try_join_all(doors).await?;
        leases.abort();
        for outcome in served {
            outcome?;
        }
        Ok(())
    })
}
