//! `cargo xtask faults`: the list of faults on real servers, expected beside seen.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use quorate_chaos::fault_table::{self, Options, Row};

#[derive(Parser)]
#[command(about = "Runs the list of faults on real servers; ends with 1 where expected and seen differ")]
struct Cli {
    /// The appliance's binary.
    #[arg(long)]
    quorate: PathBuf,
    /// Only on this engine; may be repeated.
    #[arg(long = "engine")]
    engines: Vec<String>,
    /// Only scenarios of a few seconds.
    #[arg(long)]
    quick: bool,
    /// Print every scenario's name and what is done, and run nothing.
    #[arg(long)]
    list: bool,
    /// Write the table to this file (`docs/faults.md`).
    #[arg(long)]
    write: Option<PathBuf>,
    /// Scenarios; nothing runs all.
    names: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(differing) => {
            eprintln!("{differing} scenarios differ from what is expected");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the run ended early: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<usize> {
    if cli.list {
        for scenario in fault_table::catalogue() {
            println!("{:32} {}", scenario.name, scenario.what);
        }
        return Ok(0);
    }
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider is installed already");
    }
    let options = Options {
        quorate: cli.quorate,
        engines: cli.engines,
        names: cli.names,
        quick: cli.quick,
    };
    let directory = quorate_chaos::bench::directory()?;
    let outcome = fault_table::run(&options, directory.path(), fault_table::print).await;
    if outcome.is_err() {
        eprintln!("all files are kept in {}", directory.keep().display());
    }
    let rows: Vec<Row> = outcome?;
    if let Some(path) = cli.write {
        let date = jiff::Zoned::now().date().to_string();
        std::fs::write(&path, fault_table::markdown(&rows, &date)).with_context(|| format!("{}", path.display()))?;
        println!("written to {}", path.display());
    }
    let differing = rows.iter().filter(|row| !row.is_right()).count();
    println!("{} scenarios, {differing} with a difference", rows.len());
    Ok(differing)
}
