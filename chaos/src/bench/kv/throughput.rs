//! Puts, gets and transactions in a closed loop: rate, latency and server CPU.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Options;
use super::figures::{Figure, Target, Unit};
use crate::bench::load::{self, Operation};
use crate::bench::peers::Peer;
use crate::statistics::percentile;

const CLIENTS: [usize; 3] = [1, 100, 1000];
const TRANSACTION_CLIENTS: usize = 100;
/// What a single put may take beyond the flush of the disk.
const BEYOND_FLUSH_MS: f64 = 0.5;

/// Targets of rate, p50, p99 and CPU.
struct Targets([Target; 4]);

fn targets(operation: Operation, clients: usize) -> Result<Targets> {
    use Target::{AtMost, None, RatioAtLeast, RatioAtMost};
    Ok(Targets(match (operation, clients) {
        (Operation::Put, 1) => [RatioAtLeast(1.0), AtMost(flush_ms()? + BEYOND_FLUSH_MS), None, None],
        (Operation::Put, 1000) => [RatioAtLeast(3.0), None, RatioAtMost(1.0 / 3.0), RatioAtMost(1.0 / 3.0)],
        (Operation::Get, 1) => [RatioAtLeast(1.5), None, None, None],
        (Operation::Get, 1000) => [RatioAtLeast(2.0), None, None, RatioAtMost(0.5)],
        (Operation::Transaction, _) => [RatioAtLeast(2.5), None, None, RatioAtMost(1.0 / 3.0)],
        _ => [None; 4],
    }))
}

/// One round of an operation with every number of clients.
pub async fn measure(peer: &Peer, operation: Operation, options: &Options) -> Result<Vec<Figure>> {
    let clients = match (operation, options.clients) {
        (Operation::Transaction, _) => vec![TRANSACTION_CLIENTS],
        (_, Some(clients)) => vec![clients],
        (_, None) => CLIENTS.to_vec(),
    };
    if operation != Operation::Put {
        load::fill(peer, load::KEYS).await?;
    }
    let mut figures = Vec::new();
    for clients in clients {
        let mut measured = load::run(peer, operation, clients, Duration::from_secs(options.seconds)).await?;
        let plural = if clients == 1 { "" } else { "s" };
        let row = format!("{}, {clients} client{plural}", operation.name());
        let Targets([rate, p50, p99, cpu]) = targets(operation, clients)?;
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let latencies = &mut measured.latencies;
        figures.extend([
            Figure::new(&row, "rate", Unit::PerSecond, measured.per_second, rate),
            Figure::new(&row, "p50", Unit::Milliseconds, ms(percentile(latencies, 50)), p50),
            Figure::new(&row, "p99", Unit::Milliseconds, ms(percentile(latencies, 99)), p99),
            Figure::new(
                &row,
                "server CPU",
                Unit::CpuMicroseconds,
                measured.server_cpu.as_secs_f64() * 1e6,
                cpu,
            ),
        ]);
        if measured.failures > 0 {
            let failures = measured.failures as f64;
            figures.push(Figure::new(&row, "failed", Unit::Count, failures, Target::AtMost(0.0)));
        }
    }
    Ok(figures)
}

/// The median time of an fdatasync after 4 KiB were overwritten, in milliseconds, where the systems keep their data.
fn flush_ms() -> Result<f64> {
    const BLOCK: [u8; 4096] = [7; 4096];
    const BLOCKS: u64 = 200;
    let mut file = tempfile::tempfile()?;
    for _ in 0..BLOCKS {
        file.write_all(&BLOCK)?;
    }
    file.sync_all()?;
    let mut flushes = Vec::new();
    for number in 0..BLOCKS {
        let started = Instant::now();
        file.write_all_at(&BLOCK, number * BLOCK.len() as u64)?;
        file.sync_data()?;
        flushes.push(started.elapsed());
    }
    Ok(percentile(&mut flushes, 50).as_secs_f64() * 1e3)
}
