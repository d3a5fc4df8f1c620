//! `quorate monitor`: create, list, show, edit, delete, connection pool, connection test, SDK configuration, acknowledge.

mod body;
mod kind;
mod several;

use clap::Subcommand;
use serde_json::{Value, json};

use super::application::id_of;
use super::client::Client;
use super::failure::{Code, Failure};
use super::output::{Column, Rendered};
pub use body::{CreateOptions, EditOptions, PoolOptions, TestOptions};
pub use several::Filters;

/// What to do with monitors. MONITOR is an id or a name.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// List, with live state
    List {
        /// Only those of this application (id or name)
        #[arg(long)]
        application: Option<String>,
        /// Only those of which one side has this state, for example `abnormal`
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        filters: Filters,
    },
    /// Show one, with live state
    Show { monitor: String },
    /// What every node says of both sides
    Votes { monitor: String },
    /// The four checks of a side that is not healthy, with what each node found
    Checks { monitor: String },
    /// History of its probes, newest first: each change of a node's vote and of a data center's state
    History { monitor: String },
    /// Create
    Create(Box<CreateOptions>),
    /// Change; what is not named stays
    Edit(Box<EditOptions>),
    /// Delete, with their SDK keys; several in one revision
    Delete {
        #[arg(required = true, num_args = 1..=1000)]
        monitor: Vec<String>,
    },
    /// Connection pool
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Have every node try addresses before saving
    TestConnection(Box<TestOptions>),
    /// SDK configuration, ready to copy
    SdkConfiguration {
        monitor: String,
        /// Which file; the first that the kind has when left out
        #[arg(long, value_parser = ["go-yaml", "java-yaml", "java-properties"])]
        file: Option<String>,
    },
    /// Acknowledge the last automatic switch: the repeat block is lifted
    Acknowledge {
        monitor: String,
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Set the read/write state of one side as published to SDKs
    ReadWrite {
        monitor: String,
        #[arg(long, value_parser = ["dc1", "dc2"])]
        data_center: String,
        #[arg(long, action = clap::ArgAction::Set)]
        readable: bool,
        #[arg(long, action = clap::ArgAction::Set)]
        writable: bool,
    },
}

/// What to do with a connection pool.
#[derive(Subcommand, Debug)]
pub enum PoolVerb {
    /// Save it
    Set(Box<PoolOptions>),
}

/// Columns of monitors (C7).
pub const COLUMNS: &[Column] = &[
    ("NAME", &["/name"]),
    ("ID", &["/id"]),
    ("KIND", &["/kind"]),
    ("PROBING", &["/probing"]),
    ("AUTO", &["/automatic_switch"]),
    ("ACTIVE", &["/active"]),
    ("EPOCH", &["/epoch"]),
    ("DC1", &["/dc1/state"]),
    ("DC2", &["/dc2/state"]),
    ("DC1 AILS", &["/dc1/sub_health/*/condition"]),
    ("DC2 AILS", &["/dc2/sub_health/*/condition"]),
    ("WITHHELD", &["/withheld"]),
    ("HELD", &["/switching_held"]),
    ("ACK NEEDED", &["/needs_acknowledgement"]),
];

/// Where a side's addresses stand, whatever the kind.
const DC1_ADDRESSES: &str = "/mysql/dc1/address|/postgresql/dc1/address|/oracle/dc1/address|/api/dc1/address|\
    /redis/dc1/addresses|/mongodb/dc1/addresses|/elasticsearch/dc1/addresses";
const DC2_ADDRESSES: &str = "/mysql/dc2/address|/postgresql/dc2/address|/oracle/dc2/address|/api/dc2/address|\
    /redis/dc2/addresses|/mongodb/dc2/addresses|/elasticsearch/dc2/addresses";

/// Lines of one monitor.
const FIELDS: &[Column] = &[
    ("name", &["/name"]),
    ("id", &["/id"]),
    ("application", &["/application"]),
    ("kind", &["/kind"]),
    ("generation", &["/generation"]),
    ("probing", &["/probing"]),
    ("automatic switch", &["/automatic_switch"]),
    ("active", &["/active"]),
    ("epoch", &["/epoch"]),
    ("dc1", &["/dc1/state"]),
    ("dc1 address", &[DC1_ADDRESSES]),
    ("dc1 notice", &["/dc1/notice"]),
    ("dc1 sub-health", &["/dc1/sub_health/*/condition"]),
    ("dc1 says", &["/dc1/sub_health/*/text"]),
    ("dc1 readable/writable", &["/dc1/readable", "/dc1/writable"]),
    ("dc2", &["/dc2/state"]),
    ("dc2 address", &[DC2_ADDRESSES]),
    ("dc2 notice", &["/dc2/notice"]),
    ("dc2 sub-health", &["/dc2/sub_health/*/condition"]),
    ("dc2 says", &["/dc2/sub_health/*/text"]),
    ("dc2 readable/writable", &["/dc2/readable", "/dc2/writable"]),
    ("database", &["/connection_pool/database"]),
    (
        "routing",
        &["/connection_pool/routing|/redis/routing|/elasticsearch/routing"],
    ),
    ("SDK keys", &["/sdk_keys_published"]),
    ("withheld", &["/withheld"]),
    ("automatic switching", &["/switching_held"]),
    ("acknowledgement needed", &["/needs_acknowledgement"]),
    ("last switch", &["/last_switch/from", "/last_switch/to"]),
    ("cause", &["/last_switch/cause"]),
    ("at", &["/last_switch/at"]),
];

const VOTES: &[Column] = &[
    ("SIDE", &["/side"]),
    ("NODE", &["/node"]),
    ("VOTE", &["/vote"]),
    ("FINDING", &["/finding"]),
    ("SUB-HEALTH", &["/sub_health/*/condition"]),
    ("LAPSED", &["/lapsed"]),
    ("AT", &["/at"]),
    ("TEXT", &["/text"]),
];

const CHECKS: &[Column] = &[
    ("SIDE", &["/side"]),
    ("CHECK", &["/check"]),
    ("OUTCOME", &["/outcome"]),
    ("NODES", &["/findings/*/node"]),
    ("FINDINGS", &["/findings/*/finding"]),
    ("TEXT", &["/findings/*/text"]),
];

const HISTORY: &[Column] = &[
    ("SEQ", &["/sequence"]),
    ("AT", &["/at"]),
    ("SIDE", &["/data_center"]),
    ("NODE", &["/node"]),
    ("VOTE", &["/vote"]),
    ("FINDING", &["/finding"]),
    ("STATE", &["/state"]),
    ("TEXT", &["/text"]),
];

const TESTED: &[Column] = &[
    ("NODE", &["/node"]),
    ("ADDRESS", &["/address"]),
    ("PASSED", &["/passed"]),
    ("STAGE", &["/stage"]),
    ("FINDING", &["/finding"]),
    ("MS", &["/elapsed_ms"]),
    ("TEXT", &["/text"]),
];

/// Carries a verb out.
pub async fn run(client: &Client, verb: &Verb) -> Result<Rendered, Failure> {
    let collection = client.of_instance("/monitors");
    match verb {
        Verb::List {
            application,
            state,
            filters,
        } => {
            let filters = filters.pairs(application.as_deref(), state.as_deref());
            several::list(client, &collection, filters).await
        }
        Verb::Show { monitor } => Ok(Rendered::object(
            client.get(&path(client, monitor).await?).await?.body,
            FIELDS,
        )),
        Verb::Votes { monitor } => {
            let body = client.get(&path(client, monitor).await?).await?.body;
            Ok(Rendered::list(of_sides(&body, "votes"), VOTES))
        }
        Verb::Checks { monitor } => {
            let body = client.get(&path(client, monitor).await?).await?.body;
            Ok(Rendered::list(of_sides(&body, "checks"), CHECKS))
        }
        Verb::History { monitor } => {
            let path = format!("{}/history", path(client, monitor).await?);
            Ok(Rendered::list(client.get_all(&path).await?, HISTORY))
        }
        Verb::Create(options) => {
            let application = client.resolve("applications", &options.application).await?;
            let created = client.post(&collection, &options.body(&application)?).await?.body;
            Ok(Rendered::done(format!("created monitor {}", id_of(&created)), created))
        }
        Verb::Edit(options) => {
            let path = path(client, &options.monitor).await?;
            let read = client.get(&path).await?;
            let changed = client
                .put(&path, &options.body(&read.body)?, read.generation)
                .await?
                .body;
            Ok(Rendered::done(format!("changed monitor {}", options.monitor), changed))
        }
        Verb::Delete { monitor } => {
            let [monitor] = monitor.as_slice() else {
                return several::delete(client, &collection, monitor).await;
            };
            let path = path(client, monitor).await?;
            let generation = client.get(&path).await?.generation;
            let deleted = client.delete(&path, generation).await?.body;
            Ok(Rendered::done(format!("deleted monitor {monitor}"), deleted))
        }
        Verb::Pool(PoolVerb::Set(options)) => {
            let path = path(client, &options.monitor).await?;
            let body = options.body()?;
            let generation = client.get(&path).await?.generation;
            let saved = client
                .put(&format!("{path}/connection-pool"), &body, generation)
                .await?
                .body;
            Ok(Rendered::done(
                format!("saved the connection pool of {}", options.monitor),
                saved,
            ))
        }
        Verb::TestConnection(options) => test_connection(client, &collection, options).await,
        Verb::SdkConfiguration { monitor, file } => {
            sdk_configuration(client, &path(client, monitor).await?, file.as_deref()).await
        }
        Verb::Acknowledge { monitor, comment } => {
            let path = format!("{}/acknowledge", path(client, monitor).await?);
            let done = client.post(&path, &json!({"comment": comment})).await?.body;
            Ok(Rendered::done(format!("acknowledged monitor {monitor}"), done))
        }
        Verb::ReadWrite {
            monitor,
            data_center,
            readable,
            writable,
        } => {
            let path = format!("{}/read-write", path(client, monitor).await?);
            let body = json!({"data_center": data_center, "readable": readable, "writable": writable});
            let done = client.put(&path, &body, None).await?.body;
            Ok(Rendered::done(
                format!("set the read/write state of {data_center} of {monitor}"),
                done,
            ))
        }
    }
}

/// Path of a monitor by id or name.
pub async fn path(client: &Client, monitor: &str) -> Result<String, Failure> {
    let id = client.resolve("monitors", monitor).await?;
    Ok(client.of_instance(&format!("/monitors/{id}")))
}

/// A list that each side has, of both sides as one.
fn of_sides(monitor: &Value, list: &str) -> Value {
    let of_side = |side: &str| {
        let items = monitor
            .pointer(&format!("/{side}/{list}"))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let with_side = |mut item: Value| {
            item["side"] = json!(side);
            item
        };
        items.into_iter().map(with_side).collect::<Vec<_>>()
    };
    let items = [of_side("dc1"), of_side("dc2")].concat();
    json!({ "items": items })
}

async fn test_connection(client: &Client, collection: &str, options: &TestOptions) -> Result<Rendered, Failure> {
    let stored = match &options.monitor {
        Some(monitor) => Some(client.resolve("monitors", monitor).await?),
        None => None,
    };
    let body = options.body(stored.as_deref())?;
    let tested = client.post(&format!("{collection}/test-connection"), &body).await?.body;
    let passed = tested.get("passed").and_then(Value::as_bool).unwrap_or(false);
    let rows = Rendered::rows(several::by_address(tested), "/rows", TESTED);
    Ok(rows
        .once()
        .failed_unless(passed, "not every address passed from every node"))
}

async fn sdk_configuration(client: &Client, monitor: &str, file: Option<&str>) -> Result<Rendered, Failure> {
    let body = client.get(&format!("{monitor}/sdk-configuration")).await?.body;
    let strings = |field: &str| {
        let found = body.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
        found
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut text: String = strings("notes").iter().map(|note| format!("# {note}\n")).collect();
    text.extend(
        strings("warnings")
            .iter()
            .map(|warning| format!("# WARNING: {warning}\n")),
    );
    let wanted = match file {
        Some(file) => vec![file.replace('-', "_")],
        None => vec!["go_yaml".to_owned(), "java_yaml".to_owned()],
    };
    let shown = wanted.iter().find_map(|field| body.get(field.as_str())?.as_str());
    let missing = || {
        Failure::new(
            Code::NotFound,
            "there is no such file for this kind; the Go SDK knows MySQL and Redis",
        )
    };
    text.push_str(shown.ok_or_else(missing)?);
    Ok(Rendered::text(text, body))
}
