//! What an application must put into its SDK's configuration for a monitor (C8), as data; edges render it.

use crate::model::*;
use crate::state::State;

/// One side as the SDK configuration lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkNode {
    pub data_center: DataCenter,
    /// The data source that is written to; `None` for kinds without a connection pool.
    pub source: Option<DataSource>,
    pub replicas: Vec<DataSource>,
    pub load_balance: LoadBalance,
    pub cloud: String,
    pub region: String,
    /// Availability zones.
    pub zones: Vec<String>,
    /// Servers of kinds without a connection pool, `host:port`.
    pub addresses: Vec<String>,
}

/// The SDK configuration of a monitor. It holds no password: applications use their own database accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkConfiguration {
    /// KV endpoints `host:port` of the instance, in order of node id; SDKs take IP literals only.
    pub endpoints: Vec<String>,
    /// KV user that reads `/mas-monitor/`.
    pub kv_user: &'static str,
    pub instance: Id,
    pub application: Id,
    pub monitor: Id,
    /// Kind of the monitor, for example `mysql`.
    pub kind: &'static str,
    /// The connecting database, `{d}` of the SDK keys; empty for kinds without a connection pool.
    pub database: String,
    /// How the servers are arranged, where the kind has modes: `normal`, `sentinel` or `cluster`.
    pub mode: Option<&'static str>,
    pub routing: Routing,
    pub active: DataCenter,
    /// dc1, then dc2; names equal those of the published keys.
    pub nodes: Vec<SdkNode>,
}

/// The SDK configuration of a monitor; `None` if there is no such monitor, if its connection pool is not saved yet, or if
/// its kind publishes nothing.
pub fn sdk_configuration(state: &State, monitor: &Id) -> Option<SdkConfiguration> {
    let monitor = state.monitor(monitor)?;
    if !monitor.sdk_keys_published() {
        return None;
    }
    let (kind, pool) = (monitor.spec.kind.as_ref()?, monitor.pool.as_ref());
    let nodes = DataCenter::ALL.into_iter().map(|dc| {
        let (site, place) = (pool.map(|pool| pool.site(dc)), kind.place(dc));
        let zones = site.map_or(&place.zones, |site| &site.zones).clone();
        SdkNode {
            data_center: dc,
            source: site.map(|site| site.source.clone()),
            replicas: site.map_or_else(Vec::new, |site| site.replicas.clone()),
            load_balance: site.map_or(LoadBalance::Random, PoolSite::load_balance),
            cloud: place.cloud,
            region: place.region,
            zones,
            addresses: if site.is_some() { Vec::new() } else { place.addresses },
        }
    });
    let own_routing = || kind.routing().unwrap_or(Routing::SingleReadWrite);
    Some(SdkConfiguration {
        endpoints: state
            .nodes()
            .filter_map(|node| state.instance(&monitor.instance)?.kv_address(node))
            .collect(),
        kv_user: "mas",
        instance: monitor.instance,
        application: monitor.application,
        monitor: monitor.id(),
        kind: monitor.kind_name(),
        database: pool.map(|pool| pool.database.clone()).unwrap_or_default(),
        mode: kind.mode(),
        routing: pool.map_or_else(own_routing, ConnectionPool::routing),
        active: monitor.active(),
        nodes: nodes.collect(),
    })
}
