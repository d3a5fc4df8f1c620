//! Faults: signals to processes, and the launcher's fault proxy for links.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, kill_process};

/// Bound of one request to the proxy's control.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// Signals that scenarios send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL: the process is gone at once; its ports refuse.
    Kill,
    /// SIGTERM: an orderly stop.
    Terminate,
    /// SIGSTOP: a black hole after accept; the kernel still completes handshakes.
    Stop,
    /// SIGCONT: ends a stop.
    Continue,
}

/// Sends a signal to a process.
pub fn send_signal(pid: u32, signal: Signal) -> Result<()> {
    let signal = match signal {
        Signal::Kill => rustix::process::Signal::KILL,
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Stop => rustix::process::Signal::STOP,
        Signal::Continue => rustix::process::Signal::CONT,
    };
    let raw = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .with_context(|| format!("{pid} is no pid"))?;
    kill_process(raw, signal).with_context(|| format!("signal {signal:?} to {pid}"))
}

/// Whether anything of a process still runs. Its first thread may be a zombie while others, which hold its ports and files,
/// are still ending.
pub fn process_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let zombie = stat
        .rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'));
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !zombie || threads > 1
}

/// What is wrong with a link, in the words of the fault proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// Nothing passes either way and nobody is told: connections hang.
    Cut,
    /// What the source sends vanishes; it still hears the other side on connections that exist.
    OneWay,
    /// Connections are reset, new ones refused.
    Reset,
    /// Everything is late by this many milliseconds, both ways.
    DelayMs(u64),
}

/// One faulty link: connections that node `source` opens to `target`, which is `node-2` (its peer port) or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub source: u64,
    pub target: String,
    pub fault: LinkFault,
}

impl Link {
    /// A link from one node.
    pub fn from(source: u64, target: impl Into<String>, fault: LinkFault) -> Self {
        Self {
            source,
            target: target.into(),
            fault,
        }
    }

    /// The rule that the control endpoint takes.
    fn rule(&self) -> serde_json::Value {
        let (kind, delay_ms) = match self.fault {
            LinkFault::Cut => ("cut", None),
            LinkFault::OneWay => ("one-way", None),
            LinkFault::Reset => ("reset", None),
            LinkFault::DelayMs(milliseconds) => ("delay", Some(milliseconds)),
        };
        let mut rule = serde_json::json!({"from": self.source, "to": self.target, "fault": kind});
        if let Some(milliseconds) = delay_ms {
            rule["delay_ms"] = milliseconds.into();
        }
        rule
    }
}

/// Links that cut one node off from the others named, both ways.
pub fn isolation(node: u64, nodes: &[u64]) -> Vec<Link> {
    nodes
        .iter()
        .filter(|other| **other != node)
        .flat_map(|other| {
            [
                Link::from(node, format!("node-{other}"), LinkFault::Cut),
                Link::from(*other, format!("node-{node}"), LinkFault::Cut),
            ]
        })
        .collect()
}

/// Control of the launcher's fault proxy.
#[derive(Debug, Clone)]
pub struct FaultProxy {
    links: String,
    client: reqwest::Client,
}

impl FaultProxy {
    /// From the address in `dev.json`.
    pub fn new(address: &str) -> Result<Self> {
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        Ok(Self {
            links: format!("http://{address}/links"),
            client: reqwest::Client::builder().no_proxy().timeout(CONTROL_TIMEOUT).build()?,
        })
    }

    /// Makes these links faulty, beside those that are already. Each takes effect when its request is answered, so the
    /// links of one call fail within milliseconds of each other, not at one instant.
    pub async fn set(&self, links: &[Link]) -> Result<()> {
        for link in links {
            let request = self.client.put(&self.links).json(&link.rule());
            accepted(request.send().await?).await?;
        }
        Ok(())
    }

    /// Makes every link whole.
    pub async fn heal(&self) -> Result<()> {
        accepted(self.client.delete(&self.links).send().await?).await
    }
}

async fn accepted(response: reqwest::Response) -> Result<()> {
    let status = response.status();
    if !status.is_success() {
        bail!(
            "the fault proxy answered {status}: {}",
            response.text().await.unwrap_or_default()
        );
    }
    Ok(())
}
