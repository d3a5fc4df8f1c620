//! The SDK access configuration of a monitor (C8), ready to copy.
//!
//! Names equal those of the published keys, endpoints are IP literals, TLS is verified (sdk-contract 6, 7, 8). No password
//! is in it: every password is a reference to an environment variable, which is also what a `$` in one needs
//! (sdk-contract 13).

use std::fmt::Write;

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
    /// The file of the Go SDK (`sql-driver/mysql`), YAML.
    pub(crate) go_yaml: String,
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
    /// The active data center now: what an SDK starts with that cannot reach the KV endpoint.
    pub(crate) active: DataCenterName,
    pub(crate) nodes: Vec<SdkNodeView>,
}

/// One data center in an SDK's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SdkNodeView {
    pub(crate) name: DataCenterName,
    pub(crate) master: SdkSourceView,
    pub(crate) slaves: Vec<SdkSourceView>,
    pub(crate) load_balance: String,
    pub(crate) cloud: String,
    pub(crate) region: String,
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
    SdkConfigurationView {
        go_yaml: go_yaml(&properties),
        properties,
        notes: vec![
            "Set QUORATE_KV_PASSWORD, DATABASE_USER and DATABASE_PASSWORD in the application's environment; the SDK expands \
             `$NAME` everywhere in the file, so a `$` in a password works only from there."
                .to_owned(),
            "Put the three TLS files beside the application and correct their paths; with fewer than three the SDK does not \
             verify the server."
                .to_owned(),
            "Copy it again after the connection pool was changed: names must equal the published ones.".to_owned(),
        ],
        warnings,
    }
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
        active: configuration.active.into(),
        nodes: configuration.nodes.iter().map(node_view).collect(),
    }
}

fn node_view(node: &SdkNode) -> SdkNodeView {
    SdkNodeView {
        name: node.data_center.into(),
        master: source_view(&node.source),
        slaves: node.replicas.iter().map(source_view).collect(),
        load_balance: node.load_balance.name().to_owned(),
        cloud: node.cloud.clone(),
        region: node.region.clone(),
    }
}

fn source_view(source: &DataSource) -> SdkSourceView {
    SdkSourceView {
        name: source.name.clone(),
        address: source.address.clone(),
        schema: source.schema.clone(),
    }
}

/// The Go SDK's file. Every scalar is quoted: a JSON string is a YAML scalar, whatever it holds.
fn go_yaml(properties: &SdkProperties) -> String {
    let mut yaml = String::new();
    write_go_yaml(&mut yaml, properties).expect("a String takes every write");
    yaml
}

fn write_go_yaml(yaml: &mut String, properties: &SdkProperties) -> std::fmt::Result {
    writeln!(yaml, "props:")?;
    writeln!(yaml, "  version: \"v1\"")?;
    writeln!(yaml, "  appId: {}", quoted(&properties.app_id))?;
    writeln!(yaml, "  monitorId: {}", quoted(&properties.monitor_id))?;
    writeln!(yaml, "  databaseName: {}", quoted(&properties.database_name))?;
    writeln!(yaml, "etcd:")?;
    writeln!(yaml, "  address: {}", quoted(&properties.endpoints.join(",")))?;
    writeln!(yaml, "  apiVersion: \"v3\"")?;
    writeln!(yaml, "  username: {}", quoted(&properties.kv_user))?;
    writeln!(yaml, "  password: \"${{{}}}\"", properties.kv_password_variable)?;
    writeln!(yaml, "  httpsEnable: {}", properties.https_enable)?;
    writeln!(yaml, "  caCert: {}", quoted(&properties.ca_file))?;
    writeln!(yaml, "  clientCert: {}", quoted(&properties.cert_file))?;
    writeln!(yaml, "  clientKey: {}", quoted(&properties.key_file))?;
    write_sources(yaml, properties)?;
    writeln!(yaml, "router:")?;
    writeln!(yaml, "  active: {}", quoted(word(properties.active)))?;
    writeln!(yaml, "  routeAlgorithm: {}", quoted(&properties.routing))?;
    writeln!(yaml, "  retry:")?;
    writeln!(yaml, "    times: {}", quoted(RETRY_TIMES))?;
    writeln!(yaml, "    delay: {}", quoted(RETRY_DELAY_MS))?;
    writeln!(yaml, "  nodes:")?;
    for node in &properties.nodes {
        writeln!(yaml, "    {}:", quoted(word(node.name)))?;
        writeln!(yaml, "      master: {}", quoted(&node.master.name))?;
        writeln!(yaml, "      loadBalance: {}", quoted(&node.load_balance))?;
        let slaves: Vec<String> = node.slaves.iter().map(|slave| quoted(&slave.name)).collect();
        writeln!(yaml, "      slaves: [{}]", slaves.join(", "))?;
    }
    Ok(())
}

fn write_sources(yaml: &mut String, properties: &SdkProperties) -> std::fmt::Result {
    writeln!(yaml, "datasource:")?;
    let sources = properties
        .nodes
        .iter()
        .flat_map(|node| std::iter::once(&node.master).chain(&node.slaves));
    for source in sources {
        writeln!(yaml, "  {}:", quoted(&source.name))?;
        writeln!(
            yaml,
            "    url: {}",
            quoted(&format!("tcp({})/{}", source.address, source.schema))
        )?;
        writeln!(yaml, "    username: \"${{DATABASE_USER}}\"")?;
        writeln!(yaml, "    password: \"${{DATABASE_PASSWORD}}\"")?;
    }
    Ok(())
}

fn word(dc: DataCenterName) -> &'static str {
    quorate_machine::DataCenter::from(dc).name()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
