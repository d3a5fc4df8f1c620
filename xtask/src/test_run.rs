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

/// Builds `quorate` in the development profile as the tests of its package want it, and gives its path.
///
/// A build of the package alone would have its dependencies with fewer features than the tests of the whole workspace: all of
/// them would be built twice.
fn build_appliance() -> Result<std::path::PathBuf> {
    run_command(cargo()?.args([
        "test",
        "--workspace",
        "--locked",
        "--no-run",
        "--test",
        TEST_OF_ITS_PACKAGE,
    ]))?;
    Ok(target_directory()?.join("debug/quorate"))
}

/// cargo builds the programs of a package for its integration tests; this is a small one.
const TEST_OF_ITS_PACKAGE: &str = "config";
