//! A whole load on the KV with its judgement: writers, linearizable readers and a watcher on every node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::checkers;
use crate::cluster::DevCluster;
use crate::demo::read_all;
use crate::kv;
use crate::readers::{Read, Readers};
use crate::watcher::{WatchRecord, Watcher};
use crate::writers::{Write, WriteOutcome, WriterOptions, Writers};

/// A running load through all nodes.
#[derive(Debug)]
pub struct KvLoad {
    writers: Writers,
    readers: Readers,
    /// By node id.
    watchers: Vec<(u64, Watcher)>,
    prefix: String,
}

/// What a finished load recorded.
#[derive(Debug)]
pub struct KvRecord {
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
    /// By node id.
    pub watches: Vec<(u64, WatchRecord)>,
}

const WATCH_TIMEOUT: Duration = Duration::from_secs(15);

impl KvLoad {
    /// Starts writers, a reader and a watcher on every node; keys lie below `prefix`.
    pub async fn start(cluster: &DevCluster, prefix: &str) -> Result<Self> {
        let nodes = &cluster.info.nodes;
        let paths = nodes
            .iter()
            .map(|node| kv::as_root(&cluster.info, &node.kv))
            .collect::<Result<Vec<_>>>()?;
        let mut watchers = Vec::new();
        for (node, path) in nodes.iter().zip(&paths) {
            let watcher = Watcher::start(path.clone(), prefix, 1);
            watcher.wait_watching(WATCH_TIMEOUT).await?;
            watchers.push((node.id, watcher));
        }
        let options = WriterOptions {
            per_path: 2,
            prefix: prefix.to_owned(),
            ..WriterOptions::default()
        };
        let writers = Writers::start(&paths, &options).await?;
        let readers = Readers::start(&paths, &writers.log());
        Ok(Self {
            writers,
            readers,
            watchers,
            prefix: prefix.to_owned(),
        })
    }

    /// Waits until `count` further writes have been acknowledged, by whichever nodes.
    pub async fn wait_acknowledged(&self, count: usize, timeout: Duration) -> Result<()> {
        self.writers.wait_acknowledged(count, timeout).await
    }

    /// How often the watch on a node has been broken.
    pub fn watch_broken(&self, node: u64) -> u32 {
        let record = self.watchers.iter().find(|(id, _)| *id == node);
        record.map_or(0, |(_, watcher)| watcher.record().broken)
    }

    /// Waits until a watch stands on every node.
    pub async fn wait_watching(&self) -> Result<()> {
        for (node, watcher) in &self.watchers {
            let standing = watcher.wait_watching(WATCH_TIMEOUT).await;
            standing.with_context(|| format!("watch on node {node}"))?;
        }
        Ok(())
    }

    /// Stops the load and checks on every node, all of which must serve: no acknowledged write lost or applied twice,
    /// revisions in the order of real time, no stale read, no watcher that missed, doubled or reordered anything.
    pub async fn finish(self, cluster: &DevCluster) -> Result<KvRecord> {
        let writes = self.writers.finish().await;
        let reads = self.readers.finish().await?;
        let acknowledged = writes.iter().filter_map(|write| match write.outcome {
            WriteOutcome::Acknowledged(revision) => Some(revision),
            WriteOutcome::Failed(_) => None,
        });
        let last = acknowledged.max().context("no write was acknowledged")?;
        let mut violations = checkers::revision_order(&writes, &reads);
        let mut watches = Vec::new();
        for (node, watcher) in &self.watchers {
            wait_for_revision(*node, watcher, last).await?;
            let record = watcher.record();
            violations.extend(checkers::watch_gaps(
                &format!("watcher on node {node}"),
                &record.events,
                &writes,
            ));
            let kv = &cluster.node(*node)?.kv;
            violations.extend(checkers::lost_writes(
                &writes,
                &read_all(&cluster.info, kv, &self.prefix).await?,
            ));
            watches.push((*node, record));
        }
        ensure!(!reads.is_empty(), "no read was answered");
        ensure!(
            violations.is_empty(),
            "{} violations: {}",
            violations.len(),
            shorten(&violations)
        );
        Ok(KvRecord { writes, reads, watches })
    }
}

async fn wait_for_revision(node: u64, watcher: &Watcher, last: i64) -> Result<()> {
    let deadline = Instant::now() + WATCH_TIMEOUT;
    loop {
        let seen = watcher.record().events.last().map_or(0, |event| event.revision);
        if seen >= last {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the watcher on node {node} is at revision {seen}, not {last}, after {WATCH_TIMEOUT:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first few violations: a lost node would name every write.
fn shorten(violations: &[String]) -> String {
    const SHOWN: usize = 8;
    violations[..violations.len().min(SHOWN)].join("; ")
}
