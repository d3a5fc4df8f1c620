//! Temporary directories that a server running as another user can enter.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};

/// A temporary directory, mode 0755, removed with everything below it when dropped.
///
/// Drop the servers that live in it first: declare it before them.
#[derive(Debug)]
pub struct ServerDirectory {
    directory: tempfile::TempDir,
}

impl ServerDirectory {
    /// Creates one below the system's directory for temporary files.
    ///
    /// # Errors
    /// Any failure of the file system.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("quorate-")
            .tempdir()
            .context("create a temporary directory")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Self { directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}
