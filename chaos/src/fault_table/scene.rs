//! What all scenarios of a run share: the cluster, its links, the name server, and a watcher on every node.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_real_parts::{DnsMode, DnsServer};
use reqwest::Method;
use serde_json::{Value, json};

use super::trial::Trial;
use crate::cluster::DevCluster;
use crate::faults::{FaultProxy, Link, LinkFault};
use crate::harness::eventually;
use crate::kv;
use crate::ports;
use crate::scenario::{INSTANCE, Timing, create_application, create_monitor};
use crate::watcher::Watcher;

/// Both names lead to this machine.
pub const NAMES: [&str; 2] = ["db1.quorate.test", "db2.quorate.test"];
const TTL_SECONDS: u32 = 1;
/// The bound of what is remembered of names, short for the scenario of a dead name server.
const MAX_STALE: (&str, &str) = ("QUORATE_DNS_MAX_STALE_SECONDS", "5");
/// Both sides of a new monitor are healthy by then; an Elasticsearch takes its time.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(60);
const WATCH_TIMEOUT: Duration = Duration::from_secs(60);
pub const NODES: [u64; 3] = [1, 2, 3];

/// The name server that the nodes ask.
pub fn name_server() -> Result<DnsServer> {
    let dns = DnsServer::start()?;
    for name in NAMES {
        dns.set(name, &[IpAddr::V4(Ipv4Addr::LOCALHOST)], TTL_SECONDS);
    }
    Ok(dns)
}

/// The stage of every scenario.
pub struct Scene {
    pub cluster: DevCluster,
    /// Where the cluster was started with one.
    proxy: Option<FaultProxy>,
    dns: Option<DnsServer>,
    application: String,
    /// Everything below `/mas-monitor/`, from the first revision on, with the SDKs' account.
    pub watchers: Vec<(String, Watcher)>,
}

/// What a monitor is made of.
pub struct MonitorParts {
    /// Feature point, for example `mysql`.
    pub kind: &'static str,
    pub section: Value,
    pub pool: Option<Value>,
    pub timing: Timing,
}

impl Scene {
    /// Starts the cluster with the launcher's `flags`, creates the application and starts the watchers.
    pub async fn start(quorate: &Path, directory: &Path, flags: &[&str], dns: Option<DnsServer>) -> Result<Self> {
        let cluster = DevCluster::start_with(quorate, directory, ports::take()?, flags, &[MAX_STALE]).await?;
        let application = eventually("an application is created", WATCH_TIMEOUT, async || {
            // A name of its own each time: a request without an answer may have been carried out.
            let name = format!("faults-{}", jiff::Timestamp::now().as_millisecond());
            create_application(&cluster.rest, &name).await.map(Some)
        })
        .await?;
        let mut watchers = Vec::new();
        for node in &cluster.info.nodes {
            let watcher = Watcher::start(kv::as_sdk(&cluster.info, &node.kv)?, "/mas-monitor/", 1);
            let watching = watcher.wait_watching(WATCH_TIMEOUT).await;
            watching.with_context(|| format!("watch on {}", node.name))?;
            watchers.push((node.name.clone(), watcher));
        }
        Ok(Self {
            proxy: cluster.fault_proxy().ok(),
            cluster,
            dns,
            application,
            watchers,
        })
    }

    /// Control of the links.
    pub fn links(&self) -> Result<&FaultProxy> {
        self.proxy.as_ref().context("this cluster has no faulty links")
    }

    /// The name server that the nodes ask.
    pub fn names(&self) -> Result<&DnsServer> {
        self.dns
            .as_ref()
            .context("this cluster asks the machine's name servers")
    }

    /// A monitor that every node finds steadily healthy on both sides, with its SDK keys published.
    pub async fn monitor(&self, parts: MonitorParts) -> Result<Trial> {
        let rest = &self.cluster.rest;
        let MonitorParts {
            kind,
            section,
            pool,
            timing,
        } = parts;
        let mut body = json!({
            "application": self.application,
            "probing": true,
            "automatic_switch": true,
            "timing": {
                "retry_interval_ms": timing.retry_interval_ms,
                "monitor_timeout_ms": timing.monitor_timeout_ms,
                "access_timeout_ms": timing.access_timeout_ms,
                "fast_profile": true,
            },
        });
        body[kind] = section;
        if let Some(pool) = pool {
            body["connection_pool"] = pool;
        }
        // A moment without a leader, as a busy machine has it, is no answer; nor is what it may leave behind in the way.
        let monitor = eventually("a monitor is created", WATCH_TIMEOUT, async || {
            create_monitor(rest, body.clone()).await.map(Some)
        })
        .await?;
        let path = format!("{INSTANCE}/monitors/{monitor}");
        eventually("both sides are steadily healthy", HEALTHY_TIMEOUT, async || {
            let view = rest.get(&path).await?;
            let steady = |side: &str| {
                let votes = view[side]["votes"].as_array();
                votes.is_some_and(|votes| {
                    votes.len() == NODES.len() && votes.iter().all(|vote| vote["vote"] == "up-steady")
                })
            };
            anyhow::ensure!(steady("dc1") && steady("dc2"), "{view}");
            Ok(Some(()))
        })
        .await?;
        Trial::begin(self, monitor).await
    }

    /// The links of these nodes to an address fail.
    pub async fn cut(&self, nodes: &[u64], address: &str, fault: LinkFault) -> Result<()> {
        let links: Vec<_> = nodes.iter().map(|node| Link::from(*node, address, fault)).collect();
        self.links()?.set(&links).await
    }

    /// Whole links and names again, and the scenario's monitor gone.
    pub async fn dismiss(&self, trial: Trial) -> Result<()> {
        if let Some(proxy) = &self.proxy {
            proxy.heal().await?;
        }
        if let Some(dns) = &self.dns {
            dns.set_mode(DnsMode::Answering);
        }
        let (rest, path) = (&self.cluster.rest, trial.path());
        // A moment without a leader is no answer.
        eventually("the monitor is deleted", WATCH_TIMEOUT, async || {
            let answer = rest.request(Method::GET, &path, None, None).await?;
            if answer.status == 404 {
                return Ok(Some(()));
            }
            rest.request(Method::DELETE, &path, None, answer.etag)
                .await?
                .success()?;
            Ok(Some(()))
        })
        .await
    }
}
