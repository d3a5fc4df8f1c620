//! What holds for every monitor of a kind, as a table.

use crate::model::Routing;

/// What holds for every monitor of a kind.
#[derive(Debug, PartialEq, Eq)]
pub struct KindTraits {
    /// Feature point, for example `mysql`.
    pub name: &'static str,
    /// A side is active and the other stands by: the monitor switches.
    pub has_active_side: bool,
    /// SDK keys wait for a connection pool (C10).
    pub has_pool: bool,
    /// A pool has one address per data source, with read replicas and a load balance; otherwise several addresses and zones.
    pub pools_replicas: bool,
    /// A side has a list of addresses; otherwise one.
    pub has_several_addresses: bool,
    /// A write canary can be had (C20 `[+]`).
    pub has_canary: bool,
    /// Probers learn how far a replica is behind.
    pub tells_lag: bool,
    /// After a refused login the source may stay locked for this long, milliseconds (C25); 0: it locks nobody.
    pub login_lock_ms: u32,
    /// Sides are readable and writable as SDKs see them (C9).
    pub has_read_write: bool,
    /// Routing algorithms that SDKs of the kind know; the first is offered first.
    pub routings: &'static [Routing],
    /// Most that one attempt may take, milliseconds (C3).
    pub max_access_timeout_ms: u32,
    /// Timing is fixed but for the retry interval and what the specification itself counts (C26).
    pub counts_attempts: bool,
    /// Retry interval where neither monitor nor global setting says otherwise, milliseconds.
    pub default_retry_interval_ms: u32,
    /// Port offered first (C24).
    pub default_port: u16,
}

const RELATIONAL: KindTraits = KindTraits {
    name: "",
    has_active_side: true,
    has_pool: true,
    pools_replicas: true,
    has_several_addresses: false,
    has_canary: true,
    tells_lag: true,
    login_lock_ms: 0,
    has_read_write: true,
    routings: &[Routing::SingleReadWrite, Routing::LocalReadSingleWrite],
    max_access_timeout_ms: 100_000,
    counts_attempts: false,
    default_retry_interval_ms: 3_000,
    default_port: 0,
};

/// C20.
pub const MYSQL: KindTraits = KindTraits {
    name: "mysql",
    default_port: 3306,
    ..RELATIONAL
};

/// C21.
pub const POSTGRESQL: KindTraits = KindTraits {
    name: "postgresql",
    default_port: 5432,
    ..RELATIONAL
};

/// C22.
pub const ORACLE: KindTraits = KindTraits {
    name: "oracle",
    has_canary: false,
    tells_lag: false,
    default_port: 1521,
    ..RELATIONAL
};

/// C23.
pub const REDIS: KindTraits = KindTraits {
    name: "redis",
    has_pool: false,
    has_several_addresses: true,
    has_canary: false,
    tells_lag: true,
    has_read_write: false,
    routings: &[
        Routing::SingleReadWrite,
        Routing::LocalReadAsyncDoubleWrite,
        Routing::SingleReadAsyncDoubleWrite,
        Routing::LocalReadSingleWrite,
    ],
    max_access_timeout_ms: 3_000,
    default_port: 6379,
    ..RELATIONAL
};

/// C24.
pub const MONGODB: KindTraits = KindTraits {
    name: "mongodb",
    pools_replicas: false,
    has_several_addresses: true,
    has_canary: false,
    tells_lag: true,
    has_read_write: false,
    default_port: 8635,
    ..RELATIONAL
};

/// C25.
pub const ELASTICSEARCH: KindTraits = KindTraits {
    name: "elasticsearch",
    has_pool: false,
    has_several_addresses: true,
    has_canary: false,
    tells_lag: false,
    login_lock_ms: 15 * 60 * 1_000,
    has_read_write: false,
    routings: &[Routing::SingleReadWrite, Routing::LocalReadWrite],
    max_access_timeout_ms: 3_000,
    default_port: 9200,
    ..RELATIONAL
};

/// C26.
pub const API: KindTraits = KindTraits {
    name: "api",
    has_active_side: false,
    has_pool: false,
    pools_replicas: false,
    has_several_addresses: false,
    has_canary: false,
    tells_lag: false,
    login_lock_ms: 0,
    has_read_write: false,
    routings: &[],
    max_access_timeout_ms: 3_000,
    counts_attempts: true,
    default_retry_interval_ms: 5_000,
    default_port: 443,
};

/// Every kind, in the order of the catalogue.
pub const KINDS: [&KindTraits; 7] = [&MYSQL, &ORACLE, &POSTGRESQL, &REDIS, &MONGODB, &ELASTICSEARCH, &API];

/// The kind of a feature point.
pub fn kind_traits(name: &str) -> Option<&'static KindTraits> {
    KINDS.into_iter().find(|kind| kind.name == name)
}
