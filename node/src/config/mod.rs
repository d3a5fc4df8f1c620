//! Configuration of one node: where it listens, where its files are, how it logs.
//!
//! A setting is taken from the first of: flag, environment (`QUORATE_…`), configuration file, default. Nothing that a decision
//! of the cluster depends on is configured here (that is replicated state), and no secret: secrets are files in the identity
//! directory. The file is parsed into a type of its own, so that an unknown key is an error that names the key and its line.

mod file;
mod overrides;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_probes::NameSettings;
use quorate_probes::names::{DEFAULT_MAX_STALE, LONGEST_MAX_STALE, MAX_SERVERS};
use serde::{Deserialize, Serialize};

pub use file::{FileConfig, NameServer};
pub use overrides::Overrides;

/// The documented sample that `quorate config sample` prints; every key in it is commented out or holds its default.
pub const SAMPLE: &str = include_str!("sample.toml");

/// Which log lines are written where nothing else is said.
pub const DEFAULT_LOG_FILTER: &str = "info,openraft=error";
/// Largest share of a file system that can be asked to stay free, percent.
pub const MAX_MINIMUM_FREE_PERCENT: u8 = 50;
/// Largest configuration file that is read, bytes.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// Why a configuration was refused; the text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {cause}")]
    Unreadable { path: String, cause: std::io::Error },
    #[error("{path} is larger than {MAX_CONFIG_BYTES} bytes: this is not a configuration file")]
    TooLarge { path: String },
    /// Syntax, unknown key or wrong type; the parser's text carries line and column.
    #[error("{path}: {problem}")]
    Malformed { path: String, problem: String },
    #[error("{key}: {problem}")]
    Invalid { key: &'static str, problem: String },
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// One door: the address it is bound to and the one that others are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Door {
    pub listen: SocketAddr,
    /// `host:port` that peers, SDKs and browsers use.
    pub advertise: String,
}

impl Door {
    /// The host of [`Self::advertise`], without brackets: what a certificate must name.
    pub fn host(&self) -> &str {
        let host = self
            .advertise
            .rsplit_once(':')
            .map_or(self.advertise.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// The effective configuration of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Name of the node, for people; `node-{id}` where none is set.
    pub node_name: Option<String>,
    /// Availability zone that the node stands in.
    pub zone: String,
    /// The site it stands for: `dc1`, `dc2` or `arbiter`.
    pub site: String,
    /// Where the log and the snapshots are.
    pub data_dir: PathBuf,
    /// Where certificates and `cluster.key` are.
    pub identity_dir: PathBuf,
    pub log_format: LogFormat,
    /// Filter of log lines: a level, or `target=level` directives separated by commas.
    pub log_filter: String,
    pub peer: Door,
    pub kv: Door,
    /// A client of the KV endpoint must show a certificate of the instance.
    pub kv_mutual_tls: bool,
    /// The KV endpoint also takes plaintext connections.
    pub kv_plaintext: bool,
    pub console: Door,
    /// Local address that outgoing connections to peers are opened from.
    pub source_address: Option<IpAddr>,
    /// Fault proxy of a development cluster that connections to peers and databases pass.
    pub fault_proxy: Option<SocketAddr>,
    /// Name servers that the names of data sources are asked of; empty: those of `/etc/resolv.conf`.
    pub dns_servers: Vec<SocketAddr>,
    /// How long addresses of data sources are used beyond their TTL while no name server answers, seconds.
    pub dns_max_stale_seconds: u64,
    /// Free disk space below which the node is not ready, hands leadership on, and clients may add no data; bytes.
    pub minimum_free_bytes: u64,
    /// The same in percent of the file system, 0 to 50; the larger of both counts.
    pub minimum_free_percent: u8,
    /// Log entries after which a snapshot is made; `None`: as many as consensus thinks right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_every_entries: Option<u64>,
}

impl Config {
    /// How the names of data sources are resolved.
    pub fn names(&self) -> NameSettings {
        NameSettings {
            servers: self.dns_servers.clone(),
            max_stale: Duration::from_secs(self.dns_max_stale_seconds),
        }
    }
}

/// Ports and settings that hold where nothing else is said.
mod defaults {
    pub const DATA_DIR: &str = "/var/lib/quorate";
    pub const IDENTITY_DIR: &str = "/etc/quorate/identity";
    pub const PEER_PORT: u16 = 2380;
    pub const KV_PORT: u16 = 2379;
    pub const CONSOLE_PORT: u16 = 8443;
    pub const MINIMUM_FREE_BYTES: u64 = 1024 * 1024 * 1024;
    pub const MINIMUM_FREE_PERCENT: u8 = 5;
}

/// Reads, merges and checks: `overrides` (flags, then environment) over the file over the defaults.
///
/// Relative paths in the file are taken from the file's folder, so that a node's folder can be moved.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let file = match path {
        Some(path) => FileConfig::read(path)?,
        None => FileConfig::default(),
    };
    let base = path.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    merge(file, overrides, &base)
}

fn merge(file: FileConfig, over: &Overrides, base: &Path) -> Result<Config, ConfigError> {
    let path = |flag: &Option<PathBuf>, file: Option<PathBuf>, default: &str| match (flag, file) {
        (Some(flag), _) => flag.clone(),
        (None, Some(file)) => base.join(file),
        (None, None) => PathBuf::from(default),
    };
    let door = |name, listen: Option<SocketAddr>, advertise: &Option<String>, section: &file::DoorSection, port| {
        let listen = listen
            .or(section.listen)
            .unwrap_or(SocketAddr::from(([0, 0, 0, 0], port)));
        make_door(name, listen, advertise.clone().or_else(|| section.advertise.clone()))
    };
    let config = Config {
        node_name: over.node_name.clone().or(file.node.name),
        zone: over
            .zone
            .clone()
            .or(file.node.zone)
            .unwrap_or_else(|| "az1".to_string()),
        site: over
            .site
            .clone()
            .or(file.node.site)
            .unwrap_or_else(|| "dc1".to_string()),
        data_dir: path(&over.data_dir, file.data_dir, defaults::DATA_DIR),
        identity_dir: path(&over.identity_dir, file.identity_dir, defaults::IDENTITY_DIR),
        log_format: over.log_format.or(file.log.format).unwrap_or(LogFormat::Text),
        log_filter: over
            .log_filter
            .clone()
            .or(file.log.filter)
            .unwrap_or_else(|| DEFAULT_LOG_FILTER.to_string()),
        peer: door(
            "peer",
            over.peer_listen,
            &over.peer_advertise,
            &file.peer,
            defaults::PEER_PORT,
        )?,
        kv: door(
            "kv",
            over.kv_listen,
            &over.kv_advertise,
            &file.kv.door(),
            defaults::KV_PORT,
        )?,
        kv_mutual_tls: over.kv_mutual_tls.or(file.kv.mutual_tls).unwrap_or(true),
        kv_plaintext: over.kv_plaintext.or(file.kv.plaintext).unwrap_or(false),
        console: door(
            "console",
            over.console_listen,
            &over.console_advertise,
            &file.console,
            defaults::CONSOLE_PORT,
        )?,
        source_address: over.source_address.or(file.links.source_address),
        fault_proxy: over.fault_proxy.or(file.links.fault_proxy),
        dns_servers: over
            .dns_servers
            .clone()
            .or(file.dns.servers)
            .map(|servers| servers.iter().map(|server| server.0).collect())
            .unwrap_or_default(),
        dns_max_stale_seconds: over
            .dns_max_stale_seconds
            .or(file.dns.max_stale_seconds)
            .map_or(DEFAULT_MAX_STALE.as_secs(), u64::from),
        minimum_free_bytes: over
            .minimum_free_bytes
            .or(file.limits.minimum_free_bytes)
            .unwrap_or(defaults::MINIMUM_FREE_BYTES),
        minimum_free_percent: over
            .minimum_free_percent
            .or(file.limits.minimum_free_percent)
            .unwrap_or(defaults::MINIMUM_FREE_PERCENT),
        snapshot_every_entries: over.snapshot_every_entries,
    };
    check(&config)?;
    Ok(config)
}

fn make_door(name: &'static str, listen: SocketAddr, advertise: Option<String>) -> Result<Door, ConfigError> {
    let key = match name {
        "peer" => "peer.advertise",
        "kv" => "kv.advertise",
        _ => "console.advertise",
    };
    let advertise = match advertise {
        Some(text) => {
            let port = text
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
            if !matches!(port, Some(Ok(port)) if port > 0) {
                let problem = format!("`{text}` is no host:port, such as 10.0.0.1:{}", listen.port());
                return Err(ConfigError::Invalid { key, problem });
            }
            text
        }
        None => listen.to_string(),
    };
    Ok(Door { listen, advertise })
}

fn check(config: &Config) -> Result<(), ConfigError> {
    if !["dc1", "dc2", "arbiter"].contains(&config.site.as_str()) {
        let problem = format!("`{}` is no site: one of dc1, dc2, arbiter", config.site);
        return Err(ConfigError::Invalid {
            key: "node.site",
            problem,
        });
    }
    if config.zone.is_empty() || config.zone.len() > 64 {
        return Err(ConfigError::Invalid {
            key: "node.zone",
            problem: "1 to 64 characters".to_string(),
        });
    }
    if config.kv_mutual_tls && config.kv_plaintext {
        let problem =
            "plaintext and mutual TLS contradict each other: set kv.mutual_tls = false or kv.plaintext = false";
        return Err(ConfigError::Invalid {
            key: "kv.plaintext",
            problem: problem.to_string(),
        });
    }
    if config
        .log_filter
        .parse::<tracing_subscriber::filter::EnvFilter>()
        .is_err()
    {
        let problem = format!(
            "`{}` is no filter: a level such as info, or target=level,…",
            config.log_filter
        );
        return Err(ConfigError::Invalid {
            key: "log.filter",
            problem,
        });
    }
    if config.minimum_free_percent > MAX_MINIMUM_FREE_PERCENT {
        return Err(ConfigError::Invalid {
            key: "limits.minimum_free_percent",
            problem: format!("{}; at most {MAX_MINIMUM_FREE_PERCENT}", config.minimum_free_percent),
        });
    }
    check_dns(config)?;
    let listens = [config.peer.listen, config.kv.listen, config.console.listen];
    for (index, listen) in listens.iter().enumerate() {
        if listens[..index].contains(listen) {
            let problem = format!("{listen} is used twice: peers, KV and console need a port each");
            return Err(ConfigError::Invalid { key: "listen", problem });
        }
    }
    Ok(())
}

fn check_dns(config: &Config) -> Result<(), ConfigError> {
    if config.dns_servers.len() > MAX_SERVERS {
        return Err(ConfigError::Invalid {
            key: "dns.servers",
            problem: format!("{}; at most {MAX_SERVERS}", config.dns_servers.len()),
        });
    }
    if config.dns_max_stale_seconds > LONGEST_MAX_STALE.as_secs() {
        let problem = format!(
            "{}; at most {}",
            config.dns_max_stale_seconds,
            LONGEST_MAX_STALE.as_secs()
        );
        return Err(ConfigError::Invalid {
            key: "dns.max_stale_seconds",
            problem,
        });
    }
    Ok(())
}

/// What `bootstrap` and `join` need beyond [`load`]: addresses that other machines can use.
pub fn require_reachable_addresses(config: &Config) -> Result<(), ConfigError> {
    let doors = [
        ("peer.advertise", &config.peer),
        ("kv.advertise", &config.kv),
        ("console.advertise", &config.console),
    ];
    for (key, door) in doors {
        if door.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
            let problem = format!(
                "{} names no address that others can reach: set it to this node's address, such as 10.0.0.1:{}",
                door.advertise,
                door.listen.port()
            );
            return Err(ConfigError::Invalid { key, problem });
        }
    }
    Ok(())
}
