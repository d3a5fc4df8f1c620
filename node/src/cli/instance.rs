//! `quorate instance`: create, list, show, edit, delete, KV passwords, client certificates.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::application::{id_of, renamed};
use super::client::Client;
use super::failure::{Code, Failure};
use super::output::{Column, Rendered};
use super::password::{PasswordSource, read_file};

/// What to do with instances. INSTANCE is an id, a name, or `default`.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// List
    List,
    /// Show one
    Show {
        #[arg(value_name = "INSTANCE")]
        which: String,
    },
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
        #[arg(value_name = "INSTANCE")]
        which: String,
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        description: Option<String>,
    },
    /// Set the password of a KV user; the old one is refused at once
    Password {
        #[arg(value_name = "INSTANCE")]
        which: String,
        #[arg(long, default_value = "mas")]
        user: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Write ca.crt, client.crt and client.key.pem of a KV client into a directory
    Certificate {
        #[arg(value_name = "INSTANCE")]
        which: String,
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,
    },
    /// Delete with its applications, monitors and keys
    Delete {
        #[arg(value_name = "INSTANCE")]
        which: String,
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
        Verb::Show { which } => Ok(Rendered::object(client.get(&path(which).await?).await?.body, COLUMNS)),
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
            which,
            name,
            description,
        } => {
            let path = path(which).await?;
            let read = client.get(&path).await?;
            let body = renamed(&read.body, name.as_deref(), description.as_deref());
            let changed = client.put(&path, &body, read.generation).await?.body;
            Ok(Rendered::done(format!("changed instance {which}"), changed))
        }
        Verb::Password { which, user, password } => {
            let path = format!("{}/kv-password", path(which).await?);
            let body = json!({"user": user, "password": password.read(&format!("new password of {user}"))?});
            let set = client.put(&path, &body, None).await?.body;
            Ok(Rendered::done(format!("set the password of KV user {user}"), set))
        }
        Verb::Certificate { which, directory } => {
            let files = client
                .get(&format!("{}/client-certificate", path(which).await?))
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
        Verb::Delete { which, confirm } => {
            let path = path(which).await?;
            let generation = client.get(&path).await?.generation;
            let deleted = client
                .delete_with(&path, &json!({"name": confirm}), generation)
                .await?
                .body;
            Ok(Rendered::done(format!("deleted instance {which}"), deleted))
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
    let text = read_file(file)?;
    let mut lines = text.lines().map(str::to_owned);
    match (lines.next(), lines.next()) {
        (Some(root), Some(sdk)) if !root.is_empty() && !sdk.is_empty() => Ok((root, sdk)),
        _ => Err(usage(format!(
            "{}: two lines are needed, for root and for mas",
            file.display()
        ))),
    }
}

fn write_files(directory: &std::path::Path, files: &Value) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Code::Refused, format!("{}: {error}", directory.display()));
    let content = |name: &'static str| {
        let found = files
            .get(name)
            .and_then(Value::as_str)
            .filter(|found| !found.is_empty());
        let found = found.map(|found| (name, found));
        found.ok_or_else(|| Failure::new(Code::Refused, format!("the answer has no {name}; nothing was written")))
    };
    let contents = [content("ca.crt")?, content("client.crt")?, content("client.key.pem")?];
    std::fs::create_dir_all(directory).map_err(failed)?;
    for (name, content) in contents {
        crate::identity::write_atomically(&directory.join(name), content.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwords_file_is_small_and_has_two_passwords() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let path = file.path().to_path_buf();
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            passwords(Some(&path)).map_err(|failure| failure.code)
        };
        let pair = ("root-secret".to_owned(), "mas-secret".to_owned());
        assert_eq!(read("root-secret\nmas-secret\n"), Ok(pair));
        for bad in ["", "root-secret\n", "\nmas-secret\n", "root-secret\n\nmas-secret\n"] {
            assert_eq!(read(bad), Err(Code::Usage), "{bad:?}");
        }
        assert_eq!(read(&"x\n".repeat(3_000)), Err(Code::Usage));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(passwords(Some(&path)).map_err(|failure| failure.code), Err(Code::Usage));
    }

    #[test]
    fn a_clients_files_are_written_whole_or_not_at_all() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let target = directory.path().join("client");
        let mut files = json!({"ca.crt": "CA", "client.crt": "CERTIFICATE"});
        assert!(write_files(&target, &files).is_err());
        files["client.key.pem"] = json!("");
        assert!(write_files(&target, &files).is_err());
        assert!(!target.exists());
        files["client.key.pem"] = json!("KEY");
        assert_eq!(write_files(&target, &files), Ok(()));
        let key = std::fs::read_to_string(target.join("client.key.pem"));
        assert_eq!(key.expect("the key"), "KEY");
    }
}
