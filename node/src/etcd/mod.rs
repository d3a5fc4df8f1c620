//! The `etcd` personality: started under the name `etcd`, or as `quorate etcd`, the program takes etcd's flags and is one
//! member of a cluster that clients cannot tell from etcd's.
//!
//! One open keyspace, etcd's ids, its bootstrap from `--initial-cluster`, its log lines. No console, no monitors, no join
//! tokens, no key of the machine's own: consensus, keyspace and KV port are those of the appliance, everything else is left
//! out. What etcd can do and this cannot is refused by the name of its flag (`flags`). Decision 50 says why it is so.

mod compaction;
mod config;
mod door;
mod flags;
mod ids;
mod log;
mod member_file;
mod peers;
mod run;
mod settings;
mod start;
mod tls;
mod tokens;
mod urls;

use std::process::ExitCode;

use quorate_etcd_api::EMULATED_VERSION;

pub use config::EtcdConfig;
pub(crate) use ids::member_id;
pub use settings::{Settings, SettingsError};

/// Exit code of wrong usage, as Go's flag package has it.
const WRONG_USAGE: u8 = 2;

/// Whether the program was started to be etcd: by its name, or by `quorate etcd`. Gives the arguments that are etcd's.
pub fn arguments(all: &[String]) -> Option<&[String]> {
    let (program, rest) = all.split_first()?;
    let name = std::path::Path::new(program).file_name().and_then(|name| name.to_str());
    match (name, rest.split_first()) {
        (Some("etcd"), _) => Some(rest),
        (_, Some((first, rest))) if first == "etcd" => Some(rest),
        _ => None,
    }
}

/// Runs a member until it is told to stop.
pub fn main(arguments: &[String]) -> ExitCode {
    match arguments.first().map(String::as_str) {
        Some("-h" | "--help" | "-help") => {
            print!("{}", usage());
            return ExitCode::SUCCESS;
        }
        Some("gateway" | "grpc-proxy") => {
            eprintln!(
                "etcd {} is not supported: point clients at the members themselves",
                arguments[0]
            );
            return ExitCode::from(WRONG_USAGE);
        }
        _ => {}
    }
    let settings = match Settings::read(arguments, std::env::vars()) {
        Ok(settings) => settings,
        Err(error) => return refused(&error),
    };
    if settings.is_on("version") {
        println!("{}", version());
        return ExitCode::SUCCESS;
    }
    if let Err(error) = log::install(&settings) {
        return refused(&error);
    }
    let outcome = EtcdConfig::new(&settings)
        .map_err(anyhow::Error::from)
        .and_then(|config| {
            for name in flags::without_effect(&settings) {
                tracing::warn!(flag = name, "this flag of etcd has no effect here");
            }
            run::run(config)
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the member cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn refused(error: &SettingsError) -> ExitCode {
    eprintln!("{error}");
    if matches!(error, SettingsError::Unknown(_) | SettingsError::NoValue(_)) {
        eprint!("{}", usage());
    }
    ExitCode::from(WRONG_USAGE)
}

/// The lines of `etcd --version`, with this program named where etcd names its build.
fn version() -> String {
    format!(
        "etcd Version: {EMULATED_VERSION}\nGit SHA: Quorate {}\nGo Version: none (Quorate, written in Rust)\nGo OS/Arch: {}/{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    )
}

fn usage() -> String {
    let mut text = format!(
        "Usage:\n\n  etcd [flags]\n    Start a member of a cluster that stands in for etcd {EMULATED_VERSION} (Quorate).\n\n  etcd --version\n    Show the \
         version.\n\n  etcd --config-file\n    Path to a configuration file; it replaces flags and environment variables.\n\n\
         Flags (each also as ETCD_…):\n"
    );
    for flag in flags::FLAGS {
        let what = match flag.support {
            flags::Support::Used => String::new(),
            flags::Support::Tuning => "  (taken, without effect)".to_string(),
            flags::Support::Only(only, _) => format!("  (only {only:?})"),
            flags::Support::Refused(instead) => format!("  (not supported: {instead})"),
        };
        text.push_str(&format!("  --{}{what}\n", flag.name));
    }
    text
}
