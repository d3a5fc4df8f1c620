//! `quorate application`: create, list, show, edit, delete.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::{Column, Rendered};

/// What to do with applications. APPLICATION is an id or a name.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// List
    List,
    /// Show one
    Show { application: String },
    /// Create
    Create {
        #[arg(long)]
        name: String,
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Change name or description
    Edit {
        application: String,
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        description: Option<String>,
    },
    /// SDK processes that are connected, on every node
    Processes { application: String },
    /// Delete; refused while it has monitors
    Delete { application: String },
}

/// Columns of applications.
pub const COLUMNS: &[Column] = &[
    ("NAME", &["/name"]),
    ("ID", &["/id"]),
    ("MONITORS", &["/monitors"]),
    ("OWNER", &["/owner"]),
    ("DESCRIPTION", &["/description"]),
];

const PROCESSES: &[Column] = &[
    ("NODE", &["/node"]),
    ("SOURCE", &["/source"]),
    ("USER", &["/user"]),
    ("WATCHES", &["/watches"]),
    ("SINCE", &["/since"]),
];

/// Carries a verb out.
pub async fn run(client: &Client, verb: &Verb) -> Result<Rendered, Failure> {
    let collection = client.of_instance("/applications");
    let path = async |application: &str| {
        client
            .resolve("applications", application)
            .await
            .map(|id| format!("{collection}/{id}"))
    };
    match verb {
        Verb::List => Ok(Rendered::list(client.get_all(&collection).await?, COLUMNS)),
        Verb::Show { application } => Ok(Rendered::object(
            client.get(&path(application).await?).await?.body,
            COLUMNS,
        )),
        Verb::Create { name, description } => {
            let body = json!({"name": name, "description": description});
            let created = client.post(&collection, &body).await?.body;
            Ok(Rendered::done(
                format!("created application {name} {}", id_of(&created)),
                created,
            ))
        }
        Verb::Edit {
            application,
            name,
            description,
        } => {
            let path = path(application).await?;
            let read = client.get(&path).await?;
            let body = renamed(&read.body, name.as_deref(), description.as_deref());
            let changed = client.put(&path, &body, read.generation).await?.body;
            Ok(Rendered::done(format!("changed application {application}"), changed))
        }
        Verb::Processes { application } => {
            let path = format!("{}/processes", path(application).await?);
            Ok(Rendered::list(client.get_all(&path).await?, PROCESSES))
        }
        Verb::Delete { application } => {
            let path = path(application).await?;
            let generation = client.get(&path).await?.generation;
            let deleted = client.delete(&path, generation).await?.body;
            Ok(Rendered::done(format!("deleted application {application}"), deleted))
        }
    }
}

/// The body of an edit of name and description: what is not given stays as it was read.
pub fn renamed(read: &Value, name: Option<&str>, description: Option<&str>) -> Value {
    let kept = |field: &str, given: Option<&str>| match given {
        Some(text) => json!(text),
        None => read.get(field).cloned().unwrap_or_default(),
    };
    json!({"name": kept("name", name), "description": kept("description", description)})
}

/// The `id` of an answer.
pub fn id_of(body: &Value) -> &str {
    body.get("id").and_then(Value::as_str).unwrap_or("-")
}
