//! Addresses of data sources as they are written.

use std::{fmt, net::Ipv6Addr};

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
