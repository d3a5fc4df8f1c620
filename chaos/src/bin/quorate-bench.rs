//! `cargo xtask bench`: what the appliance takes, beside its peers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate_chaos::bench::leader_loss::Victim;
use quorate_chaos::bench::{Programs, application, detection, failover, idle, kv, leader_loss, monitors};
use quorate_chaos::faults::Signal;

#[derive(Parser)]
#[command(about = "Measures failover, detection, many monitors, leader loss, idling and the KV beside real etcd")]
struct Cli {
    /// The appliance's binary.
    #[arg(long)]
    quorate: PathBuf,
    /// Directory of real etcd.
    #[arg(long)]
    etcd: PathBuf,
    #[command(subcommand)]
    measure: Option<Measure>,
}

#[derive(Subcommand, Clone)]
enum Measure {
    /// From the fault of a real database to the last watcher.
    Failover {
        #[arg(long, default_value_t = 20)]
        runs: usize,
    },
    /// The same on every engine, beside the published formula.
    Detection {
        /// Failovers of each engine and fault.
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// Kinds, separated by commas.
        #[arg(long, value_delimiter = ',', default_values_t = detection::ENGINES.map(str::to_owned))]
        engines: Vec<String>,
    },
    /// 1,000 monitors of mixed kinds and nothing happening.
    Monitors {
        #[arg(long, default_value_t = monitors::MONITORS)]
        monitors: usize,
    },
    /// A whole application of 100 monitors switches there and back.
    Application {
        #[arg(long, default_value_t = 20)]
        runs: usize,
    },
    /// Leader (or follower) SIGKILL (or SIGSTOP) under writers with a deadline of 1 s.
    LeaderLoss {
        #[arg(long, default_value_t = 30)]
        runs: usize,
        /// SIGSTOP in place of SIGKILL.
        #[arg(long)]
        stop: bool,
        /// A follower in place of the leader.
        #[arg(long)]
        follower: bool,
    },
    /// The KV beside real etcd, every row or those named.
    Kv {
        /// Rows, separated by commas; all without.
        #[arg(long, value_delimiter = ',')]
        rows: Vec<kv::Row>,
        /// Rounds of both systems, of which medians are printed.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// How often a leader or follower is lost; the targets are for 30.
        #[arg(long, default_value_t = 10)]
        runs: usize,
        /// Pairs of undisturbed and disturbed puts.
        #[arg(long, default_value_t = 5)]
        pairs: usize,
        /// Puts and gets of this number of clients only, and nothing else unless rows are named.
        #[arg(long)]
        clients: Option<usize>,
    },
    /// 100 monitors and nothing happening.
    Idle,
}

const LEADER_KILLED: Measure = Measure::LeaderLoss {
    runs: 30,
    stop: false,
    follower: false,
};
const LEADER_STOPPED: Measure = Measure::LeaderLoss {
    runs: 30,
    stop: true,
    follower: false,
};
const FOLLOWER_KILLED: Measure = Measure::LeaderLoss {
    runs: 30,
    stop: false,
    follower: true,
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let programs = Programs {
        quorate: cli.quorate,
        etcd: cli.etcd,
    };
    let every = vec![
        Measure::Failover { runs: 20 },
        Measure::Detection {
            runs: 20,
            engines: detection::ENGINES.map(str::to_owned).to_vec(),
        },
        Measure::Monitors {
            monitors: monitors::MONITORS,
        },
        Measure::Application { runs: 20 },
        LEADER_KILLED,
        LEADER_STOPPED,
        FOLLOWER_KILLED,
        Measure::Idle,
        Measure::Kv {
            rows: Vec::new(),
            rounds: 3,
            seconds: 5,
            runs: 30,
            pairs: 5,
            clients: None,
        },
    ];
    for measure in cli.measure.map_or(every, |one| vec![one]) {
        if let Err(error) = run(&programs, measure).await {
            eprintln!("the measurement failed: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn run(programs: &Programs, measure: Measure) -> anyhow::Result<()> {
    match measure {
        Measure::Failover { runs } => failover::run(programs, runs).await,
        Measure::LeaderLoss { runs, stop, follower } => {
            let signal = if stop { Signal::Stop } else { Signal::Kill };
            let victim = if follower { Victim::Follower } else { Victim::Leader };
            leader_loss::run(programs, runs, signal, victim).await
        }
        Measure::Kv {
            rows,
            rounds,
            seconds,
            runs,
            pairs,
            clients,
        } => {
            let options = kv::Options {
                rows,
                rounds,
                seconds,
                runs,
                pairs,
                clients,
            };
            kv::run(programs, &options).await
        }
        Measure::Idle => idle::run(programs).await,
        Measure::Detection { runs, engines } => detection::run(programs, runs, &engines).await,
        Measure::Monitors { monitors } => monitors::run(programs, monitors).await,
        Measure::Application { runs } => application::run(programs, runs).await,
    }
}
