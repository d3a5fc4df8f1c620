//! `cargo xtask differential`: the KV beside real etcd, operation by operation.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use quorate_chaos::differential::{Options, Programs, run};

#[derive(Parser)]
#[command(about = "Gives real etcd and Quorate the same random operations and compares every answer")]
struct Cli {
    /// The appliance's binary.
    #[arg(long)]
    quorate: PathBuf,
    /// Directory of real etcd.
    #[arg(long)]
    etcd: PathBuf,
    /// How many operations are compared.
    #[arg(long, default_value_t = 1_000_000)]
    operations: usize,
    /// Pairs of systems at the same time, each with a sequence of its own.
    #[arg(long, default_value_t = 2)]
    lanes: usize,
    /// Makes the sequence of the first lane, the next ones those of the others; a run tells its own, so that it can be had again.
    #[arg(long)]
    seed: Option<u64>,
    /// Operations between two comparisons of everything.
    #[arg(long, default_value_t = 10_000)]
    checkpoint_every: usize,
    /// Tell a difference as it was met, without searching for a shorter sequence.
    #[arg(long)]
    no_shrink: bool,
    /// Differences that are told without ending the run.
    #[arg(long, default_value_t = 0)]
    tolerate: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let programs = Programs {
        quorate: cli.quorate,
        etcd: cli.etcd.join("etcd"),
    };
    let options = Options {
        operations: cli.operations,
        lanes: cli.lanes,
        seed: cli.seed.unwrap_or_else(rand::random),
        checkpoint_every: cli.checkpoint_every,
        shrink: !cli.no_shrink,
        tolerate: cli.tolerate,
    };
    match run(&programs, options).await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
