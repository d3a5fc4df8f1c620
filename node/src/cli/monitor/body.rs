//! Flags of monitors, pools and connection tests, and the JSON they become.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::failure::{Code, Failure};
use crate::cli::password::PasswordSource;

/// Largest file that is read as a body, bytes: the API takes no larger one.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// A new monitor.
#[derive(Args, Debug)]
pub struct CreateOptions {
    /// Application (id or name)
    #[arg(long)]
    pub application: String,
    /// Kind
    #[arg(long, default_value = "mysql", value_parser = ["mysql"])]
    kind: String,
    /// Name; generated when left out
    #[arg(long, default_value = "")]
    name: String,
    /// Monitoring account
    #[arg(long)]
    user: String,
    #[command(flatten)]
    password: PasswordSource,
    /// Database that is probed
    #[arg(long)]
    monitoring_database: String,
    /// Database of the applications; the monitoring database when left out
    #[arg(long, default_value = "")]
    connecting_database: String,
    #[command(flatten)]
    sites: Sites,
    #[command(flatten)]
    timing: Timing,
    /// Do not probe
    #[arg(long)]
    no_probing: bool,
    /// Never switch automatically
    #[arg(long)]
    no_automatic_switch: bool,
}

/// Addresses of both sides, `host:port`.
#[derive(Args, Debug)]
struct Sites {
    #[arg(long, value_name = "HOST:PORT")]
    dc1_address: String,
    #[arg(long, value_name = "HOST:PORT")]
    dc1_replica: Vec<String>,
    #[arg(long, default_value = "")]
    dc1_cloud: String,
    #[arg(long, default_value = "")]
    dc1_region: String,
    #[arg(long, value_name = "HOST:PORT")]
    dc2_address: String,
    #[arg(long, value_name = "HOST:PORT")]
    dc2_replica: Vec<String>,
    #[arg(long, default_value = "")]
    dc2_cloud: String,
    #[arg(long, default_value = "")]
    dc2_region: String,
}

/// Timing, milliseconds; what is left out is the global setting of the kind, or stays in an edit.
#[derive(Args, Debug)]
struct Timing {
    #[arg(long, value_name = "MS")]
    retry_interval_ms: Option<u32>,
    #[arg(long, value_name = "MS")]
    monitor_timeout_ms: Option<u32>,
    #[arg(long, value_name = "MS")]
    access_timeout_ms: Option<u32>,
    /// Accept times below the ordinary minimum: risks a false switch on a short stall, and data not yet replicated
    #[arg(long)]
    fast_profile: bool,
}

/// A changed monitor.
#[derive(Args, Debug)]
pub struct EditOptions {
    /// Monitor (id or name)
    pub monitor: String,
    /// Monitoring account
    #[arg(long)]
    user: Option<String>,
    /// Ask for a new password of the monitoring account
    #[arg(long)]
    new_password: bool,
    #[command(flatten)]
    password: PasswordSource,
    #[arg(long, value_name = "HOST:PORT")]
    dc1_address: Option<String>,
    #[arg(long, value_name = "HOST:PORT")]
    dc2_address: Option<String>,
    #[arg(long)]
    probing: Option<bool>,
    #[arg(long)]
    automatic_switch: Option<bool>,
    #[command(flatten)]
    timing: Timing,
}

/// A connection pool, from flags or from a file.
#[derive(Args, Debug)]
pub struct PoolOptions {
    /// Monitor (id or name)
    pub monitor: String,
    /// The pool as the API takes it, JSON; instead of all other flags
    #[arg(long, value_name = "FILE", conflicts_with_all = ["database", "dc1_source", "dc2_source"])]
    file: Option<PathBuf>,
    /// The connecting database
    #[arg(long, required_unless_present = "file", default_value = "")]
    database: String,
    #[arg(long, default_value = "single-read-write", value_parser = ["single-read-write", "local-read-single-write"])]
    routing: String,
    #[arg(long, required_unless_present = "file", value_name = "NAME=HOST:PORT/SCHEMA")]
    dc1_source: Option<Source>,
    #[arg(long, value_name = "NAME=HOST:PORT/SCHEMA")]
    dc1_replica: Vec<Source>,
    #[arg(long, required_unless_present = "file", value_name = "NAME=HOST:PORT/SCHEMA")]
    dc2_source: Option<Source>,
    #[arg(long, value_name = "NAME=HOST:PORT/SCHEMA")]
    dc2_replica: Vec<Source>,
    /// Load balance among read replicas
    #[arg(long, default_value = "RANDOM", value_parser = ["RANDOM", "ROUND_ROBIN"])]
    load_balance: String,
}

/// A data source, written `NAME=HOST:PORT/SCHEMA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    address: String,
    schema: String,
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('=')
            .and_then(|(name, rest)| Some((name, rest.split_once('/')?)));
        match parts {
            Some((name, (address, schema))) if ![name, address, schema].contains(&"") => Ok(Self {
                name: name.to_owned(),
                address: address.to_owned(),
                schema: schema.to_owned(),
            }),
            _ => Err("write it as NAME=HOST:PORT/SCHEMA, for example ds1=10.0.0.1:3306/orders".to_owned()),
        }
    }
}

/// A connection test.
#[derive(Args, Debug)]
pub struct TestOptions {
    /// Address to try; repeat for several
    #[arg(long, required = true, value_name = "HOST:PORT")]
    address: Vec<String>,
    #[arg(long)]
    user: String,
    #[arg(long)]
    monitoring_database: String,
    /// Use the stored password of this monitor (id or name)
    #[arg(long)]
    pub monitor: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
    #[arg(long, value_name = "MS")]
    access_timeout_ms: Option<u32>,
}

impl CreateOptions {
    /// Body of the creation.
    pub fn body(&self, application: &str) -> Result<Value, Failure> {
        let password = self.password.read(&format!("Password of {}", self.user))?;
        let sites = &self.sites;
        let site = |cloud: &str, region: &str, address: &str, replicas: &[String]| json!({"cloud": cloud, "region": region, "address": address, "replicas": replicas});
        let (dc1, dc2) = (
            site(
                &sites.dc1_cloud,
                &sites.dc1_region,
                &sites.dc1_address,
                &sites.dc1_replica,
            ),
            site(
                &sites.dc2_cloud,
                &sites.dc2_region,
                &sites.dc2_address,
                &sites.dc2_replica,
            ),
        );
        let mut timing = json!({});
        self.timing.set_in(&mut timing);
        Ok(json!({
            "application": application,
            "name": self.name,
            "probing": !self.no_probing,
            "automatic_switch": !self.no_automatic_switch,
            "timing": timing,
            (self.kind.as_str()): {
                "user": self.user,
                "password": password,
                "monitoring_database": self.monitoring_database,
                "connecting_database": self.connecting_database,
                "dc1": dc1,
                "dc2": dc2,
            },
        }))
    }
}

impl Timing {
    fn set_in(&self, timing: &mut Value) {
        let given = [
            ("retry_interval_ms", self.retry_interval_ms),
            ("monitor_timeout_ms", self.monitor_timeout_ms),
            ("access_timeout_ms", self.access_timeout_ms),
        ];
        for (field, value) in given {
            if let Some(value) = value {
                timing[field] = json!(value);
            }
        }
        if self.fast_profile {
            timing["fast_profile"] = json!(true);
        }
    }
}

impl EditOptions {
    /// The monitor that was read, with the flags put in; fields that the API does not take back are left out.
    pub fn body(&self, present: &Value) -> Result<Value, Failure> {
        let kept = [
            "notification",
            "probing",
            "automatic_switch",
            "timing",
            "fence_policy",
            "mysql",
        ];
        let fields = kept
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), present.get(*field)?.clone())));
        let mut body = Value::Object(fields.collect::<Map<_, _>>());
        if let Some(mysql) = body.get_mut("mysql").and_then(Value::as_object_mut) {
            mysql.remove("password_set");
        }
        let set = [
            ("/mysql", "user", self.user.as_ref().map(|user| json!(user))),
            (
                "/mysql/dc1",
                "address",
                self.dc1_address.as_ref().map(|address| json!(address)),
            ),
            (
                "/mysql/dc2",
                "address",
                self.dc2_address.as_ref().map(|address| json!(address)),
            ),
            ("", "probing", self.probing.map(Value::from)),
            ("", "automatic_switch", self.automatic_switch.map(Value::from)),
        ];
        for (parent, field, value) in set {
            if let (Some(value), Some(parent)) = (value, body.pointer_mut(parent)) {
                parent[field] = value;
            }
        }
        self.timing.set_in(&mut body["timing"]);
        if self.new_password || self.password.is_given() {
            body["mysql"]["password"] = json!(self.password.read("New password of the monitoring account")?);
        }
        Ok(body)
    }
}

impl PoolOptions {
    /// Body of the pool.
    pub fn body(&self) -> Result<Value, Failure> {
        if let Some(file) = &self.file {
            return read_json(file);
        }
        let site = |source: &Option<Source>, replicas: &[Source]| {
            let replicas: Vec<Value> = replicas.iter().map(source_json).collect();
            json!({"source": source.as_ref().map(source_json), "replicas": replicas, "load_balance": self.load_balance})
        };
        Ok(json!({
            "database": self.database,
            "routing": self.routing,
            "dc1": site(&self.dc1_source, &self.dc1_replica),
            "dc2": site(&self.dc2_source, &self.dc2_replica),
        }))
    }
}

fn source_json(source: &Source) -> Value {
    json!({"name": source.name, "address": source.address, "schema": source.schema})
}

fn read_json(file: &PathBuf) -> Result<Value, Failure> {
    let unusable = |error: String| Failure::new(Code::Usage, format!("{}: {error}", file.display()));
    let size = std::fs::metadata(file)
        .map_err(|error| unusable(error.to_string()))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(unusable(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    let text = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))
}

impl TestOptions {
    /// Body of the test; `stored` is the id of the monitor whose password is used.
    pub fn body(&self, stored: Option<&str>) -> Result<Value, Failure> {
        let mut body = json!({
            "addresses": self.address,
            "user": self.user,
            "monitoring_database": self.monitoring_database,
        });
        match stored {
            Some(monitor) if !self.password.is_given() => body["monitor"] = json!(monitor),
            _ => body["password"] = json!(self.password.read(&format!("Password of {}", self.user))?),
        }
        if let Some(timeout) = self.access_timeout_ms {
            body["access_timeout_ms"] = json!(timeout);
        }
        Ok(body)
    }
}
