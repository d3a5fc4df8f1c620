//! Developer commands: `cargo xtask setup | demo | faults | test | verify | bench | differential | suites | sdk-trial | fuzz | codegen`.
//!
//! This binary only prepares the machine, calls cargo and checks the source tree. What the commands run against a live
//! cluster lives in `chaos`, so that this stays quick to build.

mod boundaries;
mod cargo_env;
mod fuzz;
mod licences;
mod packages;
mod programs;
mod rocksdb;
mod servers;
mod setup;
mod sizes;
mod steps;
mod test_run;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Quorate")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: system packages, the cached RocksDB, the servers that tests start, Go and etcd for comparisons (with --peers).
    Setup {
        /// Also build real etcd and etcdctl, which `bench` and the etcdctl checks compare with.
        #[arg(long)]
        peers: bool,
    },
    /// Build, start three nodes and a real MariaDB pair, kill the active database and show the failover.
    Demo {
        /// Leave everything running at the end and print addresses and credentials.
        #[arg(long)]
        keep: bool,
        /// The story on this kind of data source; the program names those that have one.
        #[arg(long)]
        kind: Option<String>,
        /// The story on every kind, one after the other.
        #[arg(long)]
        all: bool,
    },
    /// Run the list of faults on real servers and print expected beside seen; ends with 1 where they differ.
    Faults {
        /// Passed on to the program: `--engine E`, `--quick`, `--list`, `--write docs/faults.md`, names of scenarios.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the tests; everything, or what is named.
    Test {
        /// Passed on to `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The checks of `verify` that need no build: format, house rules, boundaries, licences.
    Check,
    /// Everything that must hold: format, boundaries, sizes, licences, lints, tests with real servers, docs.
    Verify,
    /// Measure: `failover`, `detection`, `monitors`, `application`, `leader-loss`, `kv`, `idle`.
    Bench {
        /// Passed on to the measuring program; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Give real etcd and Quorate the same random operations and compare every answer.
    Differential {
        /// Passed on to the comparing program: `--operations N`, `--seed S`; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run an unmodified Go SDK through a failover, switches and killed nodes, on a real MariaDB pair.
    SdkTrial {
        /// Checkout of github.com/huaweicloud/devcloud-go; it is only read.
        #[arg(long)]
        sdk: PathBuf,
        /// The KV port demands client certificates, as by default in production.
        #[arg(long)]
        mutual_tls: bool,
        /// `mysql` (a MariaDB pair) or `redis`.
        #[arg(long, default_value = "mysql")]
        database: String,
    },
    /// Run public clients of etcd with their own tests, and Patroni, against Quorate and real etcd.
    Suites {
        /// Passed on to the program: `rust`, `python`, `node`, `etcd`, `patroni`; nothing runs all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzz everything that decodes bytes of others (`chaos/fuzz`).
    Fuzz {
        /// How long each target runs.
        #[arg(long, default_value_t = 5)]
        minutes: u32,
        /// Targets; nothing runs all.
        targets: Vec<String>,
    },
    /// Write the generated protobuf code anew.
    Codegen,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup { peers } => setup::run(peers).and_then(|()| servers::install())?,
        Command::Demo { keep, kind, all } => {
            let flags = [(keep, "--keep"), (all, "--all")].into_iter();
            let flags = flags.filter(|(given, _)| *given).map(|(_, flag)| flag.to_owned());
            let kind = kind.into_iter().flat_map(|kind| ["--kind".to_owned(), kind]);
            return programs::demo(&flags.chain(kind).collect::<Vec<_>>());
        }
        Command::Faults { arguments } => return programs::faults(&arguments),
        Command::Test { arguments } => test_run::run(&arguments)?,
        Command::Check => verify::source_checks()?,
        Command::Verify => verify::run()?,
        Command::Bench { arguments } => return programs::bench(&arguments),
        Command::Differential { arguments } => return programs::differential(&arguments),
        Command::SdkTrial {
            sdk,
            mutual_tls,
            database,
        } => return programs::sdk_trial(&sdk, mutual_tls, &database),
        Command::Suites { arguments } => return programs::suites(&arguments),
        Command::Fuzz { minutes, targets } => fuzz::fuzz(minutes, &targets)?,
        Command::Codegen => programs::codegen()?,
    }
    Ok(ExitCode::SUCCESS)
}
