//! The SDK access configuration of a monitor (C8), ready to copy: YAML for Go, YAML and properties for Java.
//!
//! The Go SDK knows MySQL and Redis. The Java files hold the same facts under the same names; how a Java SDK's version spells
//! them is to be compared with its own manual, and the notes say so.
//!
//! Names equal those of the published keys, endpoints are IP literals, TLS is verified (sdk-contract 6, 7, 8). No password
//! is in it: every password is a reference to an environment variable, which is also what a `$` in one needs
//! (sdk-contract 13).

mod go;
mod java;
mod tree;

use quorate_machine::{DataSource, SdkConfiguration, SdkNode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::registry::endpoint_warnings;
use super::words::DataCenterName;
use crate::context::TlsFiles;

/// Retries of one statement as the SDK's own documentation advises: times and milliseconds between them.
const RETRY_TIMES: &str = "3";
const RETRY_DELAY_MS: &str = "50";

/// SDK access configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SdkConfigurationView {
    /// Kind of the monitor, for example `mysql`.
    pub(crate) kind: String,
    /// The file of the Go SDK (`sql-driver/mysql`, `redis`), YAML; absent for kinds that it does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) go_yaml: Option<String>,
    /// The file of a Java SDK, YAML.
    pub(crate) java_yaml: String,
    /// The same as properties.
    pub(crate) java_properties: String,
    /// The same facts for other SDKs.
    pub(crate) properties: SdkProperties,
    /// What to know when copying.
    pub(crate) notes: Vec<String>,
    /// What would keep an SDK from working.
    pub(crate) warnings: Vec<String>,
}

/// Connection facts of an SDK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SdkProperties {
    pub(crate) app_id: String,
    pub(crate) monitor_id: String,
    /// The connecting database; absent for kinds without a connection pool.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[serde(default)]
    pub(crate) database_name: String,
    /// KV endpoints, `ip:port`.
    pub(crate) endpoints: Vec<String>,
    pub(crate) kv_user: String,
    /// Environment variable that must hold the KV password.
    pub(crate) kv_password_variable: String,
    pub(crate) https_enable: bool,
    pub(crate) ca_file: String,
    pub(crate) cert_file: String,
    pub(crate) key_file: String,
    pub(crate) routing: String,
    /// How the servers are arranged (Redis): `normal`, `sentinel` or `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    /// The active data center now: what an SDK starts with that cannot reach the KV endpoint.
    pub(crate) active: DataCenterName,
    pub(crate) nodes: Vec<SdkNodeView>,
}

/// One data center in an SDK's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SdkNodeView {
    pub(crate) name: DataCenterName,
    /// The data source that takes writes; absent for kinds without a connection pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) master: Option<SdkSourceView>,
    pub(crate) slaves: Vec<SdkSourceView>,
    pub(crate) load_balance: String,
    pub(crate) cloud: String,
    pub(crate) region: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) zones: Vec<String>,
    /// Servers of kinds without a connection pool, `host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) addresses: Vec<String>,
}

/// One data source in an SDK's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SdkSourceView {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) schema: String,
}

/// Renders the configuration.
pub(crate) fn sdk_view(configuration: &SdkConfiguration, tls: &TlsFiles) -> SdkConfigurationView {
    let properties = properties(configuration, tls);
    let warnings = endpoint_warnings(&properties.endpoints);
    let java = java::file(configuration.kind, &properties);
    let go_yaml = go::file(configuration.kind, &properties);
    SdkConfigurationView {
        kind: configuration.kind.to_owned(),
        notes: notes(configuration, go_yaml.is_some()),
        go_yaml,
        java_yaml: java.yaml(),
        java_properties: java.properties(),
        properties,
        warnings,
    }
}

fn notes(configuration: &SdkConfiguration, go: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let mut add = |note: &str| notes.push(note.to_owned());
    match configuration.kind {
        "mysql" => add(
            "Set QUORATE_KV_PASSWORD, DATABASE_USER and DATABASE_PASSWORD in the application's environment; the SDK expands \
             `$NAME` everywhere in the file, so a `$` in a password works only from there.",
        ),
        "redis" => add(
            "The Redis SDK for Go expands no variables: give `password.SetDecipher` a decipher that does (`os.ExpandEnv`), or \
             put the KV password and the passwords of the servers in place of `${…}`.",
        ),
        _ => {}
    }
    add(
        "Put the three TLS files beside the application and correct their paths; with fewer than three the SDK does not \
         verify the server.",
    );
    if configuration.database.is_empty() {
        add("Copy it again after the monitor's addresses, mode or routing were changed.");
    } else {
        add("Copy it again after the connection pool was changed: names must equal the published ones.");
    }
    if !go {
        add("The Go SDK does not know this kind; use the Java SDK.");
    }
    add(
        "The Java files hold the same facts under the same names as the published keys; compare the names with the manual of \
         the Java SDK's version that you use.",
    );
    notes
}

fn properties(configuration: &SdkConfiguration, tls: &TlsFiles) -> SdkProperties {
    SdkProperties {
        app_id: configuration.application.to_string(),
        monitor_id: configuration.monitor.to_string(),
        database_name: configuration.database.clone(),
        endpoints: configuration.endpoints.clone(),
        kv_user: configuration.kv_user.to_owned(),
        kv_password_variable: "QUORATE_KV_PASSWORD".to_owned(),
        https_enable: true,
        ca_file: tls.ca.clone(),
        cert_file: tls.cert.clone(),
        key_file: tls.key.clone(),
        routing: configuration.routing.name().to_owned(),
        mode: configuration.mode.map(str::to_owned),
        active: configuration.active.into(),
        nodes: configuration.nodes.iter().map(node_view).collect(),
    }
}

fn node_view(node: &SdkNode) -> SdkNodeView {
    SdkNodeView {
        name: node.data_center.into(),
        master: node.source.as_ref().map(source_view),
        slaves: node.replicas.iter().map(source_view).collect(),
        load_balance: node.load_balance.name().to_owned(),
        cloud: node.cloud.clone(),
        region: node.region.clone(),
        zones: node.zones.clone(),
        addresses: node.addresses.clone(),
    }
}

fn source_view(source: &DataSource) -> SdkSourceView {
    SdkSourceView {
        name: source.name.clone(),
        address: source.address.clone(),
        schema: source.schema.clone(),
    }
}

fn word(dc: DataCenterName) -> &'static str {
    quorate_machine::DataCenter::from(dc).name()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
