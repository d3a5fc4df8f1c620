//! Flags of monitors, pools and connection tests, and the JSON they become.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::kind::{KINDS, KindOptions};
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
    #[arg(long, default_value = "mysql", value_parser = KINDS)]
    kind: String,
    /// Name; generated when left out
    #[arg(long, default_value = "")]
    name: String,
    #[command(flatten)]
    of_kind: KindOptions,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    test: TestChoice,
    #[command(flatten)]
    lag: LagThreshold,
    /// Do not probe
    #[arg(long)]
    no_probing: bool,
    /// Never switch automatically
    #[arg(long)]
    no_automatic_switch: bool,
}

/// Every node tries every address before a monitor is saved; this leaves the test out.
#[derive(Args, Debug)]
struct TestChoice {
    /// Save without the connection test, and why; the audit log keeps the reason
    #[arg(long, value_name = "REASON")]
    override_connection_test: Option<String>,
}

impl TestChoice {
    fn set_in(&self, body: &mut Value) {
        if let Some(reason) = &self.override_connection_test {
            body["connection_test"] = json!({"override": true, "reason": reason});
        }
    }
}

/// From where on a replica's lag is shown as a sub-health; it never votes. What is left out is the default, or stays in an edit.
#[derive(Args, Debug)]
struct LagThreshold {
    /// Seconds, 1 to 86400; 30 by default
    #[arg(long, value_name = "SECONDS")]
    lag_seconds: Option<u32>,
    /// Bytes, for PostgreSQL and Redis; 64 MiB by default
    #[arg(long, value_name = "BYTES")]
    lag_bytes: Option<u64>,
}

impl LagThreshold {
    fn set_in(&self, body: &mut Value) {
        for (field, value) in [("seconds", self.lag_seconds.map(u64::from)), ("bytes", self.lag_bytes)] {
            if let Some(value) = value {
                body["lag_threshold"][field] = json!(value);
            }
        }
    }
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
    /// Address of dc1; repeat where a side has several
    #[arg(long, value_name = "HOST:PORT")]
    dc1_address: Vec<String>,
    #[arg(long, value_name = "HOST:PORT")]
    dc2_address: Vec<String>,
    /// The kind's section as the API takes it, JSON, in place of the present one; passwords that it leaves out stay
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "dc1_address", "dc2_address"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    test: TestChoice,
    #[command(flatten)]
    lag: LagThreshold,
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

/// A connection test: a kind as it would be created, a monitor as it stands, or (for MySQL) some addresses.
#[derive(Args, Debug)]
pub struct TestOptions {
    /// Kind
    #[arg(long, default_value = "mysql", value_parser = KINDS)]
    kind: String,
    /// MySQL in short: address to try; repeat for several
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["file", "dc1_address", "dc2_address"])]
    address: Vec<String>,
    #[command(flatten)]
    of_kind: KindOptions,
    /// A monitor (id or name) as it stands, or whose stored secrets are used
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
        let section = self.of_kind.section(&self.kind, &self.password, false)?;
        let mut timing = json!({});
        self.timing.set_in(&mut timing);
        let mut body = json!({
            "application": application,
            "name": self.name,
            "probing": !self.no_probing,
            "automatic_switch": !self.no_automatic_switch,
            "timing": timing,
            (self.kind.as_str()): section,
        });
        self.test.set_in(&mut body);
        self.lag.set_in(&mut body);
        Ok(body)
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
        let kind = present.get("kind").and_then(Value::as_str).unwrap_or_default();
        let kept = [
            "notification",
            "probing",
            "automatic_switch",
            "timing",
            "fence_policy",
            "lag_threshold",
            kind,
        ];
        let fields = kept
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), present.get(*field)?.clone())));
        let mut body = Value::Object(fields.collect::<Map<_, _>>());
        if let Some(file) = &self.file {
            body[kind] = read_json(file)?;
        }
        if let Some(section) = body.get_mut(kind) {
            self.edit(kind, section)?;
        }
        for (field, value) in [("probing", self.probing), ("automatic_switch", self.automatic_switch)] {
            if let Some(value) = value {
                body[field] = json!(value);
            }
        }
        self.timing.set_in(&mut body["timing"]);
        self.test.set_in(&mut body);
        self.lag.set_in(&mut body);
        Ok(body)
    }

    /// Puts account and addresses in: once where both sides share them, else on each side.
    fn edit(&self, kind: &str, section: &mut Value) -> Result<(), Failure> {
        drop_marks(section);
        let apart = matches!(kind, "redis" | "elasticsearch");
        let places: &[&str] = if apart { &["/dc1", "/dc2"] } else { &[""] };
        let password = match self.new_password || self.password.is_given() {
            true => Some(self.password.read("New password of the monitoring account")?),
            false => None,
        };
        for place in places {
            let Some(part) = section.pointer_mut(place) else {
                continue;
            };
            if let Some(user) = &self.user {
                part["user"] = json!(user);
            }
            if let Some(password) = password
                .as_ref()
                .filter(|_| part.get("passwordless") != Some(&json!(true)))
            {
                part["password"] = json!(password);
            }
        }
        for (place, addresses) in [("/dc1", &self.dc1_address), ("/dc2", &self.dc2_address)] {
            let Some(part) = section.pointer_mut(place).filter(|_| !addresses.is_empty()) else {
                continue;
            };
            match part.get("addresses") {
                Some(_) => part["addresses"] = json!(addresses),
                None => part["address"] = json!(addresses.join(",")),
            }
        }
        Ok(())
    }
}

/// Takes out what an answer says of secrets (`password_set`).
fn drop_marks(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("_set") || name == "replica_set");
            fields.values_mut().for_each(drop_marks);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_marks),
        _ => {}
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

pub(super) fn read_json(file: &PathBuf) -> Result<Value, Failure> {
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
    /// Body of the test; `stored` is the id of the monitor whose secrets are used.
    pub fn body(&self, stored: Option<&str>) -> Result<Value, Failure> {
        let mut body = json!({});
        if let Some(monitor) = stored {
            body["monitor"] = json!(monitor);
        }
        if !self.address.is_empty() {
            let (user, database) = self.of_kind.account();
            let (Some(user), Some(database)) = (user, database) else {
                let text = "--address needs --user and --monitoring-database";
                return Err(Failure::new(Code::Usage, text));
            };
            body["addresses"] = json!(self.address);
            body["user"] = json!(user);
            body["monitoring_database"] = json!(database);
            if stored.is_none() || self.password.is_given() {
                body["password"] = json!(self.password.read(&format!("Password of {user}"))?);
            }
        } else if self.of_kind.is_given() {
            body[self.kind.as_str()] = self.of_kind.section(&self.kind, &self.password, stored.is_some())?;
        }
        if let Some(timeout) = self.access_timeout_ms {
            body["access_timeout_ms"] = json!(timeout);
        }
        Ok(body)
    }
}
