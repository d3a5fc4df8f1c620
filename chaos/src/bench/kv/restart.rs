//! How long a node takes from its start until it answers a linearizable read, with 1,000,000 keys.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Options;
use super::figures::{Figure, Target, Unit, median};
use super::memory::largest_mib;
use crate::bench::load;
use crate::bench::peers::Peer;
use crate::faults::Signal;

const KEYS: u64 = 1_000_000;
/// Single puts after the keys, so that every restart also replays entries of the log.
const SINGLE_PUTS: u64 = 20_000;
const TARGET_MS: f64 = 3_000.0;
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Kills a follower and starts it again, `rounds` times.
pub async fn measure(peer: &mut Peer, options: &Options) -> Result<Vec<Figure>> {
    load::fill(peer, KEYS).await?;
    load::put_each(peer, SINGLE_PUTS).await?;
    let mut times = Vec::new();
    for _ in 0..options.rounds {
        let follower = (peer.leader().await? + 1) % 3;
        peer.signal(follower, Signal::Kill)?;
        peer.wait_ended(follower).await?;
        let started = Instant::now();
        peer.restart(follower).await?;
        peer.wait_serving(follower, READY_TIMEOUT).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let row = "restart of a follower, 1,000,000 keys";
    let resident = largest_mib(peer)?;
    Ok(vec![
        Figure::new(
            row,
            "ready",
            Unit::Milliseconds,
            median(&times),
            Target::AtMost(TARGET_MS),
        ),
        Figure::new(row, "resident memory", Unit::Mebibytes, resident, Target::None),
    ])
}
