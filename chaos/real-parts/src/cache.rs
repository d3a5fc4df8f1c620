//! Servers that `cargo xtask setup` unpacked into the cache.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::{ServerUser, find_program};

/// Where caches of this project lie: `QUORATE_CACHE`, else the user's cache directory (as `xtask` has it).
fn cache_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("QUORATE_CACHE") {
        return PathBuf::from(directory);
    }
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("quorate")
}

/// The directory `name` of the cache, which holds `proof`.
///
/// # Errors
/// It is not there; the text names the step that installs it.
pub(crate) fn installed(name: &str, proof: &str) -> Result<PathBuf> {
    let directory = cache_directory().join(name);
    if !directory.join(proof).is_file() {
        bail!("{name} is not installed: run `cargo xtask setup`");
    }
    Ok(directory)
}

/// As [`installed`], where `user` can read it: the cache itself, or a copy of it made once, where the cache lies in a private home.
///
/// # Errors
/// As [`installed`], and any failure of the file system.
pub(crate) fn installed_for(user: &ServerUser, name: &str, proof: &str) -> Result<PathBuf> {
    let directory = installed(name, proof)?;
    if !user.is_other() || directory.ancestors().all(searchable) {
        return Ok(directory);
    }
    let base = std::env::temp_dir().join(format!("quorate-real-parts-{}", user.uid()));
    user.create_directory(&base)?;
    let copy = base.join(name);
    let lock = File::create(base.join(format!("{name}.lock")))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    if !copy.join(proof).is_file() {
        let unfinished = base.join(format!("{name}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let status = Command::new(find_program(&["cp"])?)
            .arg("-a")
            .arg(&directory)
            .arg(&unfinished)
            .status()
            .context("copy a server out of the cache")?;
        if !status.success() {
            bail!("the copy of {} ended with {status}", directory.display());
        }
        fs::rename(&unfinished, &copy)?;
    }
    Ok(copy)
}

fn searchable(directory: &Path) -> bool {
    directory.as_os_str().is_empty() || fs::metadata(directory).is_ok_and(|data| data.permissions().mode() & 0o001 != 0)
}
