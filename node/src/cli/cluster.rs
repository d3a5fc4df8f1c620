//! `quorate cluster`: standing, quotas (of the instance's keyspace too), global settings, KV endpoints.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::{Column, Rendered};

/// What to do with the cluster.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Standing as one node sees it
    Status,
    /// Members
    Nodes,
    /// How clients reach the KV endpoint of the instance
    Endpoints,
    /// Quotas in force
    Quotas,
    /// Change quotas; what is not named stays
    SetQuotas(QuotaOptions),
    /// Quota and use of the instance's keyspace
    KeyspaceQuota,
    /// Change the quota of the instance's keyspace
    SetKeyspaceQuota {
        /// 1048576 (1 MiB) to 8589934592 (8 GiB)
        #[arg(long, value_name = "BYTES")]
        quota_bytes: u64,
    },
    /// Global settings per kind
    Settings,
    /// Change the global settings of a kind
    SetSettings(SettingsOptions),
    /// Members, as clients of the KV endpoint see and change them
    #[command(subcommand)]
    Member(super::kv::member::Verb),
}

/// New quotas.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub struct QuotaOptions {
    #[arg(long)]
    applications_per_instance: Option<u32>,
    #[arg(long)]
    monitors_per_instance: Option<u32>,
    #[arg(long)]
    processes_per_application: Option<u32>,
}

/// New global settings of a kind, milliseconds.
#[derive(Args, Debug)]
pub struct SettingsOptions {
    #[arg(long, default_value = "mysql")]
    kind: String,
    #[arg(long, default_value_t = 3000, value_name = "MS")]
    retry_interval_ms: u32,
    #[arg(long, default_value_t = 10000, value_name = "MS")]
    monitor_timeout_ms: u32,
    #[arg(long, default_value_t = 3000, value_name = "MS")]
    access_timeout_ms: u32,
    /// Nodes that must reach a data source for it to count as healthy
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2))]
    health_precision: u32,
}

const STATUS: &[Column] = &[
    ("cluster", &["/cluster_id"]),
    ("answered by node", &["/answered_by"]),
    ("leader", &["/leader"]),
    ("term", &["/term"]),
    ("serving", &["/serving"]),
    ("committed index", &["/committed_index"]),
    ("applied index", &["/applied_index"]),
    ("snapshot index", &["/snapshot_index"]),
    ("fatal", &["/fatal"]),
    ("automatic switching paused", &["/pauses/0/scope", "/pauses/0/reason"]),
    ("open maintenance windows", &["/open_windows"]),
    ("troubled sites", &["/troubled_sites"]),
];

const NODES: &[Column] = &[
    ("ID", &["/id"]),
    ("NAME", &["/name"]),
    ("ZONE", &["/zone"]),
    ("SITE", &["/site"]),
    ("ROLE", &["/role"]),
    ("REACHABLE", &["/reachable"]),
    ("WORKER", &["/worker"]),
    ("KV", &["/kv"]),
    ("PEER", &["/peer"]),
    ("CONSOLE", &["/console"]),
];

const ENDPOINTS: &[Column] = &[
    ("instance", &["/instance"]),
    ("endpoints", &["/endpoints"]),
    ("SDK user", &["/sdk_user"]),
    ("TLS files", &["/tls_files"]),
    ("warnings", &["/warnings"]),
];

const QUOTAS: &[Column] = &[
    ("namespaces", &["/namespaces"]),
    ("instances", &["/instances"]),
    ("applications per instance", &["/applications_per_instance"]),
    ("processes per application", &["/processes_per_application"]),
    ("monitors per instance", &["/monitors_per_instance"]),
];

const KEYSPACE_QUOTA: &[Column] = &[
    ("quota bytes", &["/quota_bytes"]),
    ("used bytes", &["/used_bytes"]),
    ("full", &["/full"]),
];

const SETTINGS: &[Column] = &[
    ("KIND", &["/kind"]),
    ("RETRY MS", &["/settings/retry_interval_ms"]),
    ("TIMEOUT MS", &["/settings/monitor_timeout_ms"]),
    ("ACCESS MS", &["/settings/access_timeout_ms"]),
    ("PRECISION", &["/settings/health_precision"]),
];

/// Carries a verb out.
pub async fn run(client: &Client, verb: &Verb) -> Result<Rendered, Failure> {
    match verb {
        Verb::Status => Ok(Rendered::object(client.get("/cluster").await?.body, STATUS)),
        Verb::Member(_) => unreachable!("carried out without a REST client"),
        Verb::Nodes => Ok(Rendered::rows(client.get("/cluster").await?.body, "/nodes", NODES)),
        Verb::Endpoints => {
            let body = client.get(&client.of_instance("/connection")).await?.body;
            Ok(Rendered::object(body, ENDPOINTS))
        }
        Verb::Quotas => Ok(Rendered::object(client.get("/quotas").await?.body, QUOTAS)),
        Verb::SetQuotas(options) => {
            let done = client.put("/quotas", &options.body(), None).await?.body;
            Ok(Rendered::done("changed the quotas", done))
        }
        Verb::KeyspaceQuota => {
            let body = client.get(&client.of_instance("/quota")).await?.body;
            Ok(Rendered::object(body, KEYSPACE_QUOTA))
        }
        Verb::SetKeyspaceQuota { quota_bytes } => {
            let body = json!({"quota_bytes": quota_bytes});
            let done = client.put(&client.of_instance("/quota"), &body, None).await?.body;
            Ok(Rendered::done("changed the quota of the keyspace", done))
        }
        Verb::Settings => {
            let body = client.get(&client.of_instance("/kind-settings")).await?.body;
            Ok(Rendered::list(body, SETTINGS))
        }
        Verb::SetSettings(options) => {
            let body = json!({
                "retry_interval_ms": options.retry_interval_ms,
                "monitor_timeout_ms": options.monitor_timeout_ms,
                "access_timeout_ms": options.access_timeout_ms,
                "health_precision": options.health_precision,
            });
            let path = client.of_instance(&format!("/kind-settings/{}", options.kind));
            let done = client.put(&path, &body, None).await?.body;
            Ok(Rendered::done(
                format!("changed the global settings of {}", options.kind),
                done,
            ))
        }
    }
}

impl QuotaOptions {
    fn body(&self) -> Value {
        let given = [
            ("applications_per_instance", self.applications_per_instance),
            ("monitors_per_instance", self.monitors_per_instance),
            ("processes_per_application", self.processes_per_application),
        ];
        let fields = given
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
        Value::Object(fields.collect::<Map<_, _>>())
    }
}
