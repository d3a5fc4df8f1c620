//! etcd's own end-to-end tests, which launch `etcd` by its flags, restart it, and speak to it with `etcdctl`.
//!
//! They come as the Go module `go.etcd.io/etcd/tests/v3`. Its package `common` runs each test on clusters of one and three
//! members, plaintext and TLS; of its package `e2e` those run that are about a server's behaviour. What is in a directory under
//! the name `etcd` is what they launch: real etcd, or the appliance, which knows by that name what it is to be. `etcdctl` and
//! `etcdutl` are the real ones.
//!
//! It deliberately leaves out what tests other programs of etcd (proxies, discovery, migration of its files), reads its
//! log's exact lines, or needs an older release of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::cache::{Cache, fetch, keep_text, run_for, text};
use super::{Program, Verdicts};

/// Module and version of the tests.
const MODULE: &str = "go.etcd.io/etcd/tests/v3@v3.6.16";
/// Modules that the source tree takes from beside itself; they come from the proxy here.
const BESIDE: [&str; 7] = [
    "api/v3",
    "client/pkg/v3",
    "client/v3",
    "etcdctl/v3",
    "etcdutl/v3",
    "pkg/v3",
    "server/v3",
];
/// Packages of the module that are built.
const PACKAGES: [&str; 2] = ["common", "e2e"];
/// Of the package `e2e`, what is about a server's behaviour: names begin so.
const E2E_TESTS: [&str; 12] = [
    "TestAuth",
    "TestCtlV3",
    "TestCurl",
    "TestEtcdHealth",
    "TestEtcdPeer",
    "TestHTTP",
    "TestKVAlarm",
    "TestLeaseRevoke",
    "TestV3Curl",
    "TestV3Lease",
    "TestVerifyHashKV",
    "TestWatchDelay",
];
/// One test with all its clusters; some wait five seconds in each of forty.
const TEST_TIMEOUT: Duration = Duration::from_secs(600);
/// What the appliance does otherwise by intent (`docs/etcd-differences.md`): tests whose names begin and end so.
const BY_INTENT: [(&str, &str); 3] = [
    // etcd changes no member before all have been connected for five seconds; here the present state decides.
    (
        "common/TestMemberAdd/NotLearner/StrictReconfigCheck/NoWaitForQuorum/",
        "TLS",
    ),
    (
        "common/TestMemberAdd/Learner/StrictReconfigCheck/NoWaitForQuorum/",
        "TLS",
    ),
    ("common/TestMemberRemove/StrictReconfigCheck/NoWaitForQuorum/", "TLS"),
];

/// Whether a test asks for what the appliance does otherwise by intent.
pub(super) fn by_intent(name: &str) -> bool {
    BY_INTENT
        .iter()
        .any(|(begin, end)| name.starts_with(begin) && name.ends_with(end))
}

/// The built tests.
pub(super) struct LaunchedTests {
    /// Holds the module's source below `tests` and the test programs.
    home: PathBuf,
    /// Where the real `etcdctl` and `etcdutl` are.
    tools: PathBuf,
    cache: Cache,
    /// Only tests whose names hold this, if anything.
    only: Option<String>,
}

impl LaunchedTests {
    /// Fetches the module by Go's own client and builds its tests; `go` is the compiler, `tools` the directory of `etcdctl`.
    pub(super) async fn prepare(cache: &Cache, go: &Path, tools: &Path, only: Option<String>) -> Result<Self> {
        let home = cache.path("etcd-tests-v3.6.16");
        let built = PACKAGES.iter().all(|package| program(&home, package).is_file());
        if !built {
            build(&home, go).await?;
        }
        Ok(Self {
            home,
            tools: tools.to_owned(),
            cache: cache.clone(),
            only,
        })
    }

    /// Runs every test on clusters of `launched`, one program for each test, so that one that panics takes no other along.
    pub(super) async fn run(&self, launched: &Program) -> Result<Verdicts> {
        let programs = tempfile::Builder::new().prefix("quorate-launched-").tempdir()?;
        let (Program::Etcd(binary) | Program::Quorate(binary)) = launched;
        for (name, target) in [
            ("etcd", binary.clone()),
            ("etcdctl", self.tools.join("etcdctl")),
            ("etcdutl", self.tools.join("etcdutl")),
        ] {
            std::os::unix::fs::symlink(target, programs.path().join(name))?;
        }
        let mut verdicts = Verdicts::new();
        let mut log = Vec::new();
        for package in PACKAGES {
            for test in self.tests(package).await? {
                let output = run_for(
                    &mut self.command(package, &test, programs.path()),
                    TEST_TIMEOUT + Duration::from_secs(60),
                )
                .await?;
                let found = read(package, &text(&output.stdout));
                if found.is_empty() && !output.status.success() {
                    verdicts.insert(format!("{package}/{test}"), false);
                }
                verdicts.extend(found);
                log.extend_from_slice(&output.stdout);
                log.extend_from_slice(&output.stderr);
            }
        }
        let name = match launched {
            Program::Etcd(_) => "etcd",
            Program::Quorate(_) => "quorate",
        };
        keep_text(&self.cache.path(&format!("launched.{name}.log")), &log)?;
        Ok(verdicts)
    }

    /// Names of the tests of a package that are run.
    async fn tests(&self, package: &str) -> Result<Vec<String>> {
        let mut list = Command::new(program(&self.home, package));
        list.current_dir(self.source(package)).args(["-test.list", "."]);
        let listed = text(&fetch(&mut list).await?.stdout);
        let wanted = |name: &&str| {
            name.starts_with("Test")
                && (package != "e2e" || E2E_TESTS.iter().any(|begin| name.starts_with(begin)))
                && self.only.as_ref().is_none_or(|only| name.contains(only))
        };
        Ok(listed.lines().filter(wanted).map(str::to_owned).collect())
    }

    fn command(&self, package: &str, test: &str, programs: &Path) -> Command {
        let mut command = Command::new(program(&self.home, package));
        command
            .current_dir(self.source(package))
            .args(["-test.v", "-test.run", &format!("^{test}$")])
            .arg(format!("-test.timeout={}s", TEST_TIMEOUT.as_secs()))
            .arg("-bin-dir")
            .arg(programs);
        command
    }

    fn source(&self, package: &str) -> PathBuf {
        self.home.join("tests").join(package)
    }
}

fn program(home: &Path, package: &str) -> PathBuf {
    home.join(format!("{package}.test"))
}

async fn build(home: &Path, go: &Path) -> Result<()> {
    let go = |arguments: &[&str], directory: &Path| {
        let mut command = Command::new(go);
        command.args(arguments).current_dir(directory);
        for (name, value) in [("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")] {
            command.env(name, value);
        }
        command
    };
    std::fs::create_dir_all(home)?;
    let fetched = fetch(&mut go(&["mod", "download", "-json", MODULE], home)).await?;
    let fetched: serde_json::Value = serde_json::from_slice(&fetched.stdout)?;
    let directory = fetched["Dir"].as_str().context("Go does not say where the module is")?;
    let source = home.join("tests");
    if source.exists() {
        std::fs::remove_dir_all(&source)?;
    }
    copy(Path::new(directory), &source).with_context(|| format!("copying {directory}"))?;
    let mut edit = go(&["mod", "edit", "-toolchain=none"], &source);
    for module in BESIDE {
        edit.arg(format!("-dropreplace=go.etcd.io/etcd/{module}"));
    }
    fetch(&mut edit).await?;
    for package in PACKAGES {
        let output = program(home, package);
        let mut build = go(&["test", "-c", "-tags", "e2e", "-o"], &source);
        fetch(build.arg(output).arg(format!("./{package}"))).await?;
    }
    Ok(())
}

/// Copies a tree of Go's module cache, which nobody may write to, so that its files can be changed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::write(&target, std::fs::read(entry.path())?)?;
        } else {
            bail!("{} is neither a file nor a directory", entry.path().display());
        }
    }
    Ok(())
}

/// Reads what `go test -v` says: `    --- PASS: TestA/one (0.10s)`. A test that has parts is told by its parts alone, and one
/// that was skipped says nothing of a server.
fn read(package: &str, output: &str) -> Verdicts {
    let verdict = |line: &str| {
        let (verdict, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
        let passed = match verdict {
            "PASS" => true,
            "FAIL" => false,
            _ => return None,
        };
        let name = rest.split(' ').next()?;
        Some((format!("{package}/{name}"), passed))
    };
    let mut verdicts: Verdicts = output.lines().filter_map(verdict).collect();
    let names: Vec<String> = verdicts.keys().cloned().collect();
    verdicts.retain(|name, _| {
        let part = format!("{name}/");
        !names.iter().any(|other| other.starts_with(&part))
    });
    verdicts
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn verdicts_are_those_of_the_smallest_parts() {
        let output = "=== RUN   TestA\n    x.go:1: --- of no interest\n--- FAIL: TestA (2.10s)\n    --- PASS: TestA/NoTLS (1.00s)\n    --- FAIL: TestA/ClientTLS (1.10s)\n    --- SKIP: TestA/Old (0.00s)\n--- PASS: TestB (0.10s)\nFAIL\n";
        let verdicts: Vec<_> = read("common", output).into_iter().collect();
        let named = |name: &str, passed| (format!("common/{name}"), passed);
        assert_eq!(
            verdicts,
            [
                named("TestA/ClientTLS", false),
                named("TestA/NoTLS", true),
                named("TestB", true)
            ]
        );
    }
}
