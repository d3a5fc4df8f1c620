//! One question to the DNS, through hickory's stub resolver.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::op::ResponseCode,
    system_conf::read_system_conf,
};
use tokio::{pin, sync::Mutex, time::timeout};

/// Time a name server has for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Repetitions of a question without an answer.
const REPETITIONS: usize = 1;
/// How long addresses of one family wait for those of the other (RFC 8305, section 3, waits as long).
const OTHER_FAMILY_WAIT: Duration = Duration::from_millis(50);
/// Files of the system that the resolver is made from.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// What came of a question.
pub(super) enum Answer {
    /// The addresses, at least one, IPv4 first, and how long they hold.
    Addresses { addresses: Vec<IpAddr>, ttl: Duration },
    /// The name does not exist or has no address; the words say which.
    None(String),
    /// There was no answer.
    Failed(String),
}

/// Asks the configured name servers, or the system's.
pub(super) struct Asker {
    servers: Vec<SocketAddr>,
    made: Mutex<Option<Made>>,
}

/// A resolver and what the system's files looked like when it was made.
struct Made {
    stamps: Stamps,
    resolver: TokioResolver,
}

type Stamps = [Option<(SystemTime, u64)>; SYSTEM_FILES.len()];

impl Asker {
    pub(super) fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            made: Mutex::default(),
        }
    }

    /// Asks for both families at once. The caller bounds the time.
    pub(super) async fn ask(&self, name: &str) -> Answer {
        let resolver = match self.resolver().await {
            Ok(resolver) => resolver,
            Err(error) => return Answer::Failed(format!("the resolver cannot be set up: {error}")),
        };
        let (v4, v6) = (resolver.ipv4_lookup(name), resolver.ipv6_lookup(name));
        pin!(v4, v6);
        tokio::select! {
            first = &mut v4 => match found(&first) {
                Some(_) => combine(Some(first), timeout(OTHER_FAMILY_WAIT, v6).await.ok()),
                None => combine(Some(first), Some(v6.await)),
            },
            first = &mut v6 => match found(&first) {
                Some(_) => combine(timeout(OTHER_FAMILY_WAIT, v4).await.ok(), Some(first)),
                None => combine(Some(v4.await), Some(first)),
            },
        }
    }

    /// The resolver, made anew when a file of the system has changed.
    async fn resolver(&self) -> Result<TokioResolver, NetError> {
        let stamps = stamps().await;
        let mut made = self.made.lock().await;
        if let Some(made) = made.as_ref().filter(|made| made.stamps == stamps) {
            return Ok(made.resolver.clone());
        }
        let resolver = build(&self.servers)?;
        *made = Some(Made {
            stamps,
            resolver: resolver.clone(),
        });
        Ok(resolver)
    }
}

async fn stamps() -> Stamps {
    let mut stamps = Stamps::default();
    for (stamp, file) in stamps.iter_mut().zip(SYSTEM_FILES) {
        let metadata = tokio::fs::metadata(file).await.ok();
        *stamp = metadata.and_then(|found| Some((found.modified().ok()?, found.len())));
    }
    stamps
}

fn build(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let (system, mut options) = read_system_conf().unwrap_or_else(|error| {
        if servers.is_empty() {
            tracing::warn!("/etc/resolv.conf cannot be used, names are asked of this machine's own server: {error}");
        }
        // As resolv.conf(5) has it where no server is named.
        let own = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        (
            ResolverConfig::from_parts(None, Vec::new(), vec![own]),
            ResolverOpts::default(),
        )
    });
    let (domain, search, system_servers) = system.into_parts();
    let servers = if servers.is_empty() {
        system_servers
    } else {
        servers.iter().map(name_server).collect()
    };
    options.timeout = options.timeout.min(ANSWER_TIMEOUT);
    options.attempts = REPETITIONS;
    // What is remembered, and for how long, is decided in one place: by the owner of this asker.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Always;
    let config = ResolverConfig::from_parts(domain, search, servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// Addresses of a lookup with their TTL in seconds; `None` if it brought none.
fn found(lookup: &Result<Lookup, NetError>) -> Option<(Vec<IpAddr>, u32)> {
    let answers = lookup.as_ref().ok()?.answers();
    let addresses: Vec<IpAddr> = answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    // Of the whole chain: an alias may change earlier than what it leads to.
    let ttl = answers.iter().map(|record| record.ttl).min()?;
    (!addresses.is_empty()).then_some((addresses, ttl))
}

/// One answer of both families; `None` is a family that was not waited for.
fn combine(v4: Option<Result<Lookup, NetError>>, v6: Option<Result<Lookup, NetError>>) -> Answer {
    let both = [v4, v6];
    let good: Vec<_> = both.iter().flatten().filter_map(found).collect();
    if let Some(ttl) = good.iter().map(|(_, ttl)| *ttl).min() {
        let addresses = good.into_iter().flat_map(|(addresses, _)| addresses).collect();
        let ttl = Duration::from_secs(ttl.into());
        return Answer::Addresses { addresses, ttl };
    }
    let errors = || both.iter().flatten().filter_map(|lookup| lookup.as_ref().err());
    let code = |error: &NetError| match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => Some(none.response_code),
        _ => None,
    };
    if errors().any(|error| code(error) == Some(ResponseCode::NXDomain)) {
        return Answer::None("the name does not exist (NXDOMAIN)".to_owned());
    }
    match errors().find(|error| code(error) != Some(ResponseCode::NoError)) {
        Some(error) => Answer::Failed(words(error)),
        None => Answer::None("the name has no address".to_owned()),
    }
}

/// The resolver's own words, where they are for people.
fn words(error: &NetError) -> String {
    match error {
        NetError::Timeout => "the name servers did not answer in time".to_owned(),
        NetError::NoConnections => "no name server can be reached".to_owned(),
        NetError::Dns(DnsError::NoRecordsFound(none)) => format!("the name server answers {}", none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answers {code}"),
        other => other.to_string(),
    }
}
