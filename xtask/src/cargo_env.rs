//! cargo, called with what this project's build wants.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::rocksdb;
use crate::steps::{output, root};

/// A cargo command in the workspace that links the cached RocksDB.
pub fn cargo() -> Result<Command> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    if let Some(directory) = rocksdb::cached()? {
        command.env("ROCKSDB_LIB_DIR", directory).env("ROCKSDB_STATIC", "1");
    }
    Ok(command)
}

/// `cargo metadata` of the workspace, dependencies included.
pub fn metadata() -> Result<serde_json::Value> {
    let text = output(cargo()?.args(["metadata", "--format-version", "1", "--locked"]))?;
    serde_json::from_str(&text).context("cargo metadata")
}

/// The target directory in use.
pub fn target_directory() -> Result<PathBuf> {
    let text = output(cargo()?.args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    Ok(PathBuf::from(
        value["target_directory"]
            .as_str()
            .context("cargo metadata names no target directory")?,
    ))
}
