//! Every flag of etcd 3.6, and what becomes of it here.
//!
//! A flag is used, taken without effect (it tunes something that this program does not have), or refused by name with what to
//! do instead. None is ignored silently that would change what clients see.

/// What becomes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has its meaning.
    Used,
    /// It may be given and changes nothing that a client could see.
    Tuning,
    /// Only this value is possible.
    Only(&'static str, &'static str),
    /// It is refused unless empty or `false`; the text says what to do.
    Refused(&'static str),
}

/// One flag of etcd.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    pub name: &'static str,
    /// It needs no value; alone it means `true`.
    pub boolean: bool,
    pub support: Support,
}

const fn text(name: &'static str, support: Support) -> Flag {
    Flag {
        name,
        boolean: false,
        support,
    }
}

const fn yes_no(name: &'static str, support: Support) -> Flag {
    Flag {
        name,
        boolean: true,
        support,
    }
}

const NO_DISCOVERY: Support = Support::Refused("there is no discovery; name the members with --initial-cluster");
const NO_TRACING: Support = Support::Refused("traces are not sent anywhere; read /metrics and the log");
const NO_HASH_CHECK: Support = Support::Tuning;

/// Every flag that is known.
pub const FLAGS: &[Flag] = &[
    text("name", Support::Used),
    text("data-dir", Support::Used),
    text(
        "wal-dir",
        Support::Refused("log and snapshots lie in one directory; use --data-dir"),
    ),
    text("snapshot-count", Support::Used),
    text("heartbeat-interval", Support::Used),
    text("election-timeout", Support::Used),
    yes_no("initial-election-tick-advance", Support::Tuning),
    text("listen-peer-urls", Support::Used),
    text("listen-client-urls", Support::Used),
    text(
        "listen-client-http-urls",
        Support::Refused("gRPC and HTTP share a port; use --listen-client-urls"),
    ),
    text("max-snapshots", Support::Tuning),
    text("max-wals", Support::Tuning),
    yes_no("memory-mlock", Support::Tuning),
    text("quota-backend-bytes", Support::Used),
    text("backend-bbolt-freelist-type", Support::Tuning),
    text("backend-batch-interval", Support::Tuning),
    text("backend-batch-limit", Support::Tuning),
    text(
        "max-txn-ops",
        Support::Only(
            "128",
            "every member has etcd's default limit of operations in a transaction",
        ),
    ),
    text(
        "max-request-bytes",
        Support::Only("1572864", "every member has etcd's default limit of a request"),
    ),
    text("max-concurrent-streams", Support::Tuning),
    text("grpc-keepalive-min-time", Support::Tuning),
    text("grpc-keepalive-interval", Support::Tuning),
    text("grpc-keepalive-timeout", Support::Tuning),
    yes_no("socket-reuse-port", Support::Refused("a port belongs to one process")),
    yes_no("socket-reuse-address", Support::Tuning),
    yes_no(
        "enable-grpc-gateway",
        Support::Only("true", "the gateway shares the client port"),
    ),
    text("raft-read-timeout", Support::Tuning),
    text("raft-write-timeout", Support::Tuning),
    text(
        "feature-gates",
        Support::Refused("there are no experimental features; leave the flag out"),
    ),
    text("initial-advertise-peer-urls", Support::Used),
    text("initial-cluster", Support::Used),
    text("initial-cluster-state", Support::Used),
    text("initial-cluster-token", Support::Used),
    text("advertise-client-urls", Support::Used),
    text("discovery", NO_DISCOVERY),
    text("discovery-token", NO_DISCOVERY),
    text("discovery-endpoints", NO_DISCOVERY),
    text("discovery-dial-timeout", Support::Tuning),
    text("discovery-request-timeout", Support::Tuning),
    text("discovery-keepalive-time", Support::Tuning),
    text("discovery-keepalive-timeout", Support::Tuning),
    yes_no("discovery-insecure-transport", Support::Tuning),
    yes_no("discovery-insecure-skip-tls-verify", Support::Tuning),
    text("discovery-cert", NO_DISCOVERY),
    text("discovery-key", NO_DISCOVERY),
    text("discovery-cacert", NO_DISCOVERY),
    text("discovery-user", NO_DISCOVERY),
    text("discovery-password", NO_DISCOVERY),
    text("discovery-fallback", Support::Tuning),
    text("discovery-proxy", NO_DISCOVERY),
    text("discovery-srv", NO_DISCOVERY),
    text("discovery-srv-name", NO_DISCOVERY),
    // Changes that would cost the quorum are refused whatever it says.
    yes_no("strict-reconfig-check", Support::Tuning),
    yes_no(
        "pre-vote",
        Support::Only("true", "elections always begin with a pre-vote"),
    ),
    text("auto-compaction-retention", Support::Used),
    text("auto-compaction-mode", Support::Used),
    text("v2-deprecation", Support::Tuning),
    text("cert-file", Support::Used),
    text("key-file", Support::Used),
    yes_no("client-cert-auth", Support::Used),
    text("client-cert-file", Support::Tuning),
    text("client-key-file", Support::Tuning),
    text(
        "client-crl-file",
        Support::Refused("revocation lists are not read; replace the authority of --trusted-ca-file"),
    ),
    text(
        "client-cert-allowed-hostname",
        Support::Refused("use an authority for these clients alone in --trusted-ca-file"),
    ),
    text("trusted-ca-file", Support::Used),
    yes_no("auto-tls", Support::Used),
    text("peer-cert-file", Support::Used),
    text("peer-key-file", Support::Used),
    yes_no("peer-client-cert-auth", Support::Used),
    text("peer-client-cert-file", Support::Used),
    text("peer-client-key-file", Support::Used),
    text("peer-trusted-ca-file", Support::Used),
    text(
        "peer-cert-allowed-cn",
        Support::Refused("use an authority for the members alone in --peer-trusted-ca-file"),
    ),
    text(
        "peer-cert-allowed-hostname",
        Support::Refused("use an authority for the members alone in --peer-trusted-ca-file"),
    ),
    yes_no("peer-auto-tls", Support::Used),
    text("self-signed-cert-validity", Support::Used),
    text(
        "peer-crl-file",
        Support::Refused("revocation lists are not read; replace the authority of --peer-trusted-ca-file"),
    ),
    text(
        "cipher-suites",
        Support::Refused("the suites of TLS 1.2 and 1.3 that are safe are offered; leave the flag out"),
    ),
    text(
        "cors",
        Support::Only("*", "requests of browsers are answered from every origin"),
    ),
    text(
        "host-whitelist",
        Support::Only("*", "requests are answered under every host name"),
    ),
    text("tls-min-version", Support::Used),
    text("tls-max-version", Support::Used),
    text("auth-token", Support::Used),
    text("bcrypt-cost", Support::Tuning),
    text("auth-token-ttl", Support::Tuning),
    yes_no("enable-pprof", Support::Refused("there is no Go profile; use perf")),
    text("metrics", Support::Tuning),
    text("listen-metrics-urls", Support::Used),
    text("logger", Support::Only("zap", "lines look as those of zap")),
    text("log-outputs", Support::Used),
    text("log-level", Support::Used),
    text("log-format", Support::Used),
    yes_no(
        "enable-log-rotation",
        Support::Refused("write to stderr and let the service manager rotate"),
    ),
    text("log-rotation-config-json", Support::Tuning),
    text("warning-unary-request-duration", Support::Tuning),
    yes_no("enable-distributed-tracing", NO_TRACING),
    text("distributed-tracing-address", Support::Tuning),
    text("distributed-tracing-service-name", Support::Tuning),
    text("distributed-tracing-instance-id", Support::Tuning),
    text("distributed-tracing-sampling-rate", Support::Tuning),
    yes_no("experimental-enable-distributed-tracing", NO_TRACING),
    text("experimental-distributed-tracing-address", Support::Tuning),
    text("experimental-distributed-tracing-service-name", Support::Tuning),
    text("experimental-distributed-tracing-instance-id", Support::Tuning),
    text("experimental-distributed-tracing-sampling-rate", Support::Tuning),
    yes_no("experimental-initial-corrupt-check", NO_HASH_CHECK),
    text("corrupt-check-time", NO_HASH_CHECK),
    text("experimental-corrupt-check-time", NO_HASH_CHECK),
    yes_no("experimental-compact-hash-check-enabled", NO_HASH_CHECK),
    text("compact-hash-check-time", NO_HASH_CHECK),
    text("experimental-compact-hash-check-time", NO_HASH_CHECK),
    text("compaction-batch-limit", Support::Tuning),
    text("experimental-compaction-batch-limit", Support::Tuning),
    text("compaction-sleep-interval", Support::Tuning),
    text("experimental-compaction-sleep-interval", Support::Tuning),
    text("peer-skip-client-san-verification", Support::Tuning),
    yes_no("experimental-peer-skip-client-san-verification", Support::Tuning),
    text("watch-progress-notify-interval", Support::Tuning),
    text("experimental-watch-progress-notify-interval", Support::Tuning),
    text("warning-apply-duration", Support::Tuning),
    text("experimental-warning-apply-duration", Support::Tuning),
    text("experimental-warning-unary-request-duration", Support::Tuning),
    yes_no("experimental-enable-lease-checkpoint", Support::Tuning),
    yes_no("experimental-enable-lease-checkpoint-persist", Support::Tuning),
    text("bootstrap-defrag-threshold-megabytes", Support::Tuning),
    text("experimental-bootstrap-defrag-threshold-megabytes", Support::Tuning),
    text("max-learners", Support::Only("1", "one learner at a time")),
    text("experimental-max-learners", Support::Only("1", "one learner at a time")),
    text("snapshot-catchup-entries", Support::Tuning),
    text("experimental-snapshot-catchup-entries", Support::Tuning),
    yes_no("experimental-stop-grpc-service-on-defrag", Support::Tuning),
    yes_no("experimental-txn-mode-write-with-shared-buffer", Support::Tuning),
    text("downgrade-check-time", Support::Tuning),
    text("experimental-downgrade-check-time", Support::Tuning),
    yes_no("experimental-memory-mlock", Support::Tuning),
    text("experimental-distributed-tracing", Support::Tuning),
    yes_no("set-member-localaddr", Support::Tuning),
    yes_no("experimental-set-member-localaddr", Support::Tuning),
    yes_no(
        "force-new-cluster",
        Support::Refused(
            "take `etcdctl snapshot save` of a member that runs and start a new cluster with `quorate kv import`",
        ),
    ),
    yes_no("unsafe-no-fsync", Support::Tuning),
    yes_no("version", Support::Used),
    text("config-file", Support::Used),
];

/// The flag of this name.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// Flags that were set and have no effect here.
pub fn without_effect(settings: &super::Settings) -> Vec<&'static str> {
    let idle = FLAGS.iter().filter(|flag| flag.support == Support::Tuning);
    idle.map(|flag| flag.name)
        .filter(|name| settings.is_set(name))
        .collect()
}
