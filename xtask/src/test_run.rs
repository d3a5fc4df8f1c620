//! `cargo xtask test`: the workspace's tests, with the appliance built first for those that start it.

use anyhow::{Result, bail};

use crate::cargo_env::{cargo, target_directory};
use crate::steps::run as run_command;

/// Servers that a test may need and that can be left out by name.
const SERVERS: &[&str] = &["mariadb"];

/// Runs the tests. `without` names servers to leave out; `arguments` go to `cargo test`.
pub fn run(without: &[String], arguments: &[String]) -> Result<()> {
    for name in without {
        if !SERVERS.contains(&name.as_str()) {
            bail!("no test needs a server called {name}; known: {}", SERVERS.join(", "));
        }
        println!("    leaving out every test that needs {name}");
    }
    let binary = build_appliance()?;
    let mut command = cargo()?;
    command
        .args(["test", "--workspace", "--locked"])
        .env("QUORATE_BINARY", binary);
    if !without.is_empty() {
        command.env("QUORATE_TEST_WITHOUT", without.join(","));
    }
    run_command(command.args(arguments))
}

/// Builds `quorate` in the development profile and gives its path.
pub fn build_appliance() -> Result<std::path::PathBuf> {
    run_command(cargo()?.args(["build", "--package", "quorate", "--bin", "quorate", "--locked"]))?;
    Ok(target_directory()?.join("debug/quorate"))
}
