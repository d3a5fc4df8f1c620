//! What an application process is configured with, and what it reads from the KV endpoint.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{Credentials, DevInfo};
use crate::etcd::ConnectOptions;

/// The file that an operator copies from the console, with the application's own database account added.
#[derive(Debug, Clone)]
pub struct SdkConfiguration {
    pub endpoints: Vec<String>,
    pub kv: Credentials,
    /// PEM of the KV endpoint's CA.
    pub ca: Vec<u8>,
    pub application: String,
    pub monitor: String,
    /// Name of the connection pool, `{d}` of the keys; empty for kinds without one.
    pub database: String,
    /// The application's account in the database; never published by the appliance.
    pub database_user: Credentials,
}

/// A value of the `datasource` key.
#[derive(Debug, Clone, Deserialize)]
pub struct DataSourceConfig {
    pub server: String,
    pub schema: String,
}

/// The `router` key.
#[derive(Debug, Clone, Deserialize)]
pub struct RouterConfig {
    #[serde(rename = "route-algorithm")]
    pub route_algorithm: String,
    pub retry: RetryConfig,
    pub nodes: BTreeMap<String, RouterNode>,
}

/// A value of the `servers` key (Redis).
#[derive(Debug, Clone, Deserialize)]
pub struct ServerConfig {
    /// Comma list of `host:port`.
    pub hosts: String,
    /// `normal`, `sentinel` or `cluster`.
    #[serde(rename = "type")]
    pub arrangement: String,
}

/// Retry values travel as strings.
#[derive(Debug, Clone, Deserialize)]
pub struct RetryConfig {
    pub times: String,
    pub delay: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct RouterNode {
    pub master: String,
    #[serde(rename = "loadBalance")]
    pub load_balance: String,
    #[serde(default)]
    pub slaves: Vec<String>,
}

impl SdkConfiguration {
    /// From what `GET …/monitors/{id}/sdk-configuration` hands out (its `properties`), as an operator would copy it.
    pub fn from_console(handed_out: &Value, info: &DevInfo, database_user: Credentials) -> Result<Self> {
        let properties = handed_out.get("properties").unwrap_or(handed_out);
        let endpoints: Vec<String> = properties["endpoints"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect();
        for endpoint in &endpoints {
            // The Go SDK drops names and URLs without a word.
            if endpoint.parse::<std::net::SocketAddr>().is_err() {
                bail!("the SDK would drop the endpoint {endpoint:?}: it takes ip:port only");
            }
        }
        if properties["https_enable"] != Value::Bool(true) {
            bail!("https_enable must be true: the SDK would not verify the endpoint otherwise");
        }
        let text = |value: &Value, name: &str| {
            value
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("{name} is missing: {handed_out}"))
        };
        Ok(Self {
            endpoints,
            kv: Credentials {
                user: text(&properties["kv_user"], "kv_user")?,
                password: info.kv.sdk.password.clone(),
            },
            ca: std::fs::read(&info.kv.ca)?,
            application: text(&properties["app_id"], "app_id")?,
            monitor: text(&properties["monitor_id"], "monitor_id")?,
            // Kinds without a connection pool have none.
            database: properties["database_name"].as_str().unwrap_or_default().to_owned(),
            database_user,
        })
    }

    /// A key of the relational family.
    pub fn key(&self, kind: &str, leaf: &str) -> String {
        let Self {
            application,
            monitor,
            database,
            ..
        } = self;
        format!("/mas-monitor/{kind}/db/services/{application}/{monitor}/database/{database}/{leaf}")
    }

    /// A key of the Redis family.
    pub fn redis_key(&self, kind: &str, leaf: &str) -> String {
        let Self {
            application, monitor, ..
        } = self;
        format!("/mas-monitor/{kind}/dcs/services/{application}/{monitor}/{leaf}")
    }

    /// A key of the MongoDB family.
    pub fn mongodb_key(&self, kind: &str, leaf: &str) -> String {
        let Self {
            application,
            monitor,
            database,
            ..
        } = self;
        format!("/mas-monitor/{kind}/dds/services/{application}/{monitor}/database/{database}/{leaf}")
    }

    /// A key of the Elasticsearch family.
    pub fn elasticsearch_key(&self, kind: &str, leaf: &str) -> String {
        let Self {
            application, monitor, ..
        } = self;
        format!("/mas-monitor/{kind}/css/services/{application}/{monitor}/{leaf}")
    }

    /// How endpoint `index` is reached.
    pub fn access_path(&self, index: usize) -> ConnectOptions {
        ConnectOptions {
            endpoint: self.endpoints[index].clone(),
            user: Some((self.kv.user.clone(), self.kv.password.clone())),
            ca: Some(self.ca.clone()),
        }
    }
}
