//! Where foreign packages live, and how they are fetched: outside the checkout, by the registries' own clients.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Bound of one download or build.
const FETCH_TIMEOUT: Duration = Duration::from_secs(900);
/// Bound of one run of a suite.
const RUN_TIMEOUT: Duration = Duration::from_secs(600);

/// A directory for packages that are fetched once.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The `suites` directory of the cache that `cargo xtask setup` fills.
    ///
    /// # Errors
    ///
    /// If neither `XDG_CACHE_HOME` nor `HOME` is set, or the directory cannot be made.
    pub fn open() -> Result<Self> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let root = cache.context("HOME is not set")?.join("quorate/suites");
        std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        Ok(Self { root })
    }

    /// A path in the cache.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A Python environment of an interpreter with packages of PyPI (or files); made anew when what is wanted changed.
    pub(super) async fn python(&self, interpreter: &str, name: &str, packages: &[&str]) -> Result<PathBuf> {
        let environment = self.path(name);
        let wanted = packages.join("\n");
        let note = environment.join("packages");
        if std::fs::read_to_string(&note).is_ok_and(|found| found == wanted) {
            return Ok(environment);
        }
        fetch(
            Command::new(interpreter)
                .args(["-m", "venv", "--clear"])
                .arg(&environment),
        )
        .await?;
        let mut install = Command::new(environment.join("bin/pip"));
        fetch(
            install
                .args(["install", "--quiet"])
                .args(packages)
                .current_dir(&self.root),
        )
        .await?;
        std::fs::write(note, wanted)?;
        Ok(environment)
    }
}

/// Runs a program that fetches or builds; an exit code other than 0 is an error with what it said.
pub(super) async fn fetch(command: &mut Command) -> Result<Output> {
    let output = bounded(command, FETCH_TIMEOUT).await?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.as_std(), text(&output.stderr));
    }
    Ok(output)
}

/// Runs a suite; its exit code says no more than its output.
pub(super) async fn run(command: &mut Command) -> Result<Output> {
    run_for(command, RUN_TIMEOUT).await
}

/// The same with a bound of its own.
pub(super) async fn run_for(command: &mut Command, limit: Duration) -> Result<Output> {
    bounded(command, limit).await
}

async fn bounded(command: &mut Command, limit: Duration) -> Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output()).await;
    let output = output.with_context(|| format!("{:?} takes longer than {limit:?}", command.as_std()))?;
    output.with_context(|| format!("{:?} cannot be started", command.as_std()))
}

/// Output as text.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Keeps the output of the last run, for whoever looks for the reason of a failure.
pub(super) fn keep(path: &Path, output: &Output) -> Result<()> {
    keep_text(path, &[output.stdout.as_slice(), output.stderr.as_slice()].concat())
}

/// The same for what several programs said.
pub(super) fn keep_text(path: &Path, said: &[u8]) -> Result<()> {
    std::fs::write(path, said).with_context(|| format!("writing {}", path.display()))
}
