//! The fault proxy: connections of the nodes to their peers and databases pass it, so that links can fail without root.
//!
//! It is faithful where a failure detector looks: a refusal by the target is a refusal to the node, an end is an end, a reset
//! a reset. Drivers that dial for themselves connect to a forwarder; there a refusal shows as a reset, since the forwarder's
//! listener has taken the connection already.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::faults::{FaultSet, LinkFault, LinkState};
use super::ports;
use super::pump::{pump, reset, until};
use crate::links::{self, connect_from};

/// Longest time the proxy tries to reach a target; nodes give up earlier by themselves.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most forwarders: every node to every address of every monitor.
const MAX_FORWARDERS: usize = 4096;

/// The proxy's rules and forwarders; shared between its connections and its control endpoint.
pub struct FaultProxy {
    faults: watch::Sender<FaultSet>,
    /// Peer address → node name, so that a rule can name a node.
    names: BTreeMap<String, String>,
    /// (source node, target) → port of the forwarder.
    forwarders: Mutex<BTreeMap<(u64, String), u16>>,
}

impl FaultProxy {
    /// A proxy without faults; `names` maps peer addresses to node names.
    pub fn new(names: BTreeMap<String, String>) -> Arc<Self> {
        let (faults, _) = watch::channel(FaultSet::default());
        Arc::new(Self {
            faults,
            names,
            forwarders: Mutex::default(),
        })
    }

    /// The faults at present.
    pub fn faults(&self) -> Vec<LinkFault> {
        self.faults.borrow().list()
    }

    /// Sets or heals one link; connections that exist follow at once.
    pub fn set_fault(&self, fault: LinkFault) -> Result<(), String> {
        let mut outcome = Ok(());
        self.faults.send_modify(|faults| outcome = faults.set(fault));
        outcome
    }

    /// Takes every fault away.
    pub fn heal_all(&self) {
        self.faults.send_replace(FaultSet::default());
    }

    /// Takes connections of the nodes until the task is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let proxy = self.clone();
                    tokio::spawn(async move { proxy.admit(stream).await });
                }
                Err(error) => {
                    tracing::warn!("the fault proxy cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn admit(self: Arc<Self>, mut stream: TcpStream) {
        // A node that vanishes while it asks needs no answer.
        let Ok((kind, source, target)) = read_preamble(&mut stream).await else {
            return;
        };
        match kind {
            links::KIND_CONNECT => self.connect(stream, source, target).await,
            links::KIND_FORWARDER => match self.forwarder(source, target).await {
                Ok(port) => {
                    let answer = [&[links::STATUS_DONE][..], &port.to_be_bytes()[..]].concat();
                    let _ = stream.write_all(&answer).await;
                }
                Err(error) => tracing::warn!("the fault proxy cannot make a forwarder: {error}"),
            },
            _ => {}
        }
    }

    async fn connect(&self, mut stream: TcpStream, source: u64, target: String) {
        let _ = stream.set_nodelay(true);
        let state = self.follow(source, &target);
        let status = match self.dial(source, &target, state.clone()).await {
            Ok(connection) => {
                if stream.write_all(&[links::STATUS_DONE]).await.is_ok() {
                    pump(stream, connection, state).await;
                }
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => links::STATUS_REFUSED,
            Err(_) => links::STATUS_UNREACHABLE,
        };
        let _ = stream.write_all(&[status]).await;
    }

    /// Dials as the link's faults allow: it hangs while the link is cut, and refuses while it is reset.
    async fn dial(&self, source: u64, target: &str, mut state: watch::Receiver<LinkState>) -> io::Result<TcpStream> {
        until(&mut state, |state| !state.hangs() || state.reset).await;
        let LinkState { reset, delay_ms, .. } = *state.borrow();
        if reset {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // A handshake is one round trip.
        tokio::time::sleep(Duration::from_millis(2 * delay_ms)).await;
        let address = Some(ports::source_address(source).into());
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect_from(address, target))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Port of the listener that leads node `source` to `target`, made when it is first asked for.
    async fn forwarder(self: &Arc<Self>, source: u64, target: String) -> io::Result<u16> {
        let key = (source, target);
        let known = self
            .forwarders
            .lock()
            .expect("no holder of the lock panics")
            .get(&key)
            .copied();
        if let Some(port) = known {
            return Ok(port);
        }
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let port = listener.local_addr()?.port();
        {
            let mut forwarders = self.forwarders.lock().expect("no holder of the lock panics");
            if let Some(port) = forwarders.get(&key) {
                return Ok(*port);
            }
            if forwarders.len() >= MAX_FORWARDERS {
                return Err(io::Error::other(format!("at most {MAX_FORWARDERS} forwarders")));
            }
            forwarders.insert(key.clone(), port);
        }
        let proxy = self.clone();
        let (source, target) = key;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (proxy, target) = (proxy.clone(), target.clone());
                tokio::spawn(async move { proxy.forward(stream, source, target).await });
            }
        });
        Ok(port)
    }

    async fn forward(&self, stream: TcpStream, source: u64, target: String) {
        let _ = stream.set_nodelay(true);
        let state = self.follow(source, &target);
        match self.dial(source, &target, state.clone()).await {
            Ok(connection) => pump(stream, connection, state).await,
            Err(_) => reset(stream),
        }
    }

    /// The link's state, kept up to date until nobody looks any more.
    fn follow(&self, source: u64, target: &str) -> watch::Receiver<LinkState> {
        let mut faults = self.faults.subscribe();
        let name = self.names.get(target).cloned();
        let target = target.to_string();
        let first = faults.borrow_and_update().state(source, &target, name.as_deref());
        let (sender, receiver) = watch::channel(first);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    changed = faults.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let state = faults.borrow_and_update().state(source, &target, name.as_deref());
                        sender.send_replace(state);
                    }
                }
            }
        });
        receiver
    }
}

async fn read_preamble(stream: &mut TcpStream) -> io::Result<(u8, u64, String)> {
    let kind = stream.read_u8().await?;
    let source = stream.read_u8().await?;
    let length = usize::from(stream.read_u16().await?);
    if length > links::MAX_TARGET_BYTES || source == 0 || u64::from(source) > ports::NODES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut target = vec![0; length];
    stream.read_exact(&mut target).await?;
    let target = String::from_utf8(target).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((kind, u64::from(source), target))
}
