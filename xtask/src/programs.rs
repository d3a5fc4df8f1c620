//! `cargo xtask demo`, `faults`, `bench`, `sdk-trial`, `codegen`: prepare, build, then hand over to the program that does it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cargo_env::{cargo, target_directory};
use crate::servers;
use crate::setup;
use crate::steps::{run, step};

/// The demonstration: see `chaos/src/bin/quorate-demo.rs`.
pub fn demo(arguments: &[String]) -> Result<ExitCode> {
    println!("Quorate: three nodes fail a real database over.");
    println!(
        "Setup and build come first; on a machine with nothing cached that is about 20 minutes, later runs take seconds."
    );
    step("setup", || setup::run(false))?;
    let unpacked = ["--all", "mongodb", "elasticsearch"];
    if arguments.iter().any(|argument| unpacked.contains(&argument.as_str())) {
        step("servers", servers::install)?;
    }
    let directory = step("build", || build("dev", "quorate-demo"))?;
    let mut command = Command::new(directory.join("quorate-demo"));
    command.arg("--quorate").arg(directory.join("quorate"));
    hand_over(command.args(arguments))
}

/// The list of faults, in the development profile: see `chaos/src/bin/quorate-faults.rs`.
pub fn faults(arguments: &[String]) -> Result<ExitCode> {
    step("setup", || setup::run(false))?;
    step("servers", servers::install)?;
    let directory = step("build", || build("dev", "quorate-faults"))?;
    let mut command = Command::new(directory.join("quorate-faults"));
    command.arg("--quorate").arg(directory.join("quorate")).args(arguments);
    hand_over(&mut command)
}

/// Measurements, in the release profile: see `chaos/src/bin/quorate-bench.rs`.
pub fn bench(arguments: &[String]) -> Result<ExitCode> {
    step("setup", || setup::run(true))?;
    let directory = step("build", || build("release", "quorate-bench"))?;
    let mut command = Command::new(directory.join("quorate-bench"));
    command
        .arg("--quorate")
        .arg(directory.join("quorate"))
        .arg("--etcd")
        .arg(setup::etcd_directory())
        .args(arguments);
    hand_over(&mut command)
}

/// The KV beside real etcd, in the release profile: see `chaos/src/bin/quorate-differential.rs`.
pub fn differential(arguments: &[String]) -> Result<ExitCode> {
    step("setup", || setup::run(true))?;
    let directory = step("build", || build("release", "quorate-differential"))?;
    let mut command = Command::new(directory.join("quorate-differential"));
    command
        .arg("--quorate")
        .arg(directory.join("quorate"))
        .arg("--etcd")
        .arg(setup::etcd_directory())
        .args(arguments);
    hand_over(&mut command)
}

/// The trial of an unmodified Go SDK: see `chaos/src/bin/quorate-sdk-trial.rs`.
pub fn sdk_trial(sdk: &Path, mutual_tls: bool, database: &str) -> Result<ExitCode> {
    // Said before anything is built: a wrong path is the commonest mistake.
    let sdk = sdk.canonicalize().with_context(|| format!("--sdk {}", sdk.display()))?;
    step("setup", || setup::run(false))?;
    let go = setup::go()?;
    let directory = step("build", || build("dev", "quorate-sdk-trial"))?;
    let mut command = Command::new(directory.join("quorate-sdk-trial"));
    command.arg("--quorate").arg(directory.join("quorate"));
    command.arg("--sdk").arg(sdk).arg("--go").arg(go);
    command.args(["--database", database]);
    if mutual_tls {
        command.arg("--mutual-tls");
    }
    hand_over(&mut command)
}

/// Public clients of etcd, in the development profile: see `chaos/src/bin/quorate-suites.rs`.
pub fn suites(arguments: &[String]) -> Result<ExitCode> {
    step("setup", || setup::run(true))?;
    let go = setup::go()?;
    let directory = step("build", || build("dev", "quorate-suites"))?;
    let mut command = Command::new(directory.join("quorate-suites"));
    command
        .arg("--quorate")
        .arg(directory.join("quorate"))
        .arg("--etcd")
        .arg(setup::etcd_directory())
        .arg("--go")
        .arg(go)
        .args(arguments);
    hand_over(&mut command)
}

/// Writes the generated protobuf code anew.
pub fn codegen() -> Result<()> {
    step("codegen", || {
        run(cargo()?.args([
            "run",
            "--quiet",
            "--package",
            "quorate-etcd-api",
            "--example",
            "codegen",
        ]))
    })
}

fn build(profile: &str, program: &str) -> Result<PathBuf> {
    let started = Instant::now();
    let mut command = cargo()?;
    command.args([
        "build",
        "--locked",
        "--profile",
        profile,
        "--package",
        "quorate",
        "--package",
        "quorate-chaos",
    ]);
    run(command.args(["--bin", "quorate", "--bin", program]))?;
    println!("    built in {} s", started.elapsed().as_secs());
    Ok(target_directory()?.join(if profile == "dev" { "debug" } else { profile }))
}

/// Becomes the program, so that Ctrl-C reaches it alone and the prompt comes back when it has stopped what it started.
fn hand_over(command: &mut Command) -> Result<ExitCode> {
    let refused = command.exec();
    Err(refused).with_context(|| format!("cannot start {command:?}"))
}
