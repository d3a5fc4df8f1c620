//! Addresses and their resolution: bounded, one lookup at a time.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use quorate_machine::FindingClass;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{errors::Failure, target::MysqlTarget};
use crate::observation::{Stage, bounded_text};

/// Addresses of one name that are tried.
const MAX_ADDRESSES_PER_NAME: usize = 8;

/// `host:port` of a data source; the host is a name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// Parses `host:port` or `[v6]:port`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|ip| ip.parse::<Ipv6Addr>().is_ok())?,
            None => host,
        };
        let bracketless_v6 = text.starts_with('[') != host.contains(':');
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']' | '/' | '@');
        if host.is_empty() || bracketless_v6 || host.contains(odd) {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Resolves one target's address. A lookup occupies a thread until the system's resolver gives up, so one that
/// outlives its attempt is taken up by the next attempt instead of being doubled.
#[derive(Debug)]
pub(super) struct Resolver {
    address: Address,
    fixed: Option<SocketAddr>,
    lookup: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Resolver {
    pub(super) fn new(target: &MysqlTarget) -> Self {
        let address = target.address().clone();
        let literal = address.host.parse::<IpAddr>().ok();
        let fixed = target
            .connect_to
            .or(literal.map(|ip| SocketAddr::new(ip, address.port)));
        Self {
            address,
            fixed,
            lookup: None,
        }
    }

    /// The addresses to dial.
    pub(super) async fn resolve(&mut self, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
        if let Some(address) = self.fixed {
            return Ok(vec![address]);
        }
        let Address { host, port } = self.address.clone();
        let lookup = self.lookup.get_or_insert_with(|| {
            tokio::spawn(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        });
        let failure = |text: String| Failure {
            stage: Stage::Dns,
            class: FindingClass::Dns,
            text: bounded_text(&text),
        };
        let Ok(joined) = timeout_at(deadline, lookup).await else {
            return Err(failure(format!("no answer for the name {} in time", self.address.host)));
        };
        self.lookup = None;
        let found = joined
            .unwrap_or_else(|lost| Err(io::Error::other(lost)))
            .map_err(|error| failure(error.to_string()))?;
        let addresses: Vec<SocketAddr> = found.into_iter().take(MAX_ADDRESSES_PER_NAME).collect();
        if addresses.is_empty() {
            return Err(failure(format!("the name {} has no address", self.address.host)));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_are_host_and_port() {
        for (text, shown) in [
            ("10.0.0.1:3306", Some("10.0.0.1:3306")),
            ("db.example.com:3307", Some("db.example.com:3307")),
            ("[::1]:3306", Some("[::1]:3306")),
            ("::1:3306", None),
            ("[::1]", None),
            ("[db]:3306", None),
            ("db", None),
            (":3306", None),
            ("db:0", None),
            ("db:65536", None),
            ("d b:3306", None),
            ("user@db:3306", None),
        ] {
            let parsed = Address::parse(text).map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), shown, "{text}");
        }
    }
}
