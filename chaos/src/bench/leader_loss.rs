//! Loss of the KV's leader under writers with a deadline of 1 s on the surviving nodes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Programs, cluster, directory};
use crate::checkers;
use crate::demo::read_all;
use crate::faults::Signal;
use crate::kv;
use crate::statistics::summary;
use crate::writers::{WriterOptions, Writers, failures, longest_gap};

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Kills (or stops) the leader `runs` times and prints gaps and failures.
pub async fn run(programs: &Programs, runs: usize, signal: Signal) -> Result<()> {
    let directory = directory()?;
    let mut cluster = cluster(programs, &directory).await?;
    let (mut gaps, mut failed, mut total) = (Vec::new(), 0, 0);
    for number in 0..runs {
        let leader = cluster.leader(READY_TIMEOUT).await?;
        let survivors: Vec<_> = cluster
            .info
            .nodes
            .iter()
            .filter(|node| node.id != leader)
            .cloned()
            .collect();
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
        cluster.signal(leader, signal)?;
        writers.wait_acknowledged(400, READY_TIMEOUT).await?;
        let writes = writers.finish().await;
        gaps.push(longest_gap(&writes));
        failed += failures(&writes).len();
        total += writes.len();
        match signal {
            Signal::Stop => cluster.signal(leader, Signal::Continue)?,
            _ => cluster.restart(leader).await?,
        }
        cluster.wait_ready(leader, READY_TIMEOUT).await?;
        let present = read_all(&cluster.info, &cluster.node(leader)?.kv.clone(), &options.prefix).await?;
        let mut violations = checkers::lost_writes(&writes, &present);
        violations.extend(checkers::revision_order(&writes, &[]));
        ensure!(violations.is_empty(), "{}", violations.join("; "));
    }
    println!("leader {signal:?}: write gap {}", summary(&mut gaps));
    println!("leader {signal:?}: {failed} of {total} puts failed; no acknowledged put lost or applied twice");
    cluster.stop().await
}
