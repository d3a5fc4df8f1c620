//! Connection pools (C10).

use quorate_machine::{ConnectionPool, DataSource, LoadBalance, PoolSite, Routing};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words::{LoadBalanceName, RoutingName};

/// Connection-pool configuration of a relational or MongoDB monitor; the same as body and as answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolBody {
    /// The connecting database: `{d}` of the SDK keys.
    pub(crate) database: String,
    /// Routing algorithm.
    pub(crate) routing: RoutingName,
    pub(crate) dc1: PoolSiteBody,
    pub(crate) dc2: PoolSiteBody,
}

/// One side of a connection pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolSiteBody {
    /// The data source that takes writes.
    pub(crate) source: DataSourceBody,
    /// Read replicas.
    #[serde(default)]
    pub(crate) replicas: Vec<DataSourceBody>,
    /// Load balance among the read replicas; `RANDOM` unless told.
    #[serde(default = "random")]
    pub(crate) load_balance: LoadBalanceName,
    /// Availability zones; MongoDB only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) zones: Vec<String>,
}

/// A data source that SDKs connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSourceBody {
    /// Name by which router and SDK configuration know it, for example `ds1`.
    pub(crate) name: String,
    /// `host:port`; MongoDB: several, with commas between them.
    pub(crate) address: String,
    /// Database on that server.
    pub(crate) schema: String,
}

const fn random() -> LoadBalanceName {
    LoadBalanceName::Random
}

impl From<PoolBody> for ConnectionPool {
    fn from(body: PoolBody) -> Self {
        Self {
            database: body.database,
            routing: Routing::from(body.routing) as i32,
            dc1: body.dc1.into(),
            dc2: body.dc2.into(),
        }
    }
}

impl From<PoolSiteBody> for PoolSite {
    fn from(body: PoolSiteBody) -> Self {
        Self {
            source: body.source.into(),
            replicas: body.replicas.into_iter().map(DataSource::from).collect(),
            load_balance: LoadBalance::from(body.load_balance) as i32,
            zones: body.zones,
        }
    }
}

impl From<DataSourceBody> for DataSource {
    fn from(body: DataSourceBody) -> Self {
        Self {
            name: body.name,
            address: body.address,
            schema: body.schema,
        }
    }
}

impl From<&ConnectionPool> for PoolBody {
    fn from(pool: &ConnectionPool) -> Self {
        Self {
            database: pool.database.clone(),
            routing: pool.routing().into(),
            dc1: PoolSiteBody::from(&pool.dc1),
            dc2: PoolSiteBody::from(&pool.dc2),
        }
    }
}

impl From<&PoolSite> for PoolSiteBody {
    fn from(site: &PoolSite) -> Self {
        Self {
            source: DataSourceBody::from(&site.source),
            replicas: site.replicas.iter().map(DataSourceBody::from).collect(),
            load_balance: site.load_balance().into(),
            zones: site.zones.clone(),
        }
    }
}

impl From<&DataSource> for DataSourceBody {
    fn from(source: &DataSource) -> Self {
        Self {
            name: source.name.clone(),
            address: source.address.clone(),
            schema: source.schema.clone(),
        }
    }
}
