//! The configuration file's own shape: every key optional, no others allowed.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use super::{ConfigError, LogFormat, MAX_CONFIG_BYTES};

const DNS_PORT: u16 = 53;

/// A configuration file as it was written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub data_dir: Option<PathBuf>,
    pub identity_dir: Option<PathBuf>,
    #[serde(default)]
    pub node: NodeSection,
    #[serde(default)]
    pub log: LogSection,
    #[serde(default)]
    pub peer: DoorSection,
    #[serde(default)]
    pub kv: KvSection,
    #[serde(default)]
    pub console: DoorSection,
    #[serde(default)]
    pub links: LinksSection,
    #[serde(default)]
    pub dns: DnsSection,
    #[serde(default)]
    pub limits: LimitsSection,
}

/// `[node]`: who and where the node is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    pub name: Option<String>,
    pub zone: Option<String>,
    pub site: Option<String>,
}

/// `[log]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    pub format: Option<LogFormat>,
    pub filter: Option<String>,
}

/// `[peer]` and `[console]`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorSection {
    pub listen: Option<SocketAddr>,
    pub advertise: Option<String>,
}

/// `[kv]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvSection {
    pub listen: Option<SocketAddr>,
    pub advertise: Option<String>,
    pub mutual_tls: Option<bool>,
    pub plaintext: Option<bool>,
}

impl KvSection {
    /// The part that every door has.
    pub fn door(&self) -> DoorSection {
        DoorSection {
            listen: self.listen,
            advertise: self.advertise.clone(),
        }
    }
}

/// `[links]`: how outgoing connections leave the node.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinksSection {
    pub source_address: Option<IpAddr>,
    pub fault_proxy: Option<SocketAddr>,
}

/// `[dns]`: how the names of data sources are resolved.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSection {
    pub servers: Option<Vec<NameServer>>,
    pub max_stale_seconds: Option<u32>,
}

/// A name server as `IP` or `IP:PORT`; port 53 where none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NameServer(pub SocketAddr);

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text
            .parse()
            .or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, DNS_PORT)));
        let address: Option<SocketAddr> = address.ok().filter(|address| address.port() > 0);
        address.map(Self).ok_or_else(|| {
            format!("`{text}` is no name server: write an IP address, such as 10.0.0.53 or [fd00::53]:53")
        })
    }
}

impl TryFrom<String> for NameServer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// `[limits]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    pub minimum_free_bytes: Option<u64>,
    pub minimum_free_percent: Option<u8>,
}

impl FileConfig {
    /// Reads and parses `path`; an unknown key or a wrong type is an error with its line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let unreadable = |cause| ConfigError::Unreadable {
            path: shown.clone(),
            cause,
        };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLarge { path: shown });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, &shown)
    }

    /// Parses `text`, which came from `path`.
    pub fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Malformed {
            path: path.to_string(),
            problem: error.to_string().trim_end().to_string(),
        })
    }
}
