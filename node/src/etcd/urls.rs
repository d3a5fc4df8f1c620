//! The URLs that etcd's flags are made of: a scheme, a host and a port.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    text: String,
    pub tls: bool,
    /// Host without brackets.
    pub host: String,
    pub port: u16,
}

impl Url {
    /// Parses one URL; the error is etcd's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(("unix" | "unixs", _)) => {
                return Err(format!("unix sockets are not supported, use http or https: {text}"));
            }
            _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
        };
        let authority = match rest.split_once('/') {
            None => rest,
            Some((authority, "")) => authority,
            Some(_) => return Err(format!("URL must not contain a path: {text}")),
        };
        let malformed = || format!("URL address does not have the form \"host:port\": {text}");
        let (host, port) = authority.rsplit_once(':').ok_or_else(malformed)?;
        let port = port.parse().map_err(|_| malformed())?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(malformed)?,
            None if host.contains(':') => return Err(malformed()),
            None => host,
        };
        Ok(Self {
            text: text.trim_end_matches('/').to_string(),
            tls,
            host: host.to_string(),
            port,
        })
    }

    /// Parses a list with commas between; at least one.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let mut urls = text.split(',').map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort();
        Ok(urls)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Where to listen; as in etcd the host is an address, or `localhost`.
    pub fn bind_address(&self) -> Result<SocketAddr, String> {
        let problem = || format!("expected IP in URL for binding ({})", self.text);
        if self.host == "localhost" {
            let mut found = self.address().to_socket_addrs().map_err(|_| problem())?;
            return found.find(SocketAddr::is_ipv4).ok_or_else(problem);
        }
        let ip: IpAddr = self.host.parse().map_err(|_| problem())?;
        Ok(SocketAddr::new(ip, self.port))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The URLs with commas between.
pub fn join(urls: &[Url]) -> String {
    texts(urls).join(",")
}

/// Each URL's text.
pub fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}
