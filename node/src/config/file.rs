//! The configuration file's own shape: every key optional, no others allowed.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, LogFormat, MAX_CONFIG_BYTES};

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
