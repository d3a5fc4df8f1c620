//! Flags of what a kind decides, and the section of a body that they become.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::body::read_json;
use crate::cli::failure::{Code, Failure};
use crate::cli::password::PasswordSource;

/// Every kind, as the API names them.
pub const KINDS: [&str; 7] = [
    "mysql",
    "postgresql",
    "oracle",
    "redis",
    "mongodb",
    "elasticsearch",
    "api",
];
/// Largest file of certificates that is read, bytes.
const MAX_CA_BYTES: u64 = 64 * 1024;

/// What a kind decides: from flags, or from a file.
#[derive(Args, Debug, Default)]
pub struct KindOptions {
    /// The kind's section as the API takes it, JSON; instead of all other flags of the kind. Passwords that it leaves out are asked for
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "dc1_address", "dc2_address", "monitoring_database"])]
    file: Option<PathBuf>,
    /// Monitoring account
    #[arg(long)]
    user: Option<String>,
    /// No login: Redis and Elasticsearch
    #[arg(long)]
    passwordless: bool,
    /// Database that is probed; Oracle: service name, or SID
    #[arg(long)]
    monitoring_database: Option<String>,
    /// Database of the applications; the monitoring database when left out
    #[arg(long)]
    connecting_database: Option<String>,
    /// Oracle: the monitoring database is a SID
    #[arg(long)]
    database_is_sid: bool,
    /// Address of a server in dc1; repeat where a side has several
    #[arg(long, value_name = "HOST:PORT")]
    dc1_address: Vec<String>,
    /// Read replica in dc1, relational kinds
    #[arg(long, value_name = "HOST:PORT")]
    dc1_replica: Vec<String>,
    #[arg(long)]
    dc1_cloud: Option<String>,
    #[arg(long)]
    dc1_region: Option<String>,
    #[arg(long)]
    dc1_zone: Vec<String>,
    #[arg(long, value_name = "HOST:PORT")]
    dc2_address: Vec<String>,
    #[arg(long, value_name = "HOST:PORT")]
    dc2_replica: Vec<String>,
    #[arg(long)]
    dc2_cloud: Option<String>,
    #[arg(long)]
    dc2_region: Option<String>,
    #[arg(long)]
    dc2_zone: Vec<String>,
    /// Routing algorithm: Redis and Elasticsearch
    #[arg(long)]
    routing: Option<String>,
    /// Arrangement of the Redis servers
    #[arg(long, value_parser = ["normal", "sentinel", "cluster"])]
    mode: Option<String>,
    /// Redis sentinel: name of the master
    #[arg(long)]
    master_name: Option<String>,
    /// MongoDB: name of the replica set
    #[arg(long)]
    replica_set: Option<String>,
    /// Elasticsearch and API
    #[arg(long, value_parser = ["https", "http"])]
    scheme: Option<String>,
    /// API: path with query
    #[arg(long)]
    path: Option<String>,
    /// API: method
    #[arg(long, value_parser = ["GET", "POST", "DELETE", "PUT", "PATCH"])]
    method: Option<String>,
    /// API: status that counts as healthy
    #[arg(long)]
    expected_status: Option<u16>,
    /// API: text that the body must contain
    #[arg(long)]
    body_contains: Option<String>,
    /// API: header as NAME:VALUE; secret ones belong into a file (`--file`)
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,
    /// API: answers in a row that make a side healthy
    #[arg(long)]
    successes: Option<u32>,
    /// API: failures in a row that make a side abnormal
    #[arg(long)]
    failures: Option<u32>,
    /// Encryption of the prober's connections
    #[arg(long, value_parser = ["off", "unverified", "verified"])]
    tls: Option<String>,
    /// Trusted authorities for `--tls verified`, PEM; the public ones when left out
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
}

impl KindOptions {
    /// True if anything of the kind is told by its flags.
    pub fn is_given(&self) -> bool {
        self.file.is_some() || !self.dc1_address.is_empty() || !self.dc2_address.is_empty()
    }

    /// Account of the short form of a connection test.
    pub fn account(&self) -> (Option<&str>, Option<&str>) {
        (self.user.as_deref(), self.monitoring_database.as_deref())
    }

    /// The kind's section, with its passwords from `password` where a new monitor needs them, or where one was named; with
    /// `stored`, what is left out is what a monitor has stored.
    ///
    /// # Errors
    /// A file that cannot be read, a header without a colon, no password.
    pub fn section(&self, kind: &str, password: &PasswordSource, stored: bool) -> Result<Value, Failure> {
        let mut section = match &self.file {
            Some(file) => read_json(file)?,
            None => self.given_by_flags(kind)?,
        };
        // The sections that lack a password; one that is asked for once serves both sides.
        let places: &[&str] = match kind {
            "redis" | "elasticsearch" => &["/dc1", "/dc2"],
            "api" => &[],
            _ => &[""],
        };
        let lacks = |part: &Value| part.get("password").is_none() && part.get("passwordless") != Some(&json!(true));
        let missing: Vec<&str> = places
            .iter()
            .copied()
            .filter(|at| section.pointer(at).is_some_and(lacks))
            .collect();
        if !missing.is_empty() && (!stored || password.is_given()) {
            let secret = password.read("Password of the monitoring account")?;
            for at in missing {
                if let Some(part) = section.pointer_mut(at) {
                    part["password"] = json!(secret);
                }
            }
        }
        Ok(section)
    }

    fn given_by_flags(&self, kind: &str) -> Result<Value, Failure> {
        if self.dc1_address.is_empty() || self.dc2_address.is_empty() {
            let text = "name --dc1-address and --dc2-address, or --file with the kind's section";
            return Err(Failure::new(Code::Usage, text));
        }
        let mut section = Map::new();
        let (mut dc1, mut dc2) = self.sites(kind);
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                section.insert(name.to_owned(), value);
            }
        };
        let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
        put("monitoring_database", text(&self.monitoring_database));
        put("connecting_database", text(&self.connecting_database));
        put("database_is_sid", self.database_is_sid.then_some(json!(true)));
        put("routing", text(&self.routing));
        put("mode", text(&self.mode));
        put("master_name", text(&self.master_name));
        put("replica_set", text(&self.replica_set));
        put("successes", self.successes.map(Value::from));
        put("failures", self.failures.map(Value::from));
        let mut shared = Map::new();
        let mut share = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                shared.insert(name.to_owned(), value);
            }
        };
        share("user", text(&self.user));
        share("passwordless", self.passwordless.then_some(json!(true)));
        share("scheme", text(&self.scheme));
        share("path", text(&self.path));
        share("method", text(&self.method));
        share("expected_status", self.expected_status.map(Value::from));
        share("body_contains", text(&self.body_contains));
        share("headers", self.headers()?);
        share("tls", self.tls()?);
        // Accounts and TLS stand with each side where the sides may differ in them.
        if matches!(kind, "redis" | "elasticsearch" | "api") {
            dc1.extend(shared.clone());
            dc2.extend(shared);
        } else {
            section.extend(shared);
        }
        section.insert("dc1".to_owned(), Value::Object(dc1));
        section.insert("dc2".to_owned(), Value::Object(dc2));
        Ok(Value::Object(section))
    }

    fn sites(&self, kind: &str) -> (Map<String, Value>, Map<String, Value>) {
        let several = matches!(kind, "redis" | "mongodb" | "elasticsearch");
        let site = |addresses: &[String],
                    replicas: &[String],
                    cloud: &Option<String>,
                    region: &Option<String>,
                    zones: &[String]| {
            let mut site = Map::new();
            if several {
                site.insert("addresses".to_owned(), json!(addresses));
            } else {
                site.insert("address".to_owned(), json!(addresses.join(",")));
            }
            for (name, list) in [("replicas", replicas), ("zones", zones)] {
                if !list.is_empty() {
                    site.insert(name.to_owned(), json!(list));
                }
            }
            for (name, value) in [("cloud", cloud), ("region", region)] {
                if let Some(value) = value {
                    site.insert(name.to_owned(), json!(value));
                }
            }
            site
        };
        (
            site(
                &self.dc1_address,
                &self.dc1_replica,
                &self.dc1_cloud,
                &self.dc1_region,
                &self.dc1_zone,
            ),
            site(
                &self.dc2_address,
                &self.dc2_replica,
                &self.dc2_cloud,
                &self.dc2_region,
                &self.dc2_zone,
            ),
        )
    }

    fn headers(&self) -> Result<Option<Value>, Failure> {
        let header = |text: &String| match text.split_once(':') {
            Some((name, value)) => Ok(json!({"name": name.trim(), "value": value.trim()})),
            None => Err(Failure::new(
                Code::Usage,
                format!("{text}: write a header as NAME:VALUE"),
            )),
        };
        let headers: Vec<Value> = self.header.iter().map(header).collect::<Result<_, _>>()?;
        Ok((!headers.is_empty()).then(|| json!(headers)))
    }

    fn tls(&self) -> Result<Option<Value>, Failure> {
        let Some(mode) = &self.tls else { return Ok(None) };
        let mut tls = json!({"mode": mode});
        if let Some(file) = &self.tls_ca {
            let unusable = |error: String| Failure::new(Code::Usage, format!("{}: {error}", file.display()));
            let size = std::fs::metadata(file)
                .map_err(|error| unusable(error.to_string()))?
                .len();
            if size > MAX_CA_BYTES {
                return Err(unusable(format!("larger than {MAX_CA_BYTES} bytes")));
            }
            let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
            tls["ca_pem"] = json!(text);
        }
        Ok(Some(tls))
    }
}
