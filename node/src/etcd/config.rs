//! What one member is to do, from the settings: every default and every check of etcd that applies here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_etcd_api::JwtKeys;
use quorate_raft::Timers;

use super::settings::{Settings, SettingsError};
use super::urls::{self, Url};

const DEFAULT_NAME: &str = "default";
const DEFAULT_TOKEN: &str = "etcd-cluster";
const DEFAULT_PEER_URL: &str = "http://localhost:2380";
const DEFAULT_CLIENT_URL: &str = "http://localhost:2379";
/// etcd's own times, in force once one of the two flags is given.
const ETCD_HEARTBEAT_MS: u64 = 100;
const ETCD_ELECTION_MS: u64 = 1_000;
/// Longest time of an election, as in etcd.
const MAX_ELECTION_MS: u64 = 50_000;
/// Least log entries between two snapshots.
const MIN_SNAPSHOT_ENTRIES: u64 = 10;

/// How a member with an empty data directory begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialState {
    /// With the others of `--initial-cluster`.
    New,
    /// In a cluster that runs and has had it added.
    Existing,
}

/// Certificates of one kind of connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// What this member shows when it connects; the two above where they are not given.
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub trusted_ca: Option<PathBuf>,
    pub client_cert_auth: bool,
    /// A certificate is made at the start.
    pub auto: bool,
    pub validity_years: u16,
}

/// What auto-compaction keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compaction {
    Off,
    /// So much time.
    Periodic(Duration),
    /// So many revisions.
    Revision(i64),
}

/// The protocol versions of TLS that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsVersions {
    pub tls12: bool,
    pub tls13: bool,
}

/// A member's configuration.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    pub name: String,
    pub data_dir: PathBuf,
    pub listen_peer: Url,
    pub listen_client: Vec<Url>,
    pub listen_metrics: Vec<Url>,
    pub advertise_peer: Vec<Url>,
    pub advertise_client: Vec<Url>,
    /// Members by name.
    pub initial_cluster: BTreeMap<String, Vec<Url>>,
    pub initial_state: InitialState,
    pub token: String,
    /// JSON Web Tokens of clients; `None`: tokens of the members' own.
    pub jwt: Option<Arc<JwtKeys>>,
    pub client_tls: TlsFiles,
    pub peer_tls: TlsFiles,
    pub tls_versions: TlsVersions,
    /// `None`: what the cluster has.
    pub quota_bytes: Option<u64>,
    pub compaction: Compaction,
    pub timers: Timers,
    pub snapshot_every_entries: Option<u64>,
}

fn invalid(flag: &str, value: &str, problem: impl Into<String>) -> SettingsError {
    SettingsError::Invalid {
        flag: flag.to_string(),
        value: value.to_string(),
        problem: problem.into(),
    }
}

impl EtcdConfig {
    /// Checks the settings.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let name = settings.get("name").unwrap_or(DEFAULT_NAME).to_string();
        let list = |flag: &str, default: &str| match settings.get(flag).filter(|text| !text.is_empty()) {
            Some(text) => Url::parse_list(text).map_err(|problem| invalid(flag, text, problem)),
            None => Ok(Url::parse_list(default).expect("defaults are URLs")),
        };
        let listen_peer = list("listen-peer-urls", DEFAULT_PEER_URL)?;
        let listen_client = list("listen-client-urls", DEFAULT_CLIENT_URL)?;
        let advertise_peer = list("initial-advertise-peer-urls", DEFAULT_PEER_URL)?;
        let advertise_client = list("advertise-client-urls", DEFAULT_CLIENT_URL)?;
        if settings.is_set("listen-client-urls") && !settings.is_set("advertise-client-urls") {
            let text = "--advertise-client-urls is required when --listen-client-urls is set explicitly";
            return Err(SettingsError::Contradiction(text.to_string()));
        }
        let [listen_peer] = <[Url; 1]>::try_from(listen_peer).map_err(|_| SettingsError::Unsupported {
            flag: "listen-peer-urls".to_string(),
            instead: "members listen on one address, give one URL; 0.0.0.0 means all",
        })?;
        for (flag, url) in std::iter::once(("listen-peer-urls", &listen_peer))
            .chain(listen_client.iter().map(|url| ("listen-client-urls", url)))
        {
            url.bind_address()
                .map_err(|problem| invalid(flag, &url.to_string(), problem))?;
        }
        let initial_cluster = initial_cluster(settings, &name, &advertise_peer)?;
        let config = Self {
            data_dir: settings
                .get("data-dir")
                .filter(|path| !path.is_empty())
                .map_or_else(|| PathBuf::from(format!("{name}.etcd")), PathBuf::from),
            listen_peer,
            listen_client,
            listen_metrics: match settings.is_set("listen-metrics-urls") {
                true => list("listen-metrics-urls", DEFAULT_CLIENT_URL)?,
                false => Vec::new(),
            },
            advertise_peer,
            advertise_client,
            initial_cluster,
            initial_state: match settings.get("initial-cluster-state") {
                None | Some("" | "new") => InitialState::New,
                Some("existing") => InitialState::Existing,
                Some(other) => return Err(invalid("initial-cluster-state", other, "invalid value")),
            },
            token: settings
                .get("initial-cluster-token")
                .unwrap_or(DEFAULT_TOKEN)
                .to_string(),
            client_tls: tls_files(settings, "")?,
            peer_tls: tls_files(settings, "peer-")?,
            tls_versions: tls_versions(settings)?,
            quota_bytes: quota(settings)?,
            jwt: jwt(settings)?,
            compaction: compaction(settings)?,
            timers: timers(settings)?,
            snapshot_every_entries: number(settings, "snapshot-count")?
                .map(|entries| entries.max(MIN_SNAPSHOT_ENTRIES)),
            name,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let contradiction = |text: String| Err(SettingsError::Contradiction(text));
        let Some(own) = self.initial_cluster.get(&self.name) else {
            let text = format!(
                "couldn't find local name {:?} in the initial cluster configuration",
                self.name
            );
            return contradiction(text);
        };
        if *own != self.advertise_peer {
            let text = format!(
                "--initial-cluster has {}={} but missing from --initial-advertise-peer-urls={}",
                self.name,
                urls::join(own),
                urls::join(&self.advertise_peer)
            );
            return contradiction(text);
        }
        for (what, listens, tls) in [
            ("client", &self.listen_client[..], &self.client_tls),
            ("peer", std::slice::from_ref(&self.listen_peer), &self.peer_tls),
        ] {
            let prefix = if what == "peer" { "peer-" } else { "" };
            let wants_tls = listens.iter().any(|url| url.tls);
            if wants_tls && !tls.auto && (tls.cert.is_none() || tls.key.is_none()) {
                return contradiction(format!(
                    "{what} URLs with https need --{prefix}cert-file and --{prefix}key-file"
                ));
            }
            if wants_tls && tls.client_cert_auth && tls.trusted_ca.is_none() {
                return contradiction(format!("--{prefix}client-cert-auth needs --{prefix}trusted-ca-file"));
            }
        }
        let verified = self.peer_tls.trusted_ca.is_some() || self.peer_tls.auto;
        if self.advertise_peer.iter().any(|url| url.tls) && !verified {
            return contradiction(
                "peer URLs with https need --peer-trusted-ca-file, which members are verified with, or --peer-auto-tls"
                    .to_string(),
            );
        }
        Ok(())
    }
}

fn initial_cluster(
    settings: &Settings,
    name: &str,
    advertise: &[Url],
) -> Result<BTreeMap<String, Vec<Url>>, SettingsError> {
    const FLAG: &str = "initial-cluster";
    let Some(text) = settings.get(FLAG).filter(|text| !text.is_empty()) else {
        return Ok(BTreeMap::from([(name.to_string(), advertise.to_vec())]));
    };
    let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    for part in text.split(',') {
        let (member, url) = part
            .trim()
            .split_once('=')
            .ok_or_else(|| invalid(FLAG, text, format!("{part:?} is no name=URL")))?;
        let url = Url::parse(url).map_err(|problem| invalid(FLAG, text, problem))?;
        members.entry(member.to_string()).or_default().push(url);
    }
    let mut seen = std::collections::BTreeSet::new();
    for urls in members.values_mut() {
        urls.sort();
        if let Some(twice) = urls.iter().find(|url| !seen.insert(url.to_string())) {
            return Err(SettingsError::Contradiction(format!(
                "--initial-cluster has duplicate URLs: {twice}"
            )));
        }
    }
    Ok(members)
}

fn tls_files(settings: &Settings, prefix: &str) -> Result<TlsFiles, SettingsError> {
    let path = |name: &str| {
        let value = settings.get(&format!("{prefix}{name}"));
        value.filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    let years = number(settings, "self-signed-cert-validity")?.unwrap_or(1).max(1);
    Ok(TlsFiles {
        cert: path("cert-file"),
        key: path("key-file"),
        client_cert: path("client-cert-file"),
        client_key: path("client-key-file"),
        trusted_ca: path("trusted-ca-file"),
        client_cert_auth: settings.is_on(&format!("{prefix}client-cert-auth")),
        auto: settings.is_on(&format!("{prefix}auto-tls")),
        validity_years: u16::try_from(years).unwrap_or(u16::MAX).min(100),
    })
}

fn tls_versions(settings: &Settings) -> Result<TlsVersions, SettingsError> {
    let number = |flag: &str, default: u8| match settings.get(flag) {
        None | Some("") => Ok(default),
        Some("TLS1.2") => Ok(12),
        Some("TLS1.3") => Ok(13),
        Some(other) => Err(invalid(
            flag,
            other,
            format!("unexpected TLS version {other:?} (must be one of: TLS1.2, TLS1.3)"),
        )),
    };
    let (least, most) = (number("tls-min-version", 12)?, number("tls-max-version", 13)?);
    if least > most {
        let text = "min version (TLS1.3) is greater than max version (TLS1.2)".to_string();
        return Err(SettingsError::Contradiction(text));
    }
    Ok(TlsVersions {
        tls12: least == 12,
        tls13: most == 13,
    })
}

fn number(settings: &Settings, flag: &str) -> Result<Option<u64>, SettingsError> {
    match settings.get(flag).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| invalid(flag, text, "parse error")),
    }
}

/// 0 means etcd's default, which is the cluster's.
fn quota(settings: &Settings) -> Result<Option<u64>, SettingsError> {
    const FLAG: &str = "quota-backend-bytes";
    let Some(bytes) = number(settings, FLAG)?.filter(|bytes| *bytes > 0) else {
        return Ok(None);
    };
    let range = quorate_machine::MIN_ETCD_QUOTA_BYTES..=quorate_machine::MAX_KEYSPACE_QUOTA_BYTES;
    if !range.contains(&bytes) {
        let problem = format!("a quota is between {} and {} bytes", range.start(), range.end());
        return Err(invalid(FLAG, &bytes.to_string(), problem));
    }
    Ok(Some(bytes))
}

fn jwt(settings: &Settings) -> Result<Option<Arc<JwtKeys>>, SettingsError> {
    let text = settings.get("auth-token").unwrap_or_default();
    let keys = super::tokens::parse(text).map_err(|problem| invalid("auth-token", text, problem))?;
    Ok(keys.map(Arc::new))
}

fn compaction(settings: &Settings) -> Result<Compaction, SettingsError> {
    const FLAG: &str = "auto-compaction-retention";
    let text = settings.get(FLAG).unwrap_or("0");
    match settings.get("auto-compaction-mode").unwrap_or("periodic") {
        "" | "periodic" => {
            // Without a unit these are hours.
            let retention = match text.parse::<u64>() {
                Ok(hours) => Duration::from_secs(hours.saturating_mul(3_600)),
                Err(_) => {
                    go_duration(text).ok_or_else(|| invalid(FLAG, text, format!("time: invalid duration {text:?}")))?
                }
            };
            Ok(match retention.is_zero() {
                true => Compaction::Off,
                false => Compaction::Periodic(retention),
            })
        }
        "revision" => match text.parse::<i64>() {
            Ok(0) => Ok(Compaction::Off),
            Ok(revisions) if revisions > 0 => Ok(Compaction::Revision(revisions)),
            _ => Err(invalid(FLAG, text, "parse error")),
        },
        other => Err(SettingsError::Contradiction(format!(
            "unknown auto-compaction-mode {other:?}"
        ))),
    }
}

/// A duration as Go writes it: `1h30m`, `500ms`, `1.5s`.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(rest.len());
        let unit_ms = match &rest[..unit] {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1_000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        total_ms += amount * unit_ms;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::from_micros((total_ms * 1_000.0) as u64))
}

/// Without the flags the times of this program, which find a lost leader sooner; with one of them, both as in etcd.
fn timers(settings: &Settings) -> Result<Timers, SettingsError> {
    if !settings.is_set("heartbeat-interval") && !settings.is_set("election-timeout") {
        return Ok(Timers::default());
    }
    let heartbeat_ms = number(settings, "heartbeat-interval")?.unwrap_or(ETCD_HEARTBEAT_MS);
    let election_ms = number(settings, "election-timeout")?.unwrap_or(ETCD_ELECTION_MS);
    let contradiction = |text: String| Err(SettingsError::Contradiction(text));
    if heartbeat_ms == 0 {
        return contradiction(format!("--heartbeat-interval must be >0 (set to {heartbeat_ms}ms)"));
    }
    if 5 * heartbeat_ms > election_ms {
        return contradiction(format!(
            "--election-timeout[{election_ms}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat_ms}ms]"
        ));
    }
    if election_ms > MAX_ELECTION_MS {
        return contradiction(format!(
            "--election-timeout[{election_ms}ms] is too long, and should be set less than {MAX_ELECTION_MS}ms"
        ));
    }
    Ok(Timers {
        heartbeat_ms,
        election_min_ms: (election_ms * 2 / 3).max(heartbeat_ms + 1),
        election_max_ms: election_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str], environment: &[(&str, &str)]) -> Result<EtcdConfig, String> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Settings::read(&arguments, environment)
            .and_then(|settings| EtcdConfig::new(&settings))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_environment() {
        let config = config(
            &[
                "--name=m1",
                "-auto-compaction-retention",
                "1h30m",
                "--client-cert-auth=false",
            ],
            &[("ETCD_NAME", "other"), ("ETCD_ELECTION_TIMEOUT", "2000"), ("HOME", "/")],
        )
        .expect("good settings");
        assert_eq!(config.name, "m1");
        assert_eq!(config.data_dir, PathBuf::from("m1.etcd"));
        assert_eq!(config.compaction, Compaction::Periodic(Duration::from_secs(5_400)));
        assert_eq!(
            (config.timers.heartbeat_ms, config.timers.election_max_ms),
            (100, 2_000)
        );
        assert_eq!(config.initial_cluster.keys().collect::<Vec<_>>(), ["m1"]);
    }

    #[test]
    fn a_configuration_file_replaces_flags_and_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("etcd.yml");
        let text = "name: m9\nlog-outputs: [stderr]\nquota-backend-bytes: 67108864\npeer-transport-security:\n  client-cert-auth: true\n";
        std::fs::write(&path, text).expect("it can be written");
        let found = config(
            &["--name=ignored", "--config-file", path.to_str().expect("text")],
            &[("ETCD_INITIAL_CLUSTER_STATE", "existing")],
        )
        .expect("good settings");
        assert_eq!((found.name.as_str(), found.quota_bytes), ("m9", Some(67_108_864)));
        assert_eq!(found.initial_state, InitialState::New);
        assert!(found.peer_tls.client_cert_auth);
        std::fs::write(&path, "nmae: m9\n").expect("it can be written");
        let refused = config(&["--config-file", path.to_str().expect("text")], &[]);
        assert!(refused.expect_err("a typing error").contains("unknown key \"nmae\""));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let cases: [(&[&str], &str); 13] = [
            (&["--nosuch"], "flag provided but not defined: -nosuch"),
            (&["--name"], "flag needs an argument: -name"),
            (&["extra"], "\"extra\" is not a valid flag"),
            (
                &["--force-new-cluster"],
                "etcd flag --force-new-cluster is not supported: take",
            ),
            (
                &["--discovery=http://x"],
                "etcd flag --discovery is not supported: there is no discovery",
            ),
            (&["--pre-vote=false"], "etcd flag --pre-vote=false is not supported"),
            (&["--max-txn-ops=9"], "etcd flag --max-txn-ops=9 is not supported"),
            (&["--peer-crl-file=x"], "etcd flag --peer-crl-file is not supported"),
            (
                &["--heartbeat-interval=300", "--election-timeout=1000"],
                "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[300ms]",
            ),
            (
                &["--auto-compaction-mode=blah"],
                "unknown auto-compaction-mode \"blah\"",
            ),
            (
                &["--listen-client-urls=foo", "--advertise-client-urls=http://x:1"],
                "invalid value \"foo\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: foo",
            ),
            (
                &["--listen-client-urls=http://127.0.0.1:2379"],
                "--advertise-client-urls is required when --listen-client-urls is set explicitly",
            ),
            (
                &["--initial-cluster=default=http://127.0.0.1:1"],
                "--initial-cluster has default=http://127.0.0.1:1 but missing from --initial-advertise-peer-urls=http://localhost:2380",
            ),
        ];
        for (arguments, text) in cases {
            let refused = config(arguments, &[]).expect_err("it must be refused");
            assert!(refused.starts_with(text), "{arguments:?}: {refused}");
        }
        // What is off may be said to be off.
        config(&["--force-new-cluster=false", "--discovery=", "--pre-vote"], &[]).expect("good settings");
    }
}
