//! Settings from flags and environment: every key of the file has a flag and a variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::LogFormat;
use super::file::NameServer;

/// Flags of `serve`, `bootstrap` and `join`; a flag wins over its variable, both over the file.
#[derive(Debug, Default, Clone, clap::Args)]
#[command(next_help_heading = "Settings (flag over environment over file)")]
pub struct Overrides {
    /// Name of the node, for people
    #[arg(long, env = "QUORATE_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Availability zone of the node
    #[arg(long, env = "QUORATE_NODE_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,
    /// Site that the node stands for: dc1, dc2 or arbiter
    #[arg(long, env = "QUORATE_NODE_SITE", value_name = "SITE")]
    pub site: Option<String>,
    /// Folder of the log and the snapshots
    #[arg(long, env = "QUORATE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder of the certificates and of cluster.key
    #[arg(long, env = "QUORATE_IDENTITY_DIR", value_name = "DIR")]
    pub identity_dir: Option<PathBuf>,
    /// How log lines look
    #[arg(long, env = "QUORATE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which log lines are written: a level, or target=level,…
    #[arg(long, env = "QUORATE_LOG_FILTER", value_name = "FILTER")]
    pub log_filter: Option<String>,
    /// Address that peers connect to
    #[arg(long, env = "QUORATE_PEER_LISTEN", value_name = "IP:PORT")]
    pub peer_listen: Option<SocketAddr>,
    /// Address of the peer door that the other nodes are told
    #[arg(long, env = "QUORATE_PEER_ADVERTISE", value_name = "HOST:PORT")]
    pub peer_advertise: Option<String>,
    /// Address of the KV endpoint
    #[arg(long, env = "QUORATE_KV_LISTEN", value_name = "IP:PORT")]
    pub kv_listen: Option<SocketAddr>,
    /// Address of the KV endpoint that SDKs are told
    #[arg(long, env = "QUORATE_KV_ADVERTISE", value_name = "HOST:PORT")]
    pub kv_advertise: Option<String>,
    /// Whether KV clients must show a certificate
    #[arg(long, env = "QUORATE_KV_MUTUAL_TLS", value_name = "BOOL")]
    pub kv_mutual_tls: Option<bool>,
    /// Whether the KV endpoint takes plaintext too
    #[arg(long, env = "QUORATE_KV_PLAINTEXT", value_name = "BOOL")]
    pub kv_plaintext: Option<bool>,
    /// Address of the console (REST, web, metrics)
    #[arg(long, env = "QUORATE_CONSOLE_LISTEN", value_name = "IP:PORT")]
    pub console_listen: Option<SocketAddr>,
    /// Address of the console that people are told
    #[arg(long, env = "QUORATE_CONSOLE_ADVERTISE", value_name = "HOST:PORT")]
    pub console_advertise: Option<String>,
    /// Local address that connections to peers are opened from
    #[arg(long, env = "QUORATE_LINKS_SOURCE_ADDRESS", value_name = "IP")]
    pub source_address: Option<IpAddr>,
    /// Fault proxy of a development cluster
    #[arg(long, env = "QUORATE_LINKS_FAULT_PROXY", value_name = "IP:PORT", hide = true)]
    pub fault_proxy: Option<SocketAddr>,
    /// Name servers that the names of data sources are asked of, separated by commas; those of /etc/resolv.conf where none
    /// is given
    #[arg(long, env = "QUORATE_DNS_SERVERS", value_name = "IP[:PORT]", value_delimiter = ',')]
    pub dns_servers: Option<Vec<NameServer>>,
    /// How long the addresses of a data source are used beyond their TTL while no name server answers
    #[arg(long, env = "QUORATE_DNS_MAX_STALE_SECONDS", value_name = "SECONDS")]
    pub dns_max_stale_seconds: Option<u32>,
    /// Free disk space below which the node is not ready, bytes
    #[arg(long, env = "QUORATE_LIMITS_MINIMUM_FREE_BYTES", value_name = "BYTES")]
    pub minimum_free_bytes: Option<u64>,
    /// The same in percent of the file system; the larger of both counts
    #[arg(long, env = "QUORATE_LIMITS_MINIMUM_FREE_PERCENT", value_name = "PERCENT")]
    pub minimum_free_percent: Option<u8>,
    /// Log entries after which a snapshot is made, and a tenth of them kept behind it; for tests of snapshots
    #[arg(long, env = "QUORATE_LIMITS_SNAPSHOT_EVERY_ENTRIES", value_name = "ENTRIES", hide = true,
          value_parser = clap::value_parser!(u64).range(100..))]
    pub snapshot_every_entries: Option<u64>,
}
