//! Which cluster to speak to: `--cluster dev.json`, else a context of `quorate login`, else `QUORATE_ADDRESS`,
//! `QUORATE_TOKEN` and `QUORATE_CA`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Options;
use super::failure::{Code, Failure};

/// Nodes of a cluster and how to be let in.
#[derive(Clone)]
pub struct Target {
    /// Console addresses, `https://host:port`, tried in order.
    pub addresses: Vec<String>,
    /// Certificate authority of the console; the system's when absent.
    pub ca: Option<PathBuf>,
    pub credential: Credential,
}

/// How to be let in.
#[derive(Clone)]
pub enum Credential {
    /// Log in with user and password.
    Password { user: String, password: String },
    /// A session or an API token.
    Bearer(String),
}

/// The part of `dev.json` that this command line uses.
#[derive(Deserialize)]
pub struct DevFile {
    pub nodes: Vec<DevNode>,
    pub kv: DevKv,
    console: DevConsole,
}

/// One node's addresses.
#[derive(Deserialize)]
pub struct DevNode {
    pub kv: String,
    console: String,
}

/// Users and certificates of the KV endpoint.
#[derive(Deserialize)]
pub struct DevKv {
    pub root: DevUser,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// A user with its password.
#[derive(Deserialize)]
pub struct DevUser {
    pub user: String,
    pub password: String,
}

#[derive(Deserialize)]
struct DevConsole {
    user: String,
    password: String,
    ca: PathBuf,
}

/// Contexts of `quorate login`.
#[derive(Default, Serialize, Deserialize)]
pub struct Contexts {
    /// The one used when none is named.
    pub current: String,
    pub contexts: BTreeMap<String, Context>,
}

/// One cluster that somebody logged in to.
#[derive(Serialize, Deserialize)]
pub struct Context {
    pub addresses: Vec<String>,
    pub ca: Option<PathBuf>,
    pub session: String,
}

impl Target {
    /// Finds the target that the options name.
    pub fn find(options: &Options) -> Result<Self, Failure> {
        if let Some(file) = &options.cluster {
            let dev = read_dev_file(file)?;
            return Ok(Self {
                addresses: dev.nodes.into_iter().map(|node| node.console).collect(),
                ca: Some(dev.console.ca),
                credential: Credential::Password {
                    user: dev.console.user,
                    password: dev.console.password,
                },
            });
        }
        let mut known = Contexts::load()?;
        let name = options.context.as_ref().unwrap_or(&known.current);
        if let Some(context) = known.contexts.remove(&name.clone()) {
            return Ok(Self {
                addresses: context.addresses,
                ca: context.ca,
                credential: Credential::Bearer(context.session),
            });
        }
        if let Some(name) = &options.context {
            return Err(usage(format!(
                "there is no context `{name}`; make it with `quorate login --context {name}`"
            )));
        }
        Self::from_environment()
    }

    fn from_environment() -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (Some(addresses), Some(token)) = (variable("QUORATE_ADDRESS"), variable("QUORATE_TOKEN")) else {
            let text =
                "which cluster? give --cluster dev.json, or `quorate login`, or set QUORATE_ADDRESS and QUORATE_TOKEN";
            return Err(usage(text.to_owned()));
        };
        Ok(Self {
            addresses: addresses.split(',').map(|address| address.trim().to_owned()).collect(),
            ca: variable("QUORATE_CA").map(PathBuf::from),
            credential: Credential::Bearer(token),
        })
    }
}

fn usage(text: String) -> Failure {
    Failure::new(Code::Usage, text)
}

/// Reads a `dev.json`.
pub fn read_dev_file(path: &Path) -> Result<DevFile, Failure> {
    let text = std::fs::read(path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
    serde_json::from_slice(&text).map_err(|error| usage(format!("{}: {error}", path.display())))
}

impl Contexts {
    /// Reads the file; an absent one is empty.
    pub fn load() -> Result<Self, Failure> {
        let Some(path) = Self::path() else {
            return Ok(Self::default());
        };
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| usage(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(usage(format!("{}: {error}", path.display()))),
        }
    }

    /// Replaces the file, readable by its owner alone.
    pub fn save(&self) -> Result<(), Failure> {
        let text = "neither XDG_CONFIG_HOME nor HOME is set, so there is no place for contexts";
        let path = Self::path().ok_or_else(|| usage(text.to_owned()))?;
        let written = self.write(&path);
        written.map_err(|error| Failure::new(Code::Refused, format!("{}: {error}", path.display())))
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)?;
        let fresh = directory.join(format!("contexts.{}.new", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    }

    fn path() -> Option<PathBuf> {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let base = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")))?;
        Some(base.join("quorate").join("contexts.json"))
    }
}
