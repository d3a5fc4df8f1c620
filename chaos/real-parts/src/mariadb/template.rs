//! A freshly initialised data directory, made once per machine and MariaDB version and then copied: initialising takes
//! seconds, copying a fraction of one.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::{ServerUser, find_program};

/// Settings that keep a server small; the data directory depends on some of them.
pub(super) const LEAN_SETTINGS: &str = "skip-log-error\ninnodb-buffer-pool-size=16M\ninnodb-log-file-size=4M\n\
     innodb-temp-data-file-path=ibtmp1:1M:autoextend\nperformance-schema=OFF";

/// Copies the template to `target`, making it first where there is none.
pub(super) async fn copy_to(user: &ServerUser, target: &Path) -> Result<()> {
    let (user, target) = (*user, target.to_owned());
    tokio::task::spawn_blocking(move || {
        let template = template(&user)?;
        run(Command::new(find_program(&["cp"])?)
            .arg("-a")
            .arg(template.join("data"))
            .arg(&target))
    })
    .await?
}

fn template(user: &ServerUser) -> Result<PathBuf> {
    let base = std::env::temp_dir().join(format!("quorate-real-parts-{}", user.uid()));
    user.create_directory(&base)?;
    let template = base.join(format!("mariadb-{}", version()?));
    let lock = File::create(base.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    if !template.exists() {
        let unfinished = base.join("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        user.create_directory(&unfinished)?;
        initialise(user, &unfinished)?;
        fs::rename(&unfinished, &template)?;
    }
    Ok(template)
}

fn initialise(user: &ServerUser, directory: &Path) -> Result<()> {
    let configuration = directory.join("my.cnf");
    let data = directory.join("data").display().to_string();
    fs::write(&configuration, format!("[mariadbd]\ndatadir={data}\n{LEAN_SETTINGS}\n"))?;
    let program = find_program(&["mariadb-install-db", "mysql_install_db"])?;
    run(user
        .command(&program)?
        .arg(format!("--defaults-file={}", configuration.display()))
        .arg("--auth-root-authentication-method=normal")
        // A machine need not be able to resolve its own name.
        .arg("--force")
        .arg("--skip-test-db"))
}

/// `10.11.19-MariaDB` out of `mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for …`.
fn version() -> Result<String> {
    let program = find_program(&["mariadbd", "mysqld"])?;
    let output = Command::new(&program).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|word| *word != "Ver");
    let version = words.nth(1).with_context(|| format!("no version in {text:?}"))?;
    Ok(version.replace('/', "_"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
