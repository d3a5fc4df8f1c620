//! Python's `etcd3gw`, which speaks to the JSON gateway, with the tests of its source package.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::cache::{Cache, fetch, keep, run, text};
use super::{FIRST_CLIENT_PORT, Members, Verdicts};

/// The version whose tests are run.
const VERSION: &str = "2.7.0";

/// A Python environment with the package from its source and what its tests need.
pub(super) struct PythonGateway {
    environment: PathBuf,
    log: PathBuf,
}

impl PythonGateway {
    /// Fetches the source package by pip and installs it.
    pub(super) async fn prepare(cache: &Cache) -> Result<Self> {
        let name = format!("etcd3gw-{VERSION}.tar.gz");
        let package = cache.path(&name);
        if !package.is_file() {
            let mut pip = Command::new("python3");
            pip.args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--no-binary",
                "etcd3gw",
            ]);
            pip.arg(format!("etcd3gw=={VERSION}")).arg("-d").arg(cache.path(""));
            fetch(&mut pip).await?;
        }
        let package = package.to_str().context("a path that is no UTF-8")?.to_owned();
        let environment = cache
            .python("python3", "python-etcd3gw", &["pytest", "oslotest", &package])
            .await?;
        let log = cache.path("python.log");
        Ok(Self { environment, log })
    }

    /// Runs the tests against the first member.
    pub(super) async fn run(&self, members: &Members) -> Result<Verdicts> {
        let address = &members.clients()[0];
        let mut pytest = Command::new(self.environment.join("bin/python"));
        pytest
            .args([
                "-m",
                "pytest",
                "--pyargs",
                "etcd3gw.tests",
                "-rA",
                "-q",
                "-p",
                "no:cacheprovider",
            ])
            .current_dir(members.directory())
            .env("TOOZ_TEST_HTTP_URL", format!("http://{address}"))
            .env("TOOZ_TEST_ETCD_PORT", FIRST_CLIENT_PORT.to_string());
        let output = run(&mut pytest).await?;
        keep(&self.log, &output)?;
        Ok(read(&text(&output.stdout)))
    }
}

/// Reads pytest's summary: `PASSED path::Class::test`. A skipped test says nothing of a server.
fn read(output: &str) -> Verdicts {
    let verdict = |line: &str| {
        let (verdict, test) = line.split_once(' ')?;
        let passed = match verdict {
            "PASSED" => true,
            "FAILED" | "ERROR" => false,
            _ => return None,
        };
        let test = test.split(" - ").next()?;
        let (_, name) = test.split_once("::")?;
        Some((name.to_owned(), passed))
    };
    output.lines().filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn verdicts_are_those_of_the_summary() {
        let output = "..F\nPASSED lib/test_client.py::TestA::test_one\nSKIPPED [1] x: no\nFAILED lib/test_client.py::TestA::test_two - AssertionError: 1 - 2\n";
        let verdicts: Vec<_> = read(output).into_iter().collect();
        assert_eq!(
            verdicts,
            [
                ("TestA::test_one".to_owned(), true),
                ("TestA::test_two".to_owned(), false)
            ]
        );
    }
}
