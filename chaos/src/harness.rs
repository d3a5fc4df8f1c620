//! What the process tests share: a cluster in a directory of its own, named steps with a bound and their times, waits for
//! conditions, and everything kept for examination when a step fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::cluster::{DevCluster, binary, tail};
use crate::kv;
use crate::ports;
use crate::scenario::{Stage, Timing};
use crate::watcher::{SeenEvent, Watcher};

/// A cluster and the directory that it lives in.
#[derive(Debug)]
pub struct Harness {
    pub cluster: DevCluster,
    /// Holds the cluster below `cluster`, servers below `databases`.
    pub directory: TempDir,
}

/// Bound of one step: far above what any takes, so that a hang is told as one.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
const WATCH_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// The appliance's own lines are what a failure is read from.
const LOG_FLAGS: [&str; 2] = ["--log-filter", "info,openraft=warn"];
/// A line of a log in an error's text.
const LINE_CHARACTERS: usize = 240;

impl Harness {
    /// Starts three nodes with the launcher's flags `extra`, at a port offset of their own.
    pub async fn start(extra: &[&str]) -> Result<Self> {
        Self::start_with(extra, &[]).await
    }

    /// The same with settings of the nodes as environment variables.
    pub async fn start_with(extra: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::Builder::new().prefix("quorate-test-").tempdir()?;
        // Database servers run as an ordinary user and must be able to search it.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
        std::fs::create_dir_all(directory.path().join("databases"))?;
        // An error means that another test of this process has done it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let started = Instant::now();
        let flags: Vec<&str> = LOG_FLAGS.iter().chain(extra).copied().collect();
        let (program, folder) = (binary()?, directory.path().join("cluster"));
        let cluster = DevCluster::start_with(&program, &folder, ports::take()?, &flags, environment).await?;
        println!("three nodes serve after {:.1} s", started.elapsed().as_secs_f64());
        Ok(Self { cluster, directory })
    }

    /// A real MariaDB pair with application, monitor and connection pool.
    pub async fn stage(&self, timing: Timing) -> Result<Stage> {
        Stage::build(&self.cluster, &self.directory.path().join("databases"), timing).await
    }

    /// A watcher of everything below `/mas-monitor/` on every node, from the first revision on.
    pub async fn watch_monitors(&self) -> Result<Vec<(String, Watcher)>> {
        let mut watchers = Vec::new();
        for node in &self.cluster.info.nodes {
            let watcher = Watcher::start(kv::as_sdk(&self.cluster.info, &node.kv)?, "/mas-monitor/", 1);
            let watching = watcher.wait_watching(WATCH_TIMEOUT).await;
            watching.with_context(|| format!("watch on {}", node.name))?;
            watchers.push((node.name.clone(), watcher));
        }
        Ok(watchers)
    }

    /// Runs a test on the cluster and stops the cluster in order; on failure the nodes' last lines are told and the
    /// directory is kept.
    pub async fn run(mut self, test: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let outcome = test(&mut self).await;
        let Self { cluster, directory } = self;
        match outcome {
            Ok(()) => step("an orderly stop", cluster.stop()).await,
            Err(error) => {
                let mut logs = String::new();
                for node in &cluster.info.nodes {
                    logs.push_str(&format!("{}:\n", node.name));
                    for line in tail(&node.log).lines() {
                        logs.extend(line.chars().take(LINE_CHARACTERS).chain(['\n']));
                    }
                }
                drop(cluster);
                let kept = directory.keep();
                Err(error.context(format!("{logs}all files are kept in {}", kept.display())))
            }
        }
    }
}

/// One step of a test: bounded, timed, named in its error.
pub async fn step<T>(name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let started = Instant::now();
    let outcome = tokio::time::timeout(STEP_TIMEOUT, work).await;
    let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("no end after {STEP_TIMEOUT:?}")));
    let result = if outcome.is_ok() { "holds" } else { "FAILED" };
    println!("{name}: {result}, {:.1} s", started.elapsed().as_secs_f64());
    outcome.with_context(|| format!("step `{name}`"))
}

/// Asks again until there is an answer; an error counts as none until the time is over.
pub async fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let answer = ask().await;
        if let Ok(Some(answer)) = answer {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            let last = answer.err().unwrap_or_else(|| anyhow!("the condition does not hold"));
            return Err(last.context(format!("{what}: not within {timeout:?}")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Observes for the whole `window` that a condition keeps holding: `check` fails when it does not.
pub async fn throughout(what: &str, window: Duration, mut check: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + window;
    while Instant::now() < end {
        check().await.with_context(|| what.to_owned())?;
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Waits until every watcher has seen the monitor's `active` become `to` at or after `revision`.
pub async fn all_see_active(
    watchers: &[(String, Watcher)],
    monitor: &str,
    to: &str,
    revision: i64,
    timeout: Duration,
) -> Result<()> {
    for (name, watcher) in watchers {
        let seen = watcher.wait_for(timeout, |event| {
            event.revision >= revision && is_active_of(event, monitor) && event.value.as_deref() == Some(to)
        });
        seen.await.with_context(|| format!("{name} waits for {to}"))?;
    }
    Ok(())
}

/// Whether an event is of the monitor's `active` key.
pub fn is_active_of(event: &SeenEvent, monitor: &str) -> bool {
    event.key.ends_with("/active") && event.key.contains(&format!("/{monitor}/"))
}

/// The events of one monitor alone.
pub fn events_of(watcher: &Watcher, monitor: &str) -> Vec<SeenEvent> {
    let mut events = watcher.record().events;
    events.retain(|event| event.key.contains(&format!("/{monitor}/")));
    events
}

/// An error that lists violations, if there are any.
pub fn no_violations(violations: &[String]) -> Result<()> {
    if !violations.is_empty() {
        bail!("{} violations: {}", violations.len(), violations.join("; "));
    }
    Ok(())
}
