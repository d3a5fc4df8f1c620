//! `cargo xtask demo`: the main job on real servers, once, with its timeline.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use quorate_chaos::demo::{Options, run};

#[derive(Parser)]
#[command(about = "Kills a real database and shows the failover")]
struct Cli {
    /// The appliance's binary.
    #[arg(long)]
    quorate: PathBuf,
    /// Leave everything running at the end.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    match run(&Options {
        quorate: cli.quorate,
        keep: cli.keep,
    })
    .await
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demonstration failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
