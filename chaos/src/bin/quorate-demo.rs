//! `cargo xtask demo`: the main job on real servers, once, with its timeline.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use quorate_chaos::demo::{KINDS, Options, run};

#[derive(Parser)]
#[command(about = "Kills a real database and shows the failover")]
struct Cli {
    /// The appliance's binary.
    #[arg(long)]
    quorate: PathBuf,
    /// Leave everything running at the end.
    #[arg(long)]
    keep: bool,
    /// The story on this kind of data source: mysql, postgresql, redis, mongodb, elasticsearch, api.
    #[arg(long, conflicts_with = "keep")]
    kind: Option<String>,
    /// The story on every kind, one after the other.
    #[arg(long, conflicts_with_all = ["keep", "kind"])]
    all: bool,
}

impl Cli {
    fn kinds(&self) -> Option<Vec<String>> {
        let every = ["mysql"].into_iter().chain(KINDS).map(str::to_owned).collect();
        match &self.kind {
            Some(kind) => Some(vec![kind.clone()]),
            None => self.all.then_some(every),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    match run(&Options {
        kinds: cli.kinds(),
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
