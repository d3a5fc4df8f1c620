//! Modules, namespaces and instances (A2, A3, A5), read only so far, and the KV endpoint of an instance.

use std::net::SocketAddr;

use quorate_machine::{Instance, Module, Namespace, State};
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
    pub(crate) applications: usize,
    pub(crate) monitors: usize,
}

impl InstanceView {
    pub(crate) fn new(state: &State, instance: &Instance) -> Self {
        Self {
            meta: MetaView::from(&instance.meta),
            name: instance.name.clone(),
            description: instance.description.clone(),
            namespace: instance.namespace.to_string(),
            applications: state.applications(&instance.meta.id).count(),
            monitors: state.monitors(&instance.meta.id).count(),
        }
    }
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
    let endpoints: Vec<String> = state.nodes().map(|node| node.kv.clone()).collect();
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
