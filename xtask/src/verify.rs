//! `cargo xtask verify`: everything that must hold, in the order in which a failure is cheapest to learn of.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo_env::cargo;
use crate::steps::{run as run_command, step};
use crate::{boundaries, licences, programs, setup, sizes, test_run};

/// Operations that each verification gives to real etcd and to Quorate, with a seed of its own.
const DIFFERENTIAL_OPERATIONS: usize = 100_000;

/// Runs every check; the first that fails ends it.
pub fn run() -> Result<()> {
    step("setup", || setup::run(true))?;
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
    step("the KV beside real etcd", || {
        let code = programs::differential(&["--operations".to_owned(), DIFFERENTIAL_OPERATIONS.to_string()])?;
        anyhow::ensure!(code == ExitCode::SUCCESS, "the answers differ from etcd's");
        Ok(())
    })?;
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
