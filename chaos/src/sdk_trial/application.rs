//! The trial's application: built from `chaos/sdk-trial` against an SDK checkout, run as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::record::{Line, Record};

/// The module that the application imports.
const SDK_MODULE: &str = "github.com/huaweicloud/devcloud-go";
/// Sources of the application, beside this crate's own.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk-trial");
const BUILD_TIMEOUT: Duration = Duration::from_secs(900);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of standard error that are kept: a Go panic with its stack.
const MAX_ERROR_LINES: usize = 40;

/// Builds `package` (`mysql`, `redis`) of the application in `directory`; the SDK checkout itself is only read.
///
/// # Errors
/// `sdk` is no checkout of the SDK, or Go cannot build it.
pub async fn build(go: &Path, sdk: &Path, directory: &Path, package: &str) -> Result<PathBuf> {
    let sdk = sdk.canonicalize().with_context(|| format!("{}", sdk.display()))?;
    let module = std::fs::read_to_string(sdk.join("go.mod"));
    if !module.is_ok_and(|text| text.contains(SDK_MODULE)) {
        bail!(
            "{} is no checkout of {SDK_MODULE}: it has no go.mod of it",
            sdk.display()
        );
    }
    std::fs::create_dir_all(directory.join(package))?;
    for file in ["go.mod".to_owned(), format!("{package}/main.go")] {
        std::fs::copy(Path::new(SOURCES).join(&file), directory.join(&file)).with_context(|| file)?;
    }
    let program = directory.join(format!("sdk-trial-{package}"));
    let replacement = format!("-replace={SDK_MODULE}={}", sdk.display());
    go_command(go, directory, &["mod", "edit", &replacement]).await?;
    let target = program.display().to_string();
    go_command(go, directory, &["build", "-o", &target, &format!("./{package}")]).await?;
    Ok(program)
}

async fn go_command(go: &Path, directory: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(go);
    command
        .current_dir(directory)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // The copy's go.mod and go.sum are completed as Go sees fit; nothing of the checkout is written.
    command.env("GOFLAGS", "-mod=mod").env("GOWORK", "off");
    let output = tokio::time::timeout(BUILD_TIMEOUT, command.output())
        .await
        .with_context(|| format!("go {arguments:?}: no end after {BUILD_TIMEOUT:?}"))?
        .with_context(|| format!("cannot start {}", go.display()))?;
    if !output.status.success() {
        bail!("go {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// One running application process. Dropping it kills the process.
#[derive(Debug)]
pub struct Application {
    pub name: String,
    record: Arc<Mutex<Record>>,
    errors: Arc<Mutex<Vec<String>>>,
    child: Child,
    /// The process ends when this is closed.
    input: Option<ChildStdin>,
}

impl Application {
    /// Starts `program` in `directory`, where `configuration` and its certificate files lie, with `environment` added.
    pub fn start(
        program: &Path,
        directory: &Path,
        configuration: &str,
        name: &str,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["-configuration", configuration, "-name", name])
            .current_dir(directory)
            // The SDK keeps a copy of what it read below the home directory.
            .env("HOME", directory)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (record, errors) = (Arc::<Mutex<Record>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let told = record.clone();
        read_lines(child.stdout.take().context("stdout")?, move |text| {
            if let Ok(line) = serde_json::from_str::<Line>(&text) {
                told.lock().expect("not poisoned").take(line);
            }
        });
        let complained = errors.clone();
        read_lines(child.stderr.take().context("stderr")?, move |text| {
            let mut lines = complained.lock().expect("not poisoned");
            if lines.len() < MAX_ERROR_LINES {
                lines.push(text);
            }
        });
        let input = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            record,
            errors,
            child,
            input,
        })
    }

    /// What it has told so far.
    pub fn record(&self) -> Record {
        self.record.lock().expect("not poisoned").clone()
    }

    /// Looks into the record without a copy of it.
    pub fn look<T>(&self, at: impl FnOnce(&Record) -> T) -> T {
        at(&self.record.lock().expect("not poisoned"))
    }

    /// Fails if the process has ended by itself, with what it wrote to standard error.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "the application process {} crashed ({status}):\n{}",
                self.name,
                self.error_text()
            );
        }
        Ok(())
    }

    /// Ends the process in order; anything but exit code 0 is an error.
    pub async fn finish(mut self) -> Result<Record> {
        self.check_alive()?;
        drop(self.input.take());
        let status = tokio::time::timeout(STOP_TIMEOUT, self.child.wait())
            .await
            .context("the application process did not end")??;
        if !status.success() {
            bail!(
                "the application process {} ended with {status}:\n{}",
                self.name,
                self.error_text()
            );
        }
        Ok(self.record())
    }

    fn error_text(&self) -> String {
        self.errors.lock().expect("not poisoned").join("\n")
    }
}

fn read_lines(from: impl AsyncRead + Unpin + Send + 'static, mut take: impl FnMut(String) + Send + 'static) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(text)) = lines.next_line().await {
            take(text);
        }
    });
}
