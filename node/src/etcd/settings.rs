//! Collects what was set: flags, `ETCD_*` variables, or a configuration file, as etcd reads them.
//!
//! As in etcd a flag wins over its variable, and a configuration file replaces both.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::flags::{self, FLAGS, Support};

/// Largest configuration file that is read, bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Prefix of the environment variables.
const ENVIRONMENT_PREFIX: &str = "ETCD_";
/// Sections of a configuration file whose keys are flags without the prefix that stands here.
const SECTIONS: [(&str, &str); 2] = [("client-transport-security", ""), ("peer-transport-security", "peer-")];

/// Why the settings were refused; the text is for the one who started the program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    #[error("{0:?} is not a valid flag")]
    NoFlag(String),
    #[error("invalid value {value:?} for flag -{flag}: {problem}")]
    Invalid {
        flag: String,
        value: String,
        problem: String,
    },
    #[error("etcd flag --{flag} is not supported: {instead}")]
    Unsupported { flag: String, instead: &'static str },
    #[error("etcd flag --{flag}={value} is not supported: {reason}; only {only:?} is possible")]
    OnlyOne {
        flag: String,
        value: String,
        only: &'static str,
        reason: &'static str,
    },
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
    /// Settings that contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

/// What was set, by name of the flag.
#[derive(Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Reads the arguments (without the program's name) and the environment; reads the configuration file if one is named.
    pub fn read(
        arguments: &[String],
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        settings.take_arguments(arguments)?;
        let from_environment: BTreeMap<String, String> = environment
            .filter_map(|(name, value)| Some((name.strip_prefix(ENVIRONMENT_PREFIX)?.to_string(), value)))
            .collect();
        for flag in FLAGS {
            let variable = flag.name.to_uppercase().replace('-', "_");
            if let Some(value) = from_environment.get(&variable).filter(|value| !value.is_empty()) {
                settings.values.entry(flag.name).or_insert_with(|| value.clone());
            }
        }
        if let Some(path) = settings.values.remove("config-file").filter(|path| !path.is_empty()) {
            settings.values.clear();
            settings.take_file(Path::new(&path))?;
        }
        settings.check()?;
        Ok(settings)
    }

    /// The value of a flag that was set.
    pub fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(flags::find(name).is_some(), "{name} is in the table");
        self.values.get(name).map(String::as_str)
    }

    /// True if the flag was set to something that is not empty.
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_empty())
    }

    /// A flag that is on or off.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).and_then(boolean).unwrap_or(false)
    }

    fn take_arguments(&mut self, arguments: &[String]) -> Result<(), SettingsError> {
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let text = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            let Some(text) = text.filter(|text| !text.is_empty()) else {
                return Err(SettingsError::NoFlag(argument.clone()));
            };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (text, None),
            };
            let flag = flags::find(name).ok_or_else(|| SettingsError::Unknown(name.to_string()))?;
            let value = match value {
                Some(value) => value,
                None if flag.boolean => "true".to_string(),
                None => arguments
                    .next()
                    .cloned()
                    .ok_or_else(|| SettingsError::NoValue(name.to_string()))?,
            };
            self.values.insert(flag.name, value);
        }
        Ok(())
    }

    fn take_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let failed = |problem: String| SettingsError::File {
            path: path.display().to_string(),
            problem,
        };
        let length = std::fs::metadata(path)
            .map_err(|error| failed(error.to_string()))?
            .len();
        if length > MAX_FILE_BYTES {
            return Err(failed(format!("is larger than {MAX_FILE_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let parsed: Value = serde_saphyr::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let Value::Object(keys) = parsed else {
            return Err(failed("is no list of settings".to_string()));
        };
        for (key, value) in keys {
            match SECTIONS.iter().find(|(section, _)| *section == key) {
                None => self.take_key(&key, &value).map_err(failed)?,
                Some((_, prefix)) => {
                    let Value::Object(section) = value else {
                        return Err(failed(format!("{key} is no list of settings")));
                    };
                    for (name, value) in section {
                        self.take_key(&format!("{prefix}{name}"), &value).map_err(failed)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_key(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let flag = flags::find(key).ok_or_else(|| format!("unknown key {key:?}"))?;
        let text = match value {
            Value::Null => return Ok(()),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(items) => {
                let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                items.ok_or_else(|| format!("{key} is a list of texts"))?.join(",")
            }
            Value::Object(_) => return Err(format!("{key} has no settings below it")),
        };
        self.values.insert(flag.name, text);
        Ok(())
    }

    /// Refuses what is not possible here; what is on or off must say so.
    fn check(&self) -> Result<(), SettingsError> {
        for (name, value) in &self.values {
            let Some(flag) = flags::find(name) else { continue };
            if flag.boolean && boolean(value).is_none() {
                return Err(SettingsError::Invalid {
                    flag: flag.name.to_string(),
                    value: value.clone(),
                    problem: "parse error".to_string(),
                });
            }
            match flag.support {
                Support::Used | Support::Tuning => {}
                Support::Only(only, reason) => {
                    let same = match boolean(value).filter(|_| flag.boolean) {
                        Some(on) => on.to_string() == only,
                        None => value.is_empty() || value == only,
                    };
                    if !same {
                        return Err(SettingsError::OnlyOne {
                            flag: flag.name.to_string(),
                            value: value.clone(),
                            only,
                            reason,
                        });
                    }
                }
                Support::Refused(instead) => {
                    if !value.is_empty() && boolean(value) != Some(false) {
                        return Err(SettingsError::Unsupported {
                            flag: flag.name.to_string(),
                            instead,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// As Go reads a boolean.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
