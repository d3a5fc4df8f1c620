//! The KV beside real etcd: same machine, same run, same client, in turn. One file below `kv/` for every kind of row.

mod figures;
mod leases;
mod loss;
mod memory;
mod restart;
mod throughput;
mod upkeep;
mod watchers;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use super::Programs;
use super::load::Operation;
use super::peers::{Peer, System};
use crate::bench::leader_loss::Victim;
use crate::faults::Signal;
use figures::{Figure, Table};
use upkeep::Upkeep;

/// A row of the table, or several that share a running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Puts of 1, 100 and 1000 clients.
    Puts,
    /// Linearizable gets of 1, 100 and 1000 clients.
    Gets,
    /// Transactions of 100 clients, half of them reading and half writing.
    Txns,
    /// 10,000 watchers on keys of their own, 1,000 deliveries a second, one consumer that does not read.
    Watch,
    /// 100 watchers of one key, 100 events a second.
    FanOut,
    /// Keep-alives of 1000 leases.
    KeepAlives,
    /// SIGKILL of the leader.
    LeaderKill,
    /// SIGSTOP of the leader.
    LeaderStop,
    /// SIGKILL of a follower.
    FollowerLoss,
    /// Resident memory with 100,000 keys.
    Memory,
    /// A node's start with 1,000,000 keys.
    Restart,
    /// Puts while clients take snapshots.
    Snapshot,
    /// Puts while history is compacted.
    Compaction,
    /// Puts while a node that lost its data is filled again.
    Rebuild,
}

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// Empty: all.
    pub rows: Vec<Row>,
    /// Rounds of both systems of which medians are printed.
    pub rounds: usize,
    /// Seconds that one measurement takes.
    pub seconds: u64,
    /// Losses of a leader or follower.
    pub runs: usize,
    /// Pairs of undisturbed and disturbed puts.
    pub pairs: usize,
    /// Only this number of clients of puts and gets.
    pub clients: Option<usize>,
}

impl Row {
    /// Whether every round begins with a new cluster. The others repeat within one, whose making takes longer.
    fn is_repeated(self) -> bool {
        !matches!(
            self,
            Self::LeaderKill
                | Self::LeaderStop
                | Self::FollowerLoss
                | Self::Restart
                | Self::Snapshot
                | Self::Compaction
                | Self::Rebuild
        )
    }

    /// Ours is the appliance, but where members are exchanged: there both are started by etcd's flags.
    fn ours(self) -> System {
        match self {
            Self::Snapshot | Self::Compaction | Self::Rebuild => System::QuorateAsEtcd,
            _ => System::Quorate,
        }
    }

    async fn measure(self, peer: &mut Peer, options: &Options) -> Result<Vec<Figure>> {
        match self {
            Self::Puts => throughput::measure(peer, Operation::Put, options).await,
            Self::Gets => throughput::measure(peer, Operation::Get, options).await,
            Self::Txns => throughput::measure(peer, Operation::Transaction, options).await,
            Self::Watch => watchers::distinct(peer, options).await,
            Self::FanOut => watchers::fan_out(peer, options).await,
            Self::KeepAlives => leases::measure(peer, options).await,
            Self::LeaderKill => loss::measure(peer, options, Victim::Leader, Signal::Kill).await,
            Self::LeaderStop => loss::measure(peer, options, Victim::Leader, Signal::Stop).await,
            Self::FollowerLoss => loss::measure(peer, options, Victim::Follower, Signal::Kill).await,
            Self::Memory => memory::measure(peer).await,
            Self::Restart => restart::measure(peer, options).await,
            Self::Snapshot => upkeep::measure(peer, options, Upkeep::Snapshot).await,
            Self::Compaction => upkeep::measure(peer, options, Upkeep::Compaction).await,
            Self::Rebuild => upkeep::measure(peer, options, Upkeep::Rebuild).await,
        }
    }
}

/// Measures the rows on both systems and prints medians, ratios, targets and verdicts.
///
/// # Errors
///
/// If a row could not be measured; the others are, and are printed.
pub async fn run(programs: &Programs, options: &Options) -> Result<()> {
    let (mut table, mut failed) = (Table::default(), Vec::new());
    for row in rows(options) {
        let rounds = if row.is_repeated() { options.rounds } else { 1 };
        for round in 1..=rounds {
            for system in [System::Etcd, row.ours()] {
                match measure(programs, options, row, system, round).await {
                    Ok(figures) => table.take(figures, system != System::Etcd),
                    Err(error) => {
                        println!("round {round} {system:?}: {row:?} FAILED: {error:#}");
                        failed.push(format!("{row:?} of {system:?}"));
                    }
                }
            }
        }
    }
    println!(
        "\nthree nodes on one machine, 256 B values, history kept by both, medians of {} rounds, {} losses, {} pairs",
        options.rounds, options.runs, options.pairs
    );
    table.print();
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// One row of one system from its start to its end.
async fn measure(
    programs: &Programs,
    options: &Options,
    row: Row,
    system: System,
    round: usize,
) -> Result<Vec<Figure>> {
    let mut peer = Peer::start(programs, system).await?;
    let figures = row.measure(&mut peer, options).await?;
    for figure in &figures {
        println!("round {round} {}: {} {}", peer.name(), figure.measure, figure.print());
    }
    peer.stop().await?;
    Ok(figures)
}

fn rows(options: &Options) -> Vec<Row> {
    match (options.rows.as_slice(), options.clients) {
        ([], None) => Row::value_variants().to_vec(),
        ([], Some(_)) => vec![Row::Puts, Row::Gets],
        (rows, _) => rows.to_vec(),
    }
}
