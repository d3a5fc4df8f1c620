//! `cargo xtask test`: the workspace's tests, with the appliance built first for those that start it.

use anyhow::Result;

use crate::cargo_env::{cargo, target_directory};
use crate::steps::run as run_command;

/// Runs the tests; `arguments` go to `cargo test`.
pub fn run(arguments: &[String]) -> Result<()> {
    let binary = build_appliance()?;
    let mut command = cargo()?;
    command
        .args(["test", "--workspace", "--locked"])
        .env("QUORATE_BINARY", binary);
    run_command(command.args(arguments))
}

/// Builds `quorate` in the development profile and gives its path.
pub fn build_appliance() -> Result<std::path::PathBuf> {
    run_command(cargo()?.args(["build", "--package", "quorate", "--bin", "quorate", "--locked"]))?;
    Ok(target_directory()?.join("debug/quorate"))
}
