//! RocksDB, built once into a cache outside the checkout.
//!
//! Its C++ takes some 16 minutes on two cores, the rest of the project two. `ROCKSDB_LIB_DIR` wins where it is set; plain
//! `cargo build` works too and builds it in the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::steps::root;

/// Where caches of this project lie: `QUORATE_CACHE`, else the user's cache directory.
pub fn cache_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("QUORATE_CACHE") {
        return PathBuf::from(directory);
    }
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("quorate")
}

/// Version of `librocksdb-sys` in the lock file: the cache is valid for exactly this one.
fn sys_version() -> Result<String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    let lock: toml::Value = toml::from_str(&lock).context("Cargo.lock")?;
    lock.get("package")
        .and_then(|packages| packages.as_array())
        .into_iter()
        .flatten()
        .find(|package| package.get("name").and_then(|name| name.as_str()) == Some("librocksdb-sys"))
        .and_then(|package| package.get("version")?.as_str().map(str::to_owned))
        .context("Cargo.lock names no librocksdb-sys")
}

/// Directory that holds `librocksdb.a`, if one is there.
pub fn cached() -> Result<Option<PathBuf>> {
    if let Some(directory) = std::env::var_os("ROCKSDB_LIB_DIR").map(PathBuf::from) {
        if directory.join("librocksdb.a").is_file() {
            return Ok(Some(directory));
        }
        bail!(
            "ROCKSDB_LIB_DIR is {}, which holds no librocksdb.a: unset it or correct it",
            directory.display()
        );
    }
    let directory = cache_directory().join(format!("librocksdb-sys-{}", sys_version()?));
    Ok(directory.join("librocksdb.a").is_file().then_some(directory))
}

/// Gives the directory of `librocksdb.a`, building it first where it is missing.
pub fn ensure() -> Result<PathBuf> {
    if let Some(directory) = cached()? {
        println!("    RocksDB: {}", directory.display());
        return Ok(directory);
    }
    let directory = cache_directory().join(format!("librocksdb-sys-{}", sys_version()?));
    println!("    RocksDB: building once into {}", directory.display());
    println!("    (about 16 minutes on two cores, fewer on more; later builds reuse it)");
    let work = cache_directory().join("build-rocksdb");
    write_build_project(&work)?;
    build_with_progress(&work)?;
    let built = find_library(&work.join("target"))?;
    fs::create_dir_all(&directory)?;
    let partial = directory.join("librocksdb.a.partial");
    fs::copy(&built, &partial)?;
    strip_debug_information(&partial);
    fs::rename(&partial, directory.join("librocksdb.a"))?;
    fs::remove_dir_all(&work)?;
    Ok(directory)
}

fn write_build_project(work: &Path) -> Result<()> {
    fs::create_dir_all(work.join("src"))?;
    fs::write(work.join("src/lib.rs"), "//! Exists to build RocksDB.\n")?;
    let version = sys_version()?;
    let exact = version.split('+').next().unwrap_or(&version);
    let manifest = format!(
        "[package]\nname = \"build-rocksdb\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\nlibrocksdb-sys = {{ \
         version = \"={exact}\", default-features = false, features = [\"bindgen-runtime\"] }}\n[workspace]\n\
         [profile.release]\ndebug = false\n"
    );
    fs::write(work.join("Cargo.toml"), manifest)?;
    fs::copy(root().join("Cargo.lock"), work.join("Cargo.lock"))?;
    Ok(())
}

/// RocksDB's build says nothing for many minutes; the object files tell how far it is.
fn build_with_progress(work: &Path) -> Result<()> {
    /// Object files of a RocksDB 11.8 build; only the estimate depends on it.
    const OBJECT_FILES: usize = 343;
    const REPORT_EVERY: Duration = Duration::from_secs(20);
    let mut child = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet"])
        .current_dir(work)
        .env("CARGO_TARGET_DIR", work.join("target"))
        .env_remove("ROCKSDB_STATIC")
        .spawn()?;
    let started = Instant::now();
    let mut reported = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("building RocksDB ended with {status}");
            }
            return Ok(());
        }
        if reported.elapsed() > REPORT_EVERY {
            reported = Instant::now();
            let done = count_objects(&work.join("target")).min(OBJECT_FILES);
            let elapsed = started.elapsed().as_secs();
            if done > 10 {
                let left = elapsed as usize * (OBJECT_FILES - done) / done;
                println!("    RocksDB: {done} of about {OBJECT_FILES} files, {elapsed} s so far, about {left} s to go");
            }
        }
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, visit);
        } else {
            visit(&path);
        }
    }
}

fn count_objects(target: &Path) -> usize {
    let mut count = 0;
    walk(&target.join("release/build"), &mut |path| {
        count += usize::from(path.extension().is_some_and(|end| end == "o"))
    });
    count
}

fn find_library(target: &Path) -> Result<PathBuf> {
    let mut found = None;
    walk(&target.join("release/build"), &mut |path| {
        if path.file_name().is_some_and(|name| name == "librocksdb.a") {
            found = Some(path.to_path_buf());
        }
    });
    found.context("the build left no librocksdb.a")
}

/// Smaller archives link faster; without `strip` the archive works all the same.
fn strip_debug_information(library: &Path) {
    let _ = Command::new("strip").arg("--strip-debug").arg(library).status();
}
