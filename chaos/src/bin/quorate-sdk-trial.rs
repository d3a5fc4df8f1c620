//! `cargo xtask sdk-trial`: an unmodified Go SDK on real servers, through failover, switches and killed nodes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use quorate_chaos::sdk_trial::{Database, Options, run};

#[derive(Parser)]
#[command(about = "Runs an unmodified Go SDK against three nodes and a pair of real servers")]
struct Cli {
    /// The appliance's binary.
    #[arg(long)]
    quorate: PathBuf,
    /// Checkout of the SDK; it is only read.
    #[arg(long)]
    sdk: PathBuf,
    /// The Go program.
    #[arg(long, default_value = "go")]
    go: PathBuf,
    /// The KV port demands client certificates, as by default in production.
    #[arg(long)]
    mutual_tls: bool,
    /// What the application works on.
    #[arg(long, value_enum, default_value_t = Database::Mysql)]
    database: Database,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let options = Options {
        quorate: cli.quorate,
        sdk: cli.sdk,
        go: cli.go,
        mutual_tls: cli.mutual_tls,
        database: cli.database,
    };
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe trial failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
