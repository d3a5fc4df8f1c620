//! The doors of a node: KV of the first instance and of the further ones, and the console with REST, health and metrics.

use std::sync::Arc;

use quorate_console_api::{ApiContext, ApiSettings, SessionKey, TlsFiles, behind_login, router, serve_https};
use quorate_etcd_api::{Clients, KvDoor, KvPort, LeaseKeeper, Lessor, TokenKey, WatchHub, serve_kv};
use quorate_probes::Names;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::certificates::KvCertificates;
use super::edges::{NodeMeasures, NodeProcesses, NodeSealer, NodeTester};
use super::health::Health;
use super::instance_keys::NodeInstanceKeys;
use super::instances::InstancePorts;
use super::metrics::{Metrics, Sources};
use super::ports::ReservedPort;
use crate::config::Config;
use crate::identity::{ClusterKey, IdentityDirectory, NodeIdentity, console_server_config};
use crate::links::Links;
use crate::membership::{Membership, Numbering};
use crate::reconcilers::{LeaderRequests, Reconcilers, panicked};

/// What the doors are made of.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub directory: &'a IdentityDirectory,
    pub identity: &'a NodeIdentity,
    pub key: ClusterKey,
    pub links: Links,
    pub names: Names,
}

/// The open doors.
pub struct Doors {
    tasks: JoinSet<()>,
}

impl Doors {
    /// Opens the console, and the KV endpoint once this node can answer; both close when `stop` is cancelled.
    pub fn open(
        parts: Parts<'_>,
        reconcilers: &Reconcilers,
        kv: KvPort,
        console: ReservedPort,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let mut tasks = JoinSet::new();
        let handle = reconcilers.handle.clone();
        let lessor = Lessor::new(handle.clone());
        let clients = Arc::new(Clients::new());
        let membership = Membership::new(handle.clone(), reconcilers.heartbeats.clone(), Numbering::Consecutive);
        handle.set_leader_request_handler(Arc::new(LeaderRequests {
            handle: handle.clone(),
            heartbeats: reconcilers.heartbeats.clone(),
            lessor: lessor.clone(),
            membership: membership.clone(),
        }));
        let leases = stop.clone().run_until_cancelled_owned(lessor.clone().run());
        tasks.spawn(async move {
            leases.await;
        });

        let hub = WatchHub::start(handle.clone());
        let leases: Arc<dyn LeaseKeeper> = Arc::new(lessor);
        let token_key = TokenKey::new(parts.key.derive("kv tokens").as_ref());
        let instances = InstancePorts {
            handle: handle.clone(),
            key: parts.key.clone(),
            profile: parts.identity.profile.clone(),
            listen: parts.config.kv.listen,
            mutual_tls: parts.config.kv_mutual_tls,
            plaintext: parts.config.kv_plaintext,
            hub: hub.clone(),
            leases: leases.clone(),
            clients: clients.clone(),
            token_key: token_key.clone(),
        };
        tasks.spawn(instances.run(stop.clone()));
        let (matcher, fence, stopping) = (hub.clone(), reconcilers.fence.clone(), stop.clone());
        tasks.spawn(async move {
            if stopping.run_until_cancelled(matcher.failed()).await.is_some() {
                fence
                    .raise("the matcher of watches failed: no watcher of this node would hear of a switch".to_string());
            }
        });

        let certificates = KvCertificates::load(parts.directory, parts.config.kv_mutual_tls)?;
        let door = KvDoor {
            instance: parts.identity.instance_id,
            handle: handle.clone(),
            hub,
            leases,
            clients: clients.clone(),
            jwt: None,
            token_key,
            tls: Some(certificates.config()),
            certificate_expiry: Some(certificates.expiry()),
            allow_plaintext: parts.config.kv_plaintext,
            require_client_certificate: parts.config.kv_mutual_tls,
            members: Some(Arc::new(membership)),
            pages_only: false,
        };
        tasks.spawn(certificates.follow(stop.clone())?);
        let fence = reconcilers.fence.clone();
        let closing = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            if let Err(error) = serve_kv(kv, door, closing).await {
                fence.raise(format!("the KV endpoint cannot be served: {error}"));
            }
        });

        let metrics = Metrics::new(Sources {
            handle: handle.clone(),
            board: reconcilers.board.clone(),
            clients: clients.clone(),
            disk: reconcilers.disk.clone(),
        });
        let health = Health {
            handle: handle.clone(),
            disk: reconcilers.disk.clone(),
            metrics: Arc::new(metrics),
        };
        let context = ApiContext::new(ApiSettings {
            handle,
            session_key: SessionKey::new(*parts.key.derive("console sessions")),
            sealer: Arc::new(NodeSealer(parts.key.clone())),
            instance_keys: Arc::new(NodeInstanceKeys {
                key: parts.key.clone(),
                directory: parts.directory.clone(),
            }),
            tester: Arc::new(NodeTester {
                key: parts.key,
                links: parts.links,
                names: parts.names,
            }),
            processes: Arc::new(NodeProcesses(clients)),
            links: reconcilers.link_board.clone(),
            measures: Arc::new(NodeMeasures(reconcilers.board.clone())),
            tls_files: TlsFiles::default(),
            wall_clock: || jiff::Timestamp::now().as_millisecond(),
        });
        context.answer_nodes();
        let metrics = behind_login(&context, health.clone().metrics_router());
        let routes = router(context.clone()).merge(health.router()).merge(metrics);
        let console_tls = console_server_config(parts.directory)?;
        let listener = console.listen()?;
        let closing = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            let closing = async move {
                closing.await;
                context.end_streams();
            };
            serve_https(listener, console_tls, routes, closing).await;
        });
        Ok(Self { tasks })
    }

    /// Waits until what serves a door has panicked; gives what it said.
    pub async fn failed(&mut self) -> String {
        panicked(&mut self.tasks).await
    }

    /// Waits until the doors have closed; `stop` was cancelled before.
    pub async fn close(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
