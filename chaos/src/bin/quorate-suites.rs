//! Public clients of etcd and Patroni on the appliance: what `cargo xtask suites` runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use quorate_chaos::suites::{Cache, Programs, Suite, compare, patroni};

#[derive(Parser)]
#[command(
    about = "Run public clients of etcd, with the tests that come with them, against Quorate and against real etcd"
)]
struct Cli {
    /// The appliance's binary.
    #[arg(long)]
    quorate: PathBuf,
    /// Directory with the binaries of real etcd.
    #[arg(long)]
    etcd: PathBuf,
    /// The Go compiler.
    #[arg(long)]
    go: PathBuf,
    /// Of etcd's own tests, only those whose names hold this.
    #[arg(long)]
    only: Option<String>,
    /// What to run; everything if nothing is named.
    names: Vec<Name>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// The tests of the Rust crate etcd-client.
    Rust,
    /// The tests of Python's etcd3gw.
    Python,
    /// The documented examples of Node's etcd3.
    Node,
    /// etcd's own end-to-end tests, which launch `etcd` by its flags.
    Etcd,
    /// Patroni with two real PostgreSQL servers.
    Patroni,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let programs = Programs {
        quorate: cli.quorate,
        etcd: cli.etcd.join("etcd"),
        go: cli.go,
        only: cli.only,
    };
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cache = Cache::open()?;
    let names = match cli.names.is_empty() {
        true => Name::value_variants(),
        false => cli.names.as_slice(),
    };
    let mut missed = 0;
    for name in names {
        let suite = match name {
            Name::Rust => Suite::Rust,
            Name::Python => Suite::Python,
            Name::Node => Suite::Node,
            Name::Etcd => Suite::Etcd,
            Name::Patroni => {
                patroni::run(&programs.quorate, &cache).await?;
                continue;
            }
        };
        missed += compare(suite, &programs, &cache).await?.missed().len();
    }
    if missed > 0 {
        bail!(
            "real etcd passes {missed} tests that Quorate does not; what they said is in {}",
            cache.path("").display()
        );
    }
    Ok(())
}
