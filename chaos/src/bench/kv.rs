//! Puts and gets beside real etcd: same machine, same run, same client, in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::Programs;
use super::load::{self, Figures, Operation};
use super::peers::Peer;
use crate::statistics::{milliseconds, percentile};

const CLIENTS: [usize; 3] = [1, 100, 1000];

/// Rows measured for one system: rate, p50, p99 and server CPU.
type Rows = BTreeMap<(usize, usize), Vec<Figures>>;

/// Runs `rounds` rounds of both systems and prints medians and ratios. `only` keeps the rows of one number of clients.
pub async fn run(programs: &Programs, rounds: usize, seconds: u64, only: Option<usize>) -> Result<()> {
    let clients: Vec<usize> = only.map_or(CLIENTS.to_vec(), |clients| vec![clients]);
    let (mut ours, mut theirs) = (Rows::new(), Rows::new());
    for round in 1..=rounds {
        measure(Peer::etcd(programs).await?, &clients, seconds, &mut theirs, round).await?;
        measure(Peer::quorate(programs).await?, &clients, seconds, &mut ours, round).await?;
    }
    println!("\n8 B keys, 256 B values, three nodes on one machine, history kept by both, medians of {rounds} rounds");
    println!("| measure | quorate/s | etcd/s | ratio | p50 ms | etcd | p99 ms | etcd | CPU µs/op | etcd | ratio |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for key in ours.keys() {
        let (mine, other) = (Row::of(&ours[key]), Row::of(&theirs[key]));
        println!(
            "| {} | {:.0} | {:.0} | {:.2} | {} | {} | {} | {} | {:.0} | {:.0} | {:.2} |",
            label(*key),
            mine.rate,
            other.rate,
            mine.rate / other.rate,
            milliseconds(mine.p50),
            milliseconds(other.p50),
            milliseconds(mine.p99),
            milliseconds(other.p99),
            mine.cpu_us,
            other.cpu_us,
            mine.cpu_us / other.cpu_us,
        );
    }
    Ok(())
}

fn label((operation, clients): (usize, usize)) -> String {
    let name = if operation == 0 { "puts" } else { "linearizable gets" };
    format!("{name}, {clients} client{}", if clients == 1 { "" } else { "s" })
}

async fn measure(peer: Peer, clients: &[usize], seconds: u64, rows: &mut Rows, round: usize) -> Result<()> {
    for (index, operation) in [Operation::Put, Operation::Get].into_iter().enumerate() {
        for &clients in clients {
            let figures = load::run(&peer, operation, clients, Duration::from_secs(seconds)).await?;
            println!(
                "round {round} {}: {} {:.0}/s, {} failed",
                peer.name(),
                label((index, clients)),
                figures.per_second,
                figures.failures
            );
            rows.entry((index, clients)).or_default().push(figures);
        }
    }
    peer.stop().await
}

struct Row {
    rate: f64,
    p50: Duration,
    p99: Duration,
    cpu_us: f64,
}

impl Row {
    fn of(rounds: &[Figures]) -> Self {
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let each = |get: &dyn Fn(&Figures) -> f64| median(rounds.iter().map(get).collect());
        let latency = |percent| {
            Duration::from_secs_f64(each(&|row| {
                percentile(&mut row.latencies.clone(), percent).as_secs_f64()
            }))
        };
        Self {
            rate: each(&|row| row.per_second),
            p50: latency(50),
            p99: latency(99),
            cpu_us: each(&|row| row.server_cpu.as_secs_f64() * 1e6),
        }
    }
}
