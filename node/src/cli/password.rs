//! Passwords: from a file, the environment or a prompt, never from an argument, where every user of the machine sees them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Code, Failure};

/// Largest password file that is read, bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// Where a password comes from; without either it is asked for.
#[derive(Args, Debug, Clone, Default)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// File with the password as its first line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Environment variable that holds the password
    #[arg(long, value_name = "VARIABLE")]
    password_env: Option<String>,
}

impl PasswordSource {
    /// True if a file or variable was named.
    pub fn is_given(&self) -> bool {
        self.password_file.is_some() || self.password_env.is_some()
    }

    /// Reads the password, from the terminal under `prompt` if no other source was named.
    pub fn read(&self, prompt: &str) -> Result<String, Failure> {
        let usage = |text: String| Failure::new(Code::Usage, text);
        let password = match (&self.password_file, &self.password_env) {
            (Some(file), _) => {
                let text = read_file(file)?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            (None, Some(name)) => {
                std::env::var(name).map_err(|error| usage(format!("environment variable {name}: {error}")))?
            }
            (None, None) => rpassword::prompt_password(format!("{prompt}: ")).map_err(|error| {
                usage(format!(
                    "no terminal to ask at ({error}); use --password-file or --password-env"
                ))
            })?,
        };
        if password.is_empty() {
            return Err(usage("the password is empty".to_owned()));
        }
        Ok(password)
    }
}

/// Text of a file with passwords, which is not large.
pub fn read_file(file: &Path) -> Result<String, Failure> {
    let usage = |text: String| Failure::new(Code::Usage, format!("{}: {text}", file.display()));
    let size = std::fs::metadata(file).map(|found| found.len());
    if size.map_err(|error| usage(error.to_string()))? > MAX_FILE_BYTES {
        return Err(usage(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(file).map_err(|error| usage(error.to_string()))
}
