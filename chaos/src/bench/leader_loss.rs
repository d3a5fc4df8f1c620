//! Loss of the KV's leader, or of a follower, under writers with a deadline of 1 s on the surviving nodes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Programs, cluster, directory};
use crate::checkers;
use crate::cluster::DevCluster;
use crate::demo::read_all;
use crate::faults::Signal;
use crate::kv;
use crate::statistics::summary;
use crate::writers::{WriterOptions, Writers, failures, longest_gap};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Which node is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The node that leads.
    Leader,
    /// A node that does not.
    Follower,
}

/// Kills (or stops) the leader or a follower `runs` times and prints gaps and failures.
pub async fn run(programs: &Programs, runs: usize, signal: Signal, victim: Victim) -> Result<()> {
    let directory = directory()?;
    let mut cluster = cluster(programs, &directory).await?;
    let (mut gaps, mut failed, mut total) = (Vec::new(), 0, 0);
    for number in 0..runs {
        let leader = cluster.leader(READY_TIMEOUT).await?;
        let nodes = &cluster.info.nodes;
        let follower = nodes.iter().map(|node| node.id).find(|id| *id != leader);
        let lost = match victim {
            Victim::Leader => leader,
            Victim::Follower => follower.context("a cluster of one node has no follower")?,
        };
        let survivors: Vec<_> = nodes.iter().filter(|node| node.id != lost).cloned().collect();
        let paths = survivors
            .iter()
            .map(|node| kv::as_root(&cluster.info, &node.kv))
            .collect::<Result<Vec<_>>>()?;
        let options = WriterOptions {
            prefix: format!("/run-{number}/"),
            ..WriterOptions::default()
        };
        let writers = Writers::start(&paths, &options).await?;
        writers.wait_acknowledged(200, READY_TIMEOUT).await?;
        cluster.signal(lost, signal)?;
        writers.wait_acknowledged(400, READY_TIMEOUT).await?;
        let writes = writers.finish().await;
        gaps.push(longest_gap(&writes));
        failed += failures(&writes).len();
        total += writes.len();
        match signal {
            Signal::Stop => cluster.signal(lost, Signal::Continue)?,
            _ => cluster.restart(lost).await?,
        }
        cluster.wait_ready(lost, READY_TIMEOUT).await?;
        let present = read_from(&cluster, lost, &options.prefix).await?;
        let mut violations = checkers::lost_writes(&writes, &present);
        violations.extend(checkers::revision_order(&writes, &[]));
        ensure!(violations.is_empty(), "{}", violations.join("; "));
    }
    println!("{victim:?} {signal:?}: write gap {}", summary(&mut gaps));
    println!("{victim:?} {signal:?}: {failed} of {total} puts failed; no acknowledged put lost or applied twice");
    cluster.stop().await
}

/// Everything under the prefix, from a node that has just returned: its KV port opens a moment after it says that it is
/// ready.
async fn read_from(cluster: &DevCluster, node: u64, prefix: &str) -> Result<BTreeMap<String, (String, i64)>> {
    let endpoint = cluster.node(node)?.kv.clone();
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        match read_all(&cluster.info, &endpoint, prefix).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
            outcome => return outcome,
        }
    }
}
