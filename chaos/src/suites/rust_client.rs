//! The Rust crate `etcd-client` with the tests of its source package.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::cache::{Cache, fetch, keep, run, text};
use super::{FIRST_CLIENT_PORT, Members, Verdicts};

/// The version whose tests are run.
const VERSION: &str = "0.21.1";
/// The endpoint that its tests name.
const THEIR_ENDPOINT: &str = "localhost:2379";
/// The password of `root` in its tests.
const ROOT_PASSWORD: &str = "rootpwd";
/// A test for a cluster that somebody adds a member to meanwhile.
const NEEDS_A_FOURTH_MEMBER: &str = "test_cluster";
/// Test programs that talk to a server.
const PROGRAMS: [&str; 2] = ["client", "namespace"];

/// The crate's source, built for our endpoint.
pub(super) struct RustClient {
    source: PathBuf,
    target: PathBuf,
    protoc: PathBuf,
    log: PathBuf,
}

impl RustClient {
    /// Fetches the package by cargo and builds its tests.
    pub(super) async fn prepare(cache: &Cache) -> Result<Self> {
        let source = cache.path(&format!("etcd-client-{VERSION}-at-{FIRST_CLIENT_PORT}"));
        if !source.join("Cargo.toml").is_file() {
            let package = locate(cache).await?;
            let unfinished = source.with_extension("unfinished");
            let copied = Command::new("cp")
                .arg("-r")
                .arg(&package)
                .arg(&unfinished)
                .status()
                .await?;
            ensure!(copied.success(), "{} cannot be copied", package.display());
            let testing = unfinished.join("tests/testing.rs");
            let ours = format!("127.0.0.1:{FIRST_CLIENT_PORT}");
            let found = std::fs::read_to_string(&testing)?;
            ensure!(
                found.contains(THEIR_ENDPOINT),
                "the tests name another endpoint than they did"
            );
            std::fs::write(&testing, found.replace(THEIR_ENDPOINT, &ours))?;
            std::fs::rename(&unfinished, &source)?;
        }
        let client = Self {
            source,
            target: cache.path("target"),
            protoc: protoc(cache).await?,
            log: cache.path("rust.log"),
        };
        fetch(client.cargo().args(["test", "--no-run", "--quiet"])).await?;
        Ok(client)
    }

    fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        command
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("PROTOC", &self.protoc);
        command
    }

    /// Runs the tests as they are meant to be run: with a user that some of them expect, and those for etcd 3.7 as well. Tests
    /// that disturb each other say so themselves.
    pub(super) async fn run(&self, members: &Members) -> Result<Verdicts> {
        members.add_root(ROOT_PASSWORD).await?;
        let mut verdicts = Verdicts::new();
        for program in PROGRAMS {
            let mut command = self.cargo();
            command.args(["test", "--quiet", "--no-fail-fast", "--test", program, "--"]);
            command.args(["--format", "pretty", "--test-threads", "4", "--include-ignored"]);
            let output = run(command.args(["--skip", NEEDS_A_FOURTH_MEMBER])).await?;
            keep(&self.log.with_extension(format!("{program}.log")), &output)?;
            verdicts.extend(read(&text(&output.stdout)));
        }
        Ok(verdicts)
    }
}

/// The protobuf compiler that the package's build script calls, from PyPI's `grpcio-tools`: it needs no root.
async fn protoc(cache: &Cache) -> Result<PathBuf> {
    let environment = cache.python("python3", "python-protoc", &["grpcio-tools"]).await?;
    let script = environment.join("protoc");
    let text = format!(
        "#!/bin/sh\nexec {} -m grpc_tools.protoc \"$@\"\n",
        environment.join("bin/python").display()
    );
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(script)
}

/// Has cargo fetch the package and tell where it is.
async fn locate(cache: &Cache) -> Result<PathBuf> {
    let project = cache.path("fetch-etcd-client");
    std::fs::create_dir_all(project.join("src"))?;
    std::fs::write(project.join("src/lib.rs"), "")?;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[dependencies]\netcd-client = \"={VERSION}\"\n\n[workspace]\n"
    );
    std::fs::write(project.join("Cargo.toml"), manifest)?;
    let output = fetch(
        Command::new("cargo")
            .args(["metadata", "--format-version", "1"])
            .current_dir(&project),
    )
    .await?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata without packages")?;
    let package = packages.iter().find(|package| package["name"] == "etcd-client");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.context("cargo metadata does not tell where etcd-client is")?);
    manifest
        .parent()
        .map(Path::to_path_buf)
        .context("a manifest without a directory")
}

/// Reads the lines of Rust's test programs: `test NAME ... ok`. What a test prints may stand between.
fn read(output: &str) -> Verdicts {
    let verdict = |line: &str| {
        let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let passed = match verdict.trim() {
            "ok" => true,
            "FAILED" => false,
            _ => return None,
        };
        Some((name.to_owned(), passed))
    };
    output.lines().filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn verdicts_are_read_from_between_other_lines() {
        let output = "\nrunning 3 tests\ntest test_put ... ok\nnoise\ntest test_move_leader ... FAILED\ntest x ... ignored\n\ntest result: FAILED. 1 passed\n";
        let verdicts: Vec<_> = read(output).into_iter().collect();
        assert_eq!(
            verdicts,
            [("test_move_leader".to_owned(), false), ("test_put".to_owned(), true)]
        );
    }
}
