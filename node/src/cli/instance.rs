//! `quorate instance`: create, list, show, edit, delete, KV passwords, client certificates.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::application::id_of;
use super::client::Client;
use super::failure::{Code, Failure};
use super::output::{Column, Rendered};
use super::password::PasswordSource;

/// What to do with instances. INSTANCE is an id, a name, or `default`.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// List
    List,
    /// Show one
    Show { instance: String },
    /// Create; its KV users are `root` and `mas`
    Create {
        #[arg(long)]
        name: String,
        #[arg(long, default_value = "")]
        description: String,
        /// Id or name of the namespace
        #[arg(long)]
        namespace: Option<String>,
        /// File with the password of `root` in the first line and that of `mas` in the second; asked for when left out
        #[arg(long, value_name = "FILE")]
        passwords_file: Option<PathBuf>,
    },
    /// Change name or description
    Edit {
        instance: String,
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        description: Option<String>,
    },
    /// Set the password of a KV user; the old one is refused at once
    Password {
        instance: String,
        #[arg(long, default_value = "mas")]
        user: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Write ca.crt, client.crt and client.key.pem of a KV client into a directory
    Certificate {
        instance: String,
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,
    },
    /// Delete with its applications, monitors and keys
    Delete {
        instance: String,
        /// The instance's name, typed once more
        #[arg(long, value_name = "NAME")]
        confirm: String,
    },
}

/// Columns of instances.
pub const COLUMNS: &[Column] = &[
    ("NAME", &["/name"]),
    ("ID", &["/id"]),
    ("STATUS", &["/status"]),
    ("APPLICATIONS", &["/applications"]),
    ("MONITORS", &["/monitors"]),
    ("DESCRIPTION", &["/description"]),
];

/// Carries a verb out.
pub async fn run(client: &Client, verb: &Verb) -> Result<Rendered, Failure> {
    let path = async |instance: &str| find(client, instance).await.map(|id| format!("/instances/{id}"));
    match verb {
        Verb::List => Ok(Rendered::list(client.get_all("/instances").await?, COLUMNS)),
        Verb::Show { instance } => Ok(Rendered::object(
            client.get(&path(instance).await?).await?.body,
            COLUMNS,
        )),
        Verb::Create {
            name,
            description,
            namespace,
            passwords_file,
        } => {
            let (root, sdk) = passwords(passwords_file.as_ref())?;
            let mut body = json!({
                "name": name, "description": description, "kv_root_password": root, "kv_sdk_password": sdk,
            });
            if let Some(namespace) = namespace {
                body["namespace"] = json!(namespace);
            }
            let created = client.post("/instances", &body).await?.body;
            Ok(Rendered::done(
                format!("created instance {name} {}", id_of(&created)),
                created,
            ))
        }
        Verb::Edit {
            instance,
            name,
            description,
        } => {
            let path = path(instance).await?;
            let read = client.get(&path).await?;
            let kept = |field: &str| read.body.get(field).cloned().unwrap_or_default();
            let body = json!({
                "name": name.as_ref().map_or_else(|| kept("name"), |name| json!(name)),
                "description": description.as_ref().map_or_else(|| kept("description"), |text| json!(text)),
            });
            let changed = client.put(&path, &body, read.generation).await?.body;
            Ok(Rendered::done(format!("changed instance {instance}"), changed))
        }
        Verb::Password {
            instance,
            user,
            password,
        } => {
            let path = format!("{}/kv-password", path(instance).await?);
            let body = json!({"user": user, "password": password.read(&format!("new password of {user}"))?});
            let set = client.put(&path, &body, None).await?.body;
            Ok(Rendered::done(format!("set the password of KV user {user}"), set))
        }
        Verb::Certificate { instance, directory } => {
            let files = client
                .get(&format!("{}/client-certificate", path(instance).await?))
                .await?
                .body;
            write_files(directory, &files)?;
            // The key goes into its file and nowhere else.
            let written = json!({"directory": directory});
            Ok(Rendered::done(
                format!("wrote the client's files to {}", directory.display()),
                written,
            ))
        }
        Verb::Delete { instance, confirm } => {
            let path = path(instance).await?;
            let generation = client.get(&path).await?.generation;
            let deleted = client
                .delete_with(&path, &json!({"name": confirm}), generation)
                .await?
                .body;
            Ok(Rendered::done(format!("deleted instance {instance}"), deleted))
        }
    }
}

/// The id of an instance by id or name.
async fn find(client: &Client, instance: &str) -> Result<String, Failure> {
    if instance == "default" {
        return Ok(instance.to_owned());
    }
    let list = client.get_all("/instances").await?;
    let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
    let is = |item: &&Value| {
        ["/id", "/name"]
            .iter()
            .any(|at| item.pointer(at).and_then(Value::as_str) == Some(instance))
    };
    let found = items.filter(is).map(id_of).next().map(str::to_owned);
    found.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no instance {instance}")))
}

fn passwords(file: Option<&PathBuf>) -> Result<(String, String), Failure> {
    let usage = |text: String| Failure::new(Code::Usage, text);
    let Some(file) = file else {
        let ask = |user: &str| PasswordSource::default().read(&format!("password of the KV user {user}"));
        return Ok((ask("root")?, ask("mas")?));
    };
    let text = std::fs::read_to_string(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(root), Some(sdk)) => Ok((root.to_owned(), sdk.to_owned())),
        _ => Err(usage(format!(
            "{}: two lines are needed, for root and for mas",
            file.display()
        ))),
    }
}

fn write_files(directory: &std::path::Path, files: &Value) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Code::Refused, format!("{}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    for name in ["ca.crt", "client.crt", "client.key.pem"] {
        let contents = files.get(name).and_then(Value::as_str).unwrap_or_default();
        crate::identity::write_atomically(&directory.join(name), contents.as_bytes()).map_err(failed)?;
    }
    Ok(())
}
