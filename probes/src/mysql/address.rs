//! Addresses of data sources as they are written, and what to dial for them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{errors::Failure, target::MysqlTarget};
use crate::{
    names::NameError,
    observation::{Stage, bounded_text},
};

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

/// The sockets of one target.
pub(super) struct Found {
    /// At least one.
    pub(super) sockets: Vec<SocketAddr>,
    /// For an operator: the addresses and, where they are older than their TTL, why.
    pub(super) text: String,
}

/// The sockets to dial, by `deadline`.
pub(super) async fn resolve(target: &MysqlTarget, deadline: Instant) -> Result<Found, Failure> {
    if let Some(proxy) = target.connect_to {
        return Ok(Found {
            sockets: vec![proxy],
            text: proxy.ip().to_string(),
        });
    }
    let Address { host, port } = target.address();
    let failure = |error: NameError| Failure {
        stage: Stage::Dns,
        class: FindingClass::Dns,
        text: bounded_text(&error.to_string()),
    };
    let resolved = target.names.resolve(host, deadline).await.map_err(failure)?;
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
