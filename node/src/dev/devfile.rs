//! `dev.json`: what everything that drives a development cluster reads.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::identity::write_atomically;

/// Contents of `dev.json`, version 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DevFile {
    pub version: u32,
    pub nodes: Vec<DevNode>,
    pub kv: DevKv,
    pub console: DevConsole,
    /// Id of the first instance.
    pub instance: String,
    /// Control address of the fault proxy (`http://` is spoken there); absent without `--faults`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<String>,
}

/// One node's process and addresses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DevNode {
    pub id: u64,
    pub name: String,
    pub zone: String,
    /// Process id; 0 while the process does not run.
    pub pid: u32,
    /// How the process was started: run the same to start it again.
    pub argv: Vec<String>,
    pub data_dir: PathBuf,
    pub kv: String,
    pub peer: String,
    pub console: String,
    /// File that the node's log lines (JSON) go to.
    pub log: PathBuf,
}

/// Users and certificates of the KV endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DevKv {
    pub root: DevUser,
    pub sdk: DevUser,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// The console's root user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DevConsole {
    pub user: String,
    pub password: String,
    pub ca: PathBuf,
}

/// A user with its password.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DevUser {
    pub user: String,
    pub password: String,
}

impl DevFile {
    /// Version of the format.
    pub const VERSION: u32 = 1;

    /// Replaces the file at `path` (0600): a reader sees the old or the new one.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self).expect("plain fields become JSON");
        json.push(b'\n');
        write_atomically(path, &json)
    }
}
