//! What an application must put into its SDK's configuration for a monitor (C8), as data; edges render it.

use crate::model::*;
use crate::state::State;

/// One side as the SDK configuration lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkNode {
    pub data_center: DataCenter,
    /// The data source that is written to.
    pub source: DataSource,
    pub replicas: Vec<DataSource>,
    pub load_balance: LoadBalance,
    pub cloud: String,
    pub region: String,
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
    /// The connecting database, `{d}` of the SDK keys.
    pub database: String,
    pub routing: Routing,
    pub active: DataCenter,
    /// dc1, then dc2; names equal those of the published keys.
    pub nodes: Vec<SdkNode>,
}

/// The SDK configuration of a monitor; `None` if there is no such monitor or its connection pool is not saved yet.
pub fn sdk_configuration(state: &State, monitor: &Id) -> Option<SdkConfiguration> {
    let monitor = state.monitor(monitor)?;
    let pool = monitor.pool.as_ref()?;
    let kind = monitor.spec.kind.as_ref()?;
    let nodes = DataCenter::ALL.into_iter().map(|dc| {
        let (site, place) = (pool.site(dc), kind.place(dc));
        SdkNode {
            data_center: dc,
            source: site.source.clone(),
            replicas: site.replicas.clone(),
            load_balance: site.load_balance(),
            cloud: place.cloud.clone(),
            region: place.region.clone(),
        }
    });
    Some(SdkConfiguration {
        endpoints: state.nodes().map(|node| node.kv.clone()).collect(),
        kv_user: "mas",
        instance: monitor.instance,
        application: monitor.application,
        monitor: monitor.id(),
        kind: monitor.kind_name(),
        database: pool.database.clone(),
        routing: pool.routing(),
        active: monitor.active(),
        nodes: nodes.collect(),
    })
}
