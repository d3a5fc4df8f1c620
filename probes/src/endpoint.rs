//! One address of a data source and the way to it: resolved and dialled within a deadline.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use quorate_machine::FindingClass;
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::{
    Names,
    address::Address,
    failure::Failure,
    observation::Stage,
    prober::{ProbeTarget, StartError},
};

/// Why a target cannot be probed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Not `host:port`.
    #[error("`{0}` is no address: write `host:port`, an IPv6 address in brackets")]
    Address(String),
    /// A time-out of zero would fail every attempt.
    #[error("the access timeout must be above 0 ms")]
    NoTime,
    /// The encryption cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// Anything else that makes no sense, in words.
    #[error("{0}")]
    Setting(String),
}

impl From<TargetError> for StartError {
    fn from(error: TargetError) -> Self {
        StartError::Misconfigured(error.to_string())
    }
}

/// One address of a data source with what it is resolved by; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: Arc<Address>,
    pub(crate) names: Names,
    /// Dialled instead of the address: a proxy that stands for the path to the server.
    pub(crate) via: Option<SocketAddr>,
}

/// The sockets of one address.
pub(crate) struct Found {
    /// At least one.
    pub(crate) sockets: Vec<SocketAddr>,
    /// For an operator: the addresses and, where they are older than their TTL, why.
    pub(crate) text: String,
}

impl Endpoint {
    /// From `host:port`.
    pub(crate) fn parse(address: &str) -> Result<Self, TargetError> {
        let parsed = Address::parse(address).ok_or_else(|| TargetError::Address(address.to_owned()))?;
        Ok(Self::new(parsed))
    }

    /// An endpoint that asks the system's name servers and remembers for itself.
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address: Arc::new(address),
            names: Names::default(),
            via: None,
        }
    }

    /// From `host:port`, resolved and reached as `target` says.
    ///
    /// # Errors
    /// No address, or no path to it yet.
    pub(crate) async fn of(target: &ProbeTarget, address: &str) -> Result<Self, StartError> {
        let endpoint = Self::parse(address)?;
        Ok(Self {
            names: target.names.clone(),
            via: target.via(address).await?,
            ..endpoint
        })
    }

    /// The sockets to dial, by `deadline`.
    pub(crate) async fn resolve(&self, deadline: Instant) -> Result<Found, Failure> {
        if let Some(proxy) = self.via {
            return Ok(Found {
                sockets: vec![proxy],
                text: proxy.ip().to_string(),
            });
        }
        let Address { host, port } = &*self.address;
        let resolved = self
            .names
            .resolve(host, deadline)
            .await
            .map_err(|error| Failure::new(Stage::Dns, FindingClass::Dns, &error.to_string()))?;
        let shown: Vec<String> = resolved.addresses.iter().map(IpAddr::to_string).collect();
        let mut text = shown.join(", ");
        if let Some(reason) = &resolved.stale {
            text.push_str(&format!(" (remembered: {reason})"));
        }
        let sockets = resolved.addresses.iter().map(|ip| SocketAddr::new(*ip, *port));
        Ok(Found {
            sockets: sockets.collect(),
            text,
        })
    }

    /// Resolves and connects, by `deadline`.
    pub(crate) async fn connect(&self, deadline: Instant) -> Result<TcpStream, Failure> {
        let found = self.resolve(deadline).await?;
        dial(&found.sockets, deadline).await
    }
}

/// Connects to the first socket that takes the connection, by `deadline`.
pub(crate) async fn dial(sockets: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Failure> {
    let started = Instant::now();
    match timeout_at(deadline, TcpStream::connect(sockets)).await {
        Ok(Ok(stream)) => {
            // Questions are small and each waits for its answer. A socket that cannot be told so still works.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(Failure::of_io(&error, Stage::Tcp)),
        Err(_) => Err(Failure::timed_out(Stage::Tcp, "no TCP connection", started)),
    }
}
