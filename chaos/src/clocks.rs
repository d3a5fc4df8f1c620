//! Wall clocks of single processes that run ahead, by libfaketime (package `faketime`); their monotonic clocks stay true.

use std::path::Path;

use anyhow::{Context, Result};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// The library.
///
/// # Errors
/// It is not installed.
pub fn library() -> Result<&'static str> {
    let found = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    found.context("libfaketime is missing: run `cargo xtask setup`")
}

/// Environment of a process whose wall clock follows `file`, read again every second.
///
/// # Errors
/// The library is not installed.
pub fn environment(file: &Path) -> Result<Vec<(&'static str, String)>> {
    let fixed = [
        ("LD_PRELOAD", library()?),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_RESET", "1"),
    ];
    let mut environment: Vec<_> = fixed.map(|(name, value)| (name, value.to_owned())).into();
    environment.push(("FAKETIME_TIMESTAMP_FILE", file.display().to_string()));
    Ok(environment)
}

/// From now on the clocks that follow `file` are ahead by this many seconds.
pub fn set(file: &Path, seconds_ahead: u32) -> Result<()> {
    std::fs::write(file, format!("+{seconds_ahead}\n")).with_context(|| format!("{}", file.display()))
}
