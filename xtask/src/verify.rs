//! `cargo xtask verify`: everything that must hold, in the order in which a failure is cheapest to learn of.

use anyhow::Result;

use crate::cargo_env::cargo;
use crate::steps::{run as run_command, step};
use crate::{boundaries, licences, servers, setup, sizes, test_run};

/// Runs every check; the first that fails ends it.
pub fn run() -> Result<()> {
    step("setup", || setup::run(true).and_then(|()| servers::install()))?;
    source_checks()?;
    step("lints", || {
        run_command(cargo()?.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    step("tests", || test_run::run(&[]))?;
    step("docs", || {
        let mut command = cargo()?;
        command
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings");
        run_command(&mut command)
    })?;
    println!("==> everything holds");
    Ok(())
}

/// What reads the source only.
pub fn source_checks() -> Result<()> {
    step("house rules", sizes::check)?;
    step("boundaries", boundaries::check)?;
    step("licences", licences::check)?;
    step("format", || run_command(cargo()?.args(["fmt", "--all", "--check"])))
}
