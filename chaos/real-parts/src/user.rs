//! The ordinary user that servers run as: several of them refuse to run as root.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, chown},
    },
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::find_program;

/// Account whose ids are taken when this process is root.
const UNPRIVILEGED_ACCOUNT: &str = "nobody";

/// Whom servers run as: the user of this process, or `nobody` when that is root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerUser {
    /// `Some((uid, gid))` when ids have to be dropped.
    drop_to: Option<(u32, u32)>,
}

impl ServerUser {
    /// The user for this process.
    ///
    /// # Errors
    /// This process is root and `/etc/passwd` has no ordinary account to change to.
    pub fn current() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { drop_to: None });
        }
        let passwd = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if fields.first() == Some(&UNPRIVILEGED_ACCOUNT) && fields.len() > 3 {
                let uid = fields[2].parse().context("uid in /etc/passwd")?;
                let gid = fields[3].parse().context("gid in /etc/passwd")?;
                return Ok(Self {
                    drop_to: Some((uid, gid)),
                });
            }
        }
        bail!("servers must not run as root and /etc/passwd has no account `{UNPRIVILEGED_ACCOUNT}`")
    }

    /// The user of this process, whoever that is: for servers that run as root too.
    pub fn own_self() -> Self {
        Self { drop_to: None }
    }

    /// Whether servers run as somebody else than this process.
    pub fn is_other(&self) -> bool {
        self.drop_to.is_some()
    }

    /// The numeric user id that servers get.
    pub fn uid(&self) -> u32 {
        self.drop_to
            .map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid)
    }

    /// A command that becomes `program` as this user. It runs through `setpriv`, which replaces itself: the child's pid
    /// is the server's, so that signals reach it, and the kernel kills it when the thread that started it ends.
    ///
    /// # Errors
    /// `setpriv` is not installed.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(find_program(&["setpriv"])?);
        if let Some((uid, gid)) = self.drop_to {
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .arg("--clear-groups");
        }
        command.args(["--pdeathsig", "KILL"]).arg(program);
        Ok(command)
    }

    /// Creates `directory` with its parents, mode 0755, owned by this user. One that exists is taken as it is, if it is
    /// this user's.
    ///
    /// # Errors
    /// Any failure of the file system, a directory of another user, and a parent that other users may not search (the
    /// server could not enter).
    pub fn create_directory(&self, directory: &Path) -> Result<()> {
        if let Ok(existing) = fs::symlink_metadata(directory) {
            if !existing.is_dir() || existing.uid() != self.uid() {
                bail!(
                    "{} exists and is no directory of the server's user (uid {}): remove it or choose another",
                    directory.display(),
                    self.uid()
                );
            }
        } else {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
            self.own(directory)?;
        }
        if self.drop_to.is_some() {
            for parent in directory
                .ancestors()
                .skip(1)
                .filter(|p| !p.as_os_str().as_bytes().is_empty())
            {
                let mode = fs::metadata(parent)?.permissions().mode();
                if mode & 0o001 == 0 {
                    bail!(
                        "{} cannot be searched by the server's user: give it mode 0755 or choose another directory",
                        parent.display()
                    );
                }
            }
        }
        Ok(())
    }

    /// Gives `path` to this user (nothing to do for an ordinary user: it owns what it creates).
    ///
    /// # Errors
    /// Any failure of the file system.
    pub fn own(&self, path: &Path) -> Result<()> {
        if let Some((uid, gid)) = self.drop_to {
            chown(path, Some(uid), Some(gid)).with_context(|| format!("chown {}", path.display()))?;
        }
        Ok(())
    }
}
