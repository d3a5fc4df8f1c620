//! Configuration files: what is refused and how, and which source of a setting wins.

use std::path::Path;
use std::process::Command;

use quorate::config::{self, FileConfig, LogFormat, Overrides};

fn check(text: &str) -> String {
    match FileConfig::parse(text, "quorate.toml") {
        Ok(_) => "accepted".to_string(),
        Err(error) => error.to_string(),
    }
}

/// Loads `text` as a file of its own; the error's text without the folder it lies in.
fn load(text: &str, overrides: &Overrides) -> Result<config::Config, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("quorate.toml");
    std::fs::write(&file, text).expect("the file is written");
    let hide = |error: config::ConfigError| error.to_string().replace(&folder.path().display().to_string(), "DIR");
    config::load(Some(&file), overrides).map_err(hide)
}

#[test]
fn malformed_files_are_refused_with_their_line() {
    let cases = [
        "[kv]\nlisen = \"0.0.0.0:2379\"\n",
        "data_dir = \"/data\"\n\n[nod]\nzone = \"az1\"\n",
        "[kv]\nlisten = \"everywhere\"\n",
        "[kv]\nmutual_tls = \"yes\"\n",
        "[log]\nformat = \"xml\"\n",
        "[limits]\nminimum_free_bytes = -1\n",
        "[kv\n",
        "[kv]\nlisten = \"0.0.0.0:1\"\nlisten = \"0.0.0.0:2\"\n",
    ];
    let shown: Vec<String> = cases
        .iter()
        .map(|case| format!("{}\n{}", case.trim_end(), check(case)))
        .collect();
    insta::assert_snapshot!(shown.join("\n=====\n"));
}

#[test]
fn contradictions_name_the_key() {
    let cases = [
        "[node]\nsite = \"dc3\"\n",
        "[node]\nzone = \"\"\n",
        "[kv]\nplaintext = true\n",
        "[log]\nfilter = \"a=b=c\"\n",
        "[peer]\nlisten = \"127.0.0.1:2379\"\n[kv]\nlisten = \"127.0.0.1:2379\"\n",
        "[kv]\nadvertise = \"10.0.0.1\"\n",
        "[kv]\nadvertise = \":2379\"\n",
    ];
    let answer = |case: &&str| match load(case, &Overrides::default()) {
        Ok(_) => "accepted".to_string(),
        Err(error) => error,
    };
    let shown: Vec<String> = cases
        .iter()
        .map(|case| format!("{}\n{}", case.trim_end(), answer(case)))
        .collect();
    insta::assert_snapshot!(shown.join("\n=====\n"));
}

#[test]
fn the_sample_is_valid_and_says_the_defaults() {
    let without_comments: String = config::SAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            // A commented key of the sample; prose has no equals sign behind its first word.
            Some(key) if key.split_whitespace().nth(1) == Some("=") => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(check(config::SAMPLE), "accepted");
    let defaults = load("", &Overrides::default()).expect("defaults are valid");
    let said = load(&without_comments, &Overrides::default()).expect("what the sample says is valid");
    assert_eq!(
        said.kv,
        config::Door {
            advertise: "10.0.0.1:2379".to_string(),
            ..defaults.kv.clone()
        }
    );
    assert_eq!(
        (
            said.data_dir,
            said.identity_dir,
            said.log_filter,
            said.minimum_free_bytes,
            said.zone,
            said.site
        ),
        (
            defaults.data_dir,
            defaults.identity_dir,
            defaults.log_filter,
            defaults.minimum_free_bytes,
            defaults.zone,
            defaults.site
        )
    );
}

#[test]
fn name_servers_are_addresses_with_or_without_a_port() {
    let none = load("", &Overrides::default()).expect("the defaults are valid").names();
    assert_eq!((none.servers, none.max_stale.as_secs()), (Vec::new(), 3600));
    let text = "[dns]\nservers = [\"10.0.0.53\", \"10.0.0.54:5353\", \"fd00::53\", \"[fd00::54]:5353\"]\nmax_stale_seconds = 0\n";
    let config = load(text, &Overrides::default()).expect("the servers are valid");
    let shown: Vec<String> = config.dns_servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["10.0.0.53:53", "10.0.0.54:5353", "[fd00::53]:53", "[fd00::54]:5353"]
    );
    assert_eq!(config.names().max_stale.as_secs(), 0);
    let overrides = Overrides {
        dns_servers: Some(vec!["192.0.2.53".parse().expect("a server")]),
        ..Overrides::default()
    };
    let config = load(text, &overrides).expect("the servers are valid");
    assert_eq!(config.dns_servers, ["192.0.2.53:53".parse().expect("a socket")]);

    let refused = |text: &str| load(text, &Overrides::default()).expect_err(text);
    for server in ["dns.example.com", "10.0.0.53:0", "10.0.0.53:65536", ""] {
        let error = refused(&format!("[dns]\nservers = [{server:?}]\n"));
        assert!(
            error.contains("is no name server") && error.contains("line 2"),
            "{error}"
        );
    }
    let error = refused("[dns]\nmax_stale_seconds = 86401\n");
    assert_eq!(error, "dns.max_stale_seconds: 86401; at most 86400");
    let many = vec!["10.0.0.53"; 9];
    assert_eq!(
        refused(&format!("[dns]\nservers = {many:?}\n")),
        "dns.servers: 9; at most 8"
    );
}

#[test]
fn relative_paths_are_taken_from_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("quorate.toml");
    std::fs::write(&file, "data_dir = \"data\"\n").expect("the file is written");
    let config = config::load(Some(&file), &Overrides::default()).expect("the file is valid");
    assert_eq!(config.data_dir, folder.path().join("data"));
}

#[test]
fn a_flag_wins_over_the_file() {
    let overrides = Overrides {
        log_format: Some(LogFormat::Json),
        ..Overrides::default()
    };
    let config = load("[log]\nformat = \"text\"\nfilter = \"warn\"\n", &overrides).expect("the file is valid");
    assert_eq!(
        (config.log_format, config.log_filter.as_str()),
        (LogFormat::Json, "warn")
    );
}

/// What `quorate config check` says is in force for the zone.
fn zone(file: &Path, environment: Option<&str>, flag: Option<&str>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(["config", "check"]).arg(file);
    command.env_remove("QUORATE_NODE_ZONE");
    if let Some(value) = environment {
        command.env("QUORATE_NODE_ZONE", value);
    }
    if let Some(value) = flag {
        command.args(["--zone", value]);
    }
    let output = command.output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .find_map(|line| line.strip_prefix("zone = "))
        .expect("a zone is shown")
        .to_string()
}

#[test]
fn precedence_is_flag_environment_file_default() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let empty = folder.path().join("empty.toml");
    let file = folder.path().join("quorate.toml");
    std::fs::write(&empty, "").expect("the file is written");
    std::fs::write(&file, "[node]\nzone = \"from-file\"\n").expect("the file is written");
    assert_eq!(zone(&empty, None, None), "\"az1\"");
    assert_eq!(zone(&file, None, None), "\"from-file\"");
    assert_eq!(zone(&file, Some("from-environment"), None), "\"from-environment\"");
    assert_eq!(
        zone(&file, Some("from-environment"), Some("from-flag")),
        "\"from-flag\""
    );
}
