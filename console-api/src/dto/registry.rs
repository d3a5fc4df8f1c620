//! Modules and namespaces (A2, A3), read only so far; instances (A5) and their KV endpoints.

use std::net::SocketAddr;

use quorate_machine::{Instance, InstancePort, Module, Namespace, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::MetaView;
use crate::context::TlsFiles;

/// A feature module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ModuleView {
    #[serde(flatten)]
    pub(crate) meta: MetaView,
    /// `same-city` or `remote-dr`.
    pub(crate) edition: String,
    pub(crate) feature_points: Vec<String>,
}

impl From<&Module> for ModuleView {
    fn from(module: &Module) -> Self {
        Self {
            meta: MetaView::from(&module.meta),
            edition: module.edition.clone(),
            feature_points: module.feature_points.clone(),
        }
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct NamespaceView {
    #[serde(flatten)]
    pub(crate) meta: MetaView,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) edition: String,
    pub(crate) feature_points: Vec<String>,
}

impl From<&Namespace> for NamespaceView {
    fn from(namespace: &Namespace) -> Self {
        Self {
            meta: MetaView::from(&namespace.meta),
            name: namespace.name.clone(),
            description: namespace.description.clone(),
            edition: namespace.edition.clone(),
            feature_points: namespace.feature_points.clone(),
        }
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct InstanceView {
    #[serde(flatten)]
    pub(crate) meta: MetaView,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) namespace: String,
    /// `creating` until every node has opened the instance's KV port, `running`, or `failed`; `problems` says why.
    pub(crate) status: String,
    /// Which nodes cannot open the port, in the system's own words.
    pub(crate) problems: Vec<PortProblemView>,
    pub(crate) applications: usize,
    pub(crate) monitors: usize,
}

impl InstanceView {
    pub(crate) fn new(state: &State, instance: &Instance) -> Self {
        let problems = instance.ports.iter().filter(|port| !port.problem.is_empty());
        Self {
            meta: MetaView::from(&instance.meta),
            name: instance.name.clone(),
            description: instance.description.clone(),
            namespace: instance.namespace.to_string(),
            status: state.instance_status(instance).code().to_owned(),
            problems: problems.map(PortProblemView::from).collect(),
            applications: state.applications(&instance.meta.id).count(),
            monitors: state.monitors(&instance.meta.id).count(),
        }
    }
}

/// A node that cannot open an instance's KV port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PortProblemView {
    pub(crate) node: u64,
    pub(crate) problem: String,
}

impl From<&InstancePort> for PortProblemView {
    fn from(port: &InstancePort) -> Self {
        Self {
            node: port.node,
            problem: port.problem.clone(),
        }
    }
}

/// A new instance.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInstanceBody {
    /// 1 to 64 characters, unique.
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    /// Id or name of the namespace; the bootstrapped one when left out.
    #[serde(default)]
    pub(crate) namespace: Option<String>,
    /// Password of the KV user `root`: 8 to 72 bytes.
    #[schema(write_only)]
    pub(crate) kv_root_password: String,
    /// Password of the KV user `mas`, which SDKs use: 8 to 72 bytes.
    #[schema(write_only)]
    pub(crate) kv_sdk_password: String,
}

/// Another name or description.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstanceBody {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
}

/// The name of the instance that is to be deleted, typed once more.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteInstanceBody {
    pub(crate) name: String,
}

/// A new password of a KV user of the instance.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KvPasswordBody {
    /// `root`, `mas`, or another KV user of the instance.
    pub(crate) user: String,
    /// 8 to 72 bytes.
    #[schema(write_only)]
    pub(crate) password: String,
}

/// What a KV client needs for mutual TLS, by file name (sdk-contract 8).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct ClientFilesView {
    #[serde(rename = "ca.crt")]
    pub(crate) ca: String,
    #[serde(rename = "client.crt")]
    pub(crate) certificate: String,
    #[serde(rename = "client.key.pem")]
    pub(crate) key: String,
}

/// How clients reach the KV endpoint of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct InstanceConnectionView {
    pub(crate) instance: String,
    /// `host:port` per node, in order of node id.
    pub(crate) endpoints: Vec<String>,
    /// KV user that reads `/mas-monitor/`; its password was shown once at bootstrap.
    pub(crate) sdk_user: String,
    /// File names of the client's TLS files: CA, certificate, key.
    pub(crate) tls_files: Vec<String>,
    /// What would keep an SDK from connecting.
    pub(crate) warnings: Vec<String>,
}

/// KV endpoints of an instance with what an SDK would stumble over.
pub(crate) fn instance_connection(state: &State, instance: &Instance, tls: &TlsFiles) -> InstanceConnectionView {
    let endpoints: Vec<String> = state.nodes().filter_map(|node| instance.kv_address(node)).collect();
    InstanceConnectionView {
        instance: instance.meta.id.to_string(),
        warnings: endpoint_warnings(&endpoints),
        endpoints,
        sdk_user: "mas".to_owned(),
        tls_files: vec![tls.ca.clone(), tls.cert.clone(), tls.key.clone()],
    }
}

/// SDKs drop endpoints that are no IP literals without a word (sdk-contract 6): say so.
pub(super) fn endpoint_warnings(endpoints: &[String]) -> Vec<String> {
    let names = endpoints
        .iter()
        .filter(|endpoint| endpoint.parse::<SocketAddr>().is_err());
    names
        .map(|name| {
            format!(
                "`{name}` is no IP address with a port: the Go SDK ignores it; configure the node's KV address as an IP"
            )
        })
        .collect()
}
