//! `cargo xtask fuzz`: the targets of `chaos/fuzz`, each for some minutes.
//!
//! They are built by the compiler of the project, without a sanitizer: coverage alone needs no nightly compiler, and the
//! workspace has no unsafe code of its own. The corpus stays in the cache, so that each run goes on where the last one was.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::rocksdb::{self, cache_directory};
use crate::setup;
use crate::steps::{root, run, step};

/// Every target, those of the pure crates first.
const TARGETS: [&str; 7] = [
    "kv_operations",
    "kv_snapshot",
    "proposals",
    "log_records",
    "peer_messages",
    "gateway_bodies",
    "door",
];
/// Memory of one target before it counts as a crash, in MiB.
const MEMORY_LIMIT_MIB: u32 = 2_048;
/// One input may take so long before it counts as a hang, in seconds.
const INPUT_TIMEOUT_SECONDS: u32 = 20;

/// Runs targets (all, if none is named), each for `minutes`; the first crash ends it and names its input.
pub fn fuzz(minutes: u32, targets: &[String]) -> Result<()> {
    if let Some(unknown) = targets.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!("there is no target {unknown}; there are {}", TARGETS.join(", "));
    }
    step("setup", || setup::run(false))?;
    let tool = step("cargo-fuzz", cargo_fuzz)?;
    let chosen = TARGETS
        .into_iter()
        .filter(|name| targets.is_empty() || targets.iter().any(|wanted| wanted == name));
    for target in chosen {
        step(target, || run_target(&tool, target, minutes))?;
    }
    Ok(())
}

/// cargo-fuzz from the cache, installed there if it is missing.
fn cargo_fuzz() -> Result<PathBuf> {
    let home = cache_directory().join("cargo-fuzz");
    let tool = home.join("bin/cargo-fuzz");
    if !tool.is_file() {
        run(Command::new("cargo")
            .args(["install", "--quiet", "--locked", "cargo-fuzz", "--root"])
            .arg(&home))?;
    }
    Ok(tool)
}

fn run_target(tool: &std::path::Path, target: &str, minutes: u32) -> Result<()> {
    let cache = cache_directory().join("fuzz");
    let corpus = cache.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let mut command = Command::new(tool);
    command
        .current_dir(root().join("chaos/fuzz"))
        // Both are those of the crate that this runs in; the targets have a lock file and a directory of their own.
        .env_remove("CARGO")
        .env_remove("CARGO_TARGET_DIR")
        .args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir", ".", "--target-dir"])
        .arg(cache.join("target"))
        .arg(target)
        .arg(&corpus)
        .arg("--")
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"))
        .arg(format!("-timeout={INPUT_TIMEOUT_SECONDS}"))
        .arg("-print_final_stats=1");
    if let Some(directory) = rocksdb::cached()? {
        command.env("ROCKSDB_LIB_DIR", directory).env("ROCKSDB_STATIC", "1");
    }
    run(&mut command)
        .with_context(|| format!("{target} found something; its input is in chaos/fuzz/artifacts/{target}"))
}
