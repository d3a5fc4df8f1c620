//! House checks on the source tree itself: size of files, module documentation, words that do not belong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::steps::{output, root};

/// No hand-written source file is longer; the aim is 300.
const MAX_LINES: usize = 500;

/// Marks of unfinished work; spelt in two parts so that this file passes its own check.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("#[ign", "ore"),
    concat!("XX", "X:"),
];

/// Fails with every file that breaks a rule.
pub fn check() -> Result<()> {
    let mut problems = Vec::new();
    for file in source_files()? {
        let text = fs::read_to_string(root().join(&file))?;
        let shown = file.display();
        let lines = text.lines().count();
        if lines > MAX_LINES {
            problems.push(format!(
                "{shown}: {lines} lines; split it by meaning (limit {MAX_LINES})"
            ));
        }
        let is_test = file.components().any(|part| part.as_os_str() == "tests");
        if !is_test && !text.starts_with("//!") && !text.starts_with("#!") {
            problems.push(format!(
                "{shown}: starts without a module comment (//!) that says what it is for"
            ));
        }
        for mark in UNFINISHED {
            if let Some(line) = text.lines().position(|line| line.contains(mark)) {
                problems.push(format!("{shown}:{}: {mark}", line + 1));
            }
        }
    }
    if !problems.is_empty() {
        bail!("house rules broken:\n  {}", problems.join("\n  "));
    }
    Ok(())
}

fn source_files() -> Result<Vec<PathBuf>> {
    let text = output(Command::new("git").current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    Ok(text
        .lines()
        .map(PathBuf::from)
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .filter(|path| !generated(path) && root().join(path).is_file())
        .collect())
}

fn generated(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "generated")
}
