//! Resident memory of a node that holds 100,000 keys of 256 B.

use std::time::Duration;

use anyhow::Result;

use super::figures::{Figure, Target, Unit};
use crate::accounting::resident_kib;
use crate::bench::load;
use crate::bench::peers::Peer;

const KEYS: u64 = 100_000;
const TARGET_MIB: f64 = 96.0;
/// What both take to settle after the last put.
const REST: Duration = Duration::from_secs(5);

/// Puts the keys one by one and looks at the largest of the three nodes.
pub async fn measure(peer: &Peer) -> Result<Vec<Figure>> {
    let empty = largest_mib(peer)?;
    load::put_each(peer, KEYS).await?;
    let filled = largest_mib(peer)?;
    tokio::time::sleep(REST).await;
    let rested = largest_mib(peer)?;
    let row = "resident memory, 100,000 keys × 256 B, the largest node";
    let target = Target::AtMostAndBelowPeer(TARGET_MIB);
    Ok(vec![
        Figure::new(row, "empty", Unit::Mebibytes, empty, Target::None),
        Figure::new(row, "after the last put", Unit::Mebibytes, filled, Target::None),
        Figure::new(row, "5 s later", Unit::Mebibytes, rested, target),
    ])
}

/// Resident memory of the node that has most.
pub fn largest_mib(peer: &Peer) -> Result<f64> {
    let mut largest = 0;
    for pid in peer.pids() {
        largest = largest.max(resident_kib(pid)?);
    }
    Ok(largest as f64 / 1024.0)
}
