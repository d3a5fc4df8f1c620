//! The KV ports of the instances beside the first: opened when an instance appears in the state, closed when it goes (G3).
//!
//! A reconciler as the others: it compares what is open with what the state says, and reports what became of each port. The
//! first instance's port is not here: the node is nothing without it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quorate_etcd_api::{Clients, DoorError, KvDoor, KvPort, LeaseKeeper, TokenKey, WatchHub, serve_kv};
use quorate_machine::{Command, Id, Instance, InstancePort, ReportInstancePort};
use quorate_raft::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::identity::{ClusterKey, InstanceAuthority, NodeProfile};
use crate::reconcilers::propose;

/// A look without a wake-up.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while a port is being opened.
const OPENING_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Pause before a port that could not be opened is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What the ports are made of.
pub struct InstancePorts {
    pub handle: Handle,
    pub key: ClusterKey,
    pub profile: NodeProfile,
    /// Where the first instance listens.
    pub listen: SocketAddr,
    pub mutual_tls: bool,
    pub plaintext: bool,
    pub hub: WatchHub,
    pub leases: Arc<dyn LeaseKeeper>,
    pub clients: Arc<Clients>,
    pub token_key: TokenKey,
}

/// What became of a port.
enum Port {
    /// Served, or about to be: it listens once the node can answer for the instance.
    Open {
        stop: CancellationToken,
        listening: watch::Receiver<bool>,
        serving: JoinHandle<Result<(), DoorError>>,
    },
    Failed {
        problem: String,
        since: Instant,
    },
}

impl Port {
    /// What the cluster is told of it: an empty text once it listens, nothing before.
    fn said(&self) -> Option<&str> {
        match self {
            Port::Open { listening, .. } => listening.borrow().then_some(""),
            Port::Failed { problem, .. } => Some(problem),
        }
    }
}

impl InstancePorts {
    /// Works until `stop`, then closes every port.
    pub async fn run(self, stop: CancellationToken) {
        let mut ports: HashMap<Id, Port> = HashMap::new();
        let mut wakeups = self.handle.wakeups();
        loop {
            wakeups.borrow_and_update();
            self.look(&mut ports).await;
            self.report(&ports).await;
            let opening = ports.values().any(|port| port.said().is_none());
            let interval = if opening { OPENING_LOOK_INTERVAL } else { LOOK_INTERVAL };
            tokio::select! {
                () = stop.cancelled() => break,
                woken = tokio::time::timeout(interval, wakeups.changed()) => {
                    if let Ok(Err(_)) = woken {
                        break;
                    }
                }
            }
        }
        for port in ports.values() {
            if let Port::Open { stop, .. } = port {
                stop.cancel();
            }
        }
        for port in ports.into_values() {
            close(port).await;
        }
    }

    /// Opens and closes what has changed.
    async fn look(&self, ports: &mut HashMap<Id, Port>) {
        let wanted: Vec<Instance> = self
            .handle
            .read(|state| state.instances().filter(|found| found.ordinal > 1).cloned().collect());
        let gone: Vec<Id> = ports
            .keys()
            .copied()
            .filter(|id| !wanted.iter().any(|found| found.meta.id == *id))
            .collect();
        for id in gone {
            if let Some(port) = ports.remove(&id) {
                tracing::info!(instance = %id, "the instance is gone, its port closes");
                close(port).await;
            }
        }
        for instance in wanted {
            let id = instance.meta.id;
            if let Some(Port::Open { serving, .. }) = ports.get_mut(&id)
                && serving.is_finished()
            {
                let problem = match serving.await {
                    Ok(Ok(())) => "the port closed".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                tracing::error!(instance = %instance.name, "the KV port cannot be served: {problem}");
                ports.insert(id, failed(problem));
            }
            let due = match ports.get(&id) {
                None => true,
                Some(Port::Open { .. }) => false,
                Some(Port::Failed { since, .. }) => since.elapsed() >= RETRY_PAUSE,
            };
            if due {
                ports.insert(id, self.open(&instance));
            }
        }
    }

    fn open(&self, instance: &Instance) -> Port {
        match self.door(instance) {
            Ok((port, door)) => {
                let stop = CancellationToken::new();
                let (address, listening) = (port.address(), port.listening());
                let serving = tokio::spawn(serve_kv(port, door, stop.clone().cancelled_owned()));
                tracing::info!(instance = %instance.name, %address, "the instance gets its KV port");
                Port::Open {
                    stop,
                    listening,
                    serving,
                }
            }
            Err(error) => {
                let problem = format!("{error:#}");
                tracing::warn!(instance = %instance.name, "the KV port cannot be opened: {problem}");
                failed(problem)
            }
        }
    }

    fn door(&self, instance: &Instance) -> anyhow::Result<(KvPort, KvDoor)> {
        let port = KvPort::reserve(self.address(instance)?)?;
        let authority = InstanceAuthority::open(instance, &self.key)?;
        let (config, expiry) = authority.server_config(&self.profile, self.mutual_tls)?;
        let door = KvDoor {
            instance: instance.meta.id,
            handle: self.handle.clone(),
            hub: self.hub.clone(),
            leases: self.leases.clone(),
            clients: self.clients.clone(),
            jwt: None,
            token_key: self.token_key.clone(),
            // Issued for as long as authorities last: there is no file to follow.
            tls: Some(watch::channel(config).1),
            certificate_expiry: Some(watch::channel(expiry).1),
            allow_plaintext: self.plaintext,
            require_client_certificate: self.mutual_tls,
            members: None,
            pages_only: false,
        };
        Ok((port, door))
    }

    fn address(&self, instance: &Instance) -> anyhow::Result<SocketAddr> {
        let port = instance.kv_port(self.listen.port()).with_context(|| {
            format!(
                "kv.listen is {}: no port is left for instance {}; choose a lower one",
                self.listen, instance.ordinal
            )
        })?;
        Ok(SocketAddr::new(self.listen.ip(), port))
    }

    /// Tells the cluster what it does not know yet of this node's ports.
    async fn report(&self, ports: &HashMap<Id, Port>) {
        let node = self.handle.node_id();
        let news: Vec<(Id, InstancePort)> = self.handle.read(|state| {
            let unknown = |(id, port): (&Id, &Port)| {
                let said = InstancePort::new(node, port.said()?);
                let known = state.instance(id)?.ports.iter().find(|known| known.node == node);
                (known != Some(&said)).then_some((*id, said))
            };
            state
                .node(node)
                .map_or_else(Vec::new, |_| ports.iter().filter_map(unknown).collect())
        });
        for (instance, port) in news {
            let command = Command::ReportInstancePort(ReportInstancePort { instance, port });
            if let Err(error) = propose(&self.handle, command).await {
                tracing::debug!(%instance, "the report of a port did not get through: {error}");
            }
        }
    }
}

fn failed(problem: String) -> Port {
    Port::Failed {
        problem,
        since: Instant::now(),
    }
}

async fn close(port: Port) {
    if let Port::Open { stop, serving, .. } = port {
        stop.cancel();
        if let Ok(Err(error)) = serving.await {
            tracing::debug!("a KV port ended with {error}");
        }
    }
}
