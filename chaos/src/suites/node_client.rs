//! Node's `etcd3`: a program of ours that does what the package's documentation shows.

use std::path::PathBuf;

use anyhow::Result;
use tokio::process::Command;

use super::cache::{Cache, fetch, keep, run, text};
use super::{Members, Verdicts};

/// The version that is installed.
const VERSION: &str = "1.1.2";
/// The program, one line per example on standard output.
const EXAMPLES: &str = include_str!("etcd3_examples.cjs");

/// A directory with the package and the program.
pub(super) struct NodeClient {
    directory: PathBuf,
    log: PathBuf,
}

impl NodeClient {
    /// Installs the package by npm, without running any script of it.
    pub(super) async fn prepare(cache: &Cache) -> Result<Self> {
        let directory = cache.path(&format!("node-etcd3-{VERSION}"));
        std::fs::create_dir_all(&directory)?;
        if !directory.join("node_modules/etcd3/package.json").is_file() {
            std::fs::write(directory.join("package.json"), "{\"private\":true}\n")?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]);
            fetch(npm.arg(format!("etcd3@{VERSION}")).current_dir(&directory)).await?;
        }
        std::fs::write(directory.join("examples.cjs"), EXAMPLES)?;
        let log = cache.path("node.log");
        Ok(Self { directory, log })
    }

    /// Runs the examples against all members.
    pub(super) async fn run(&self, members: &Members) -> Result<Verdicts> {
        let mut node = Command::new("node");
        node.arg("examples.cjs")
            .args(members.clients())
            .current_dir(&self.directory);
        let output = run(&mut node).await?;
        keep(&self.log, &output)?;
        Ok(read(&text(&output.stdout)))
    }
}

/// Reads `ok NAME` and `not ok NAME: why`.
fn read(output: &str) -> Verdicts {
    let verdict = |line: &str| match line.strip_prefix("not ok ") {
        Some(failed) => Some((failed.split(": ").next()?.to_owned(), false)),
        None => Some((line.strip_prefix("ok ")?.to_owned(), true)),
    };
    output.lines().filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn verdicts_are_lines() {
        let verdicts: Vec<_> = read("ok quick start\nnot ok locks: Error: x: y\nother\n")
            .into_iter()
            .collect();
        assert_eq!(
            verdicts,
            [("locks".to_owned(), false), ("quick start".to_owned(), true)]
        );
    }
}
