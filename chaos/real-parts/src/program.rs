//! Looks programs up on this machine.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// Directories that hold server programs but are often missing from an ordinary user's `PATH`.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];

/// Full path of the first of `names` that is an executable in `PATH` or in the system's directories for programs.
///
/// # Errors
/// None of them is installed; the text names the step that installs it.
pub fn find_program(names: &[&str]) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .collect();
    for name in names {
        for directory in &directories {
            let candidate = directory.join(name);
            if candidate.is_file() {
                return Ok(candidate);
            }
        }
    }
    bail!("{} is not installed: run `cargo xtask setup`", names.join(" / "))
}

#[cfg(test)]
mod tests {
    use super::find_program;

    #[test]
    fn a_missing_program_names_the_remedy() {
        let error = find_program(&["quorate-no-such-program"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "quorate-no-such-program is not installed: run `cargo xtask setup`"
        );
    }

    #[test]
    fn the_first_installed_name_is_taken() {
        let found = find_program(&["quorate-no-such-program", "sh"]).unwrap();
        assert_eq!(found.file_name().unwrap(), "sh");
    }
}
