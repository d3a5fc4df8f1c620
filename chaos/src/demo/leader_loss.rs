//! Kill of the leader node while clients write to the KV.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::report::Report;
use crate::checkers;
use crate::cluster::{DevCluster, DevInfo};
use crate::etcd::Client;
use crate::faults::Signal;
use crate::kv;
use crate::statistics::milliseconds;
use crate::writers::{WriteOutcome, WriterOptions, Writers, failures, longest_gap};

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything below a prefix, read linearizably through `endpoint`: key to (value, revision).
pub async fn read_all(info: &DevInfo, endpoint: &str, prefix: &str) -> Result<BTreeMap<String, (String, i64)>> {
    let mut client = Client::connect(&kv::as_root(info, endpoint)?, Duration::from_secs(5)).await?;
    let reply = client.get_prefix(prefix).await?;
    Ok(reply
        .kvs
        .iter()
        .map(|kv| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(&kv.key), (text(&kv.value), kv.mod_revision))
        })
        .collect())
}

/// The act.
pub async fn run(cluster: &mut DevCluster, report: &mut Report) -> Result<()> {
    report.act("The leader node is killed while clients write, each with a deadline of 1 s");
    let leader = cluster.leader(READY_TIMEOUT).await?;
    let paths = cluster
        .info
        .nodes
        .iter()
        .filter(|node| node.id != leader)
        .map(|node| kv::as_root(&cluster.info, &node.kv))
        .collect::<Result<Vec<_>>>()?;
    let writers = Writers::start(&paths, &WriterOptions::default()).await?;
    writers.wait_acknowledged(300, READY_TIMEOUT).await?;
    report.say(&format!(
        "node {leader} leads; {} writes acknowledged through the other two; SIGKILL",
        writers.acknowledged()
    ));
    cluster.signal(leader, Signal::Kill)?;
    writers.wait_acknowledged(300, READY_TIMEOUT).await?;
    let successor = cluster.leader(READY_TIMEOUT).await?;
    let writes = writers.finish().await;
    let failed = failures(&writes);
    let acknowledged = writes
        .iter()
        .filter(|write| matches!(write.outcome, WriteOutcome::Acknowledged(_)))
        .count();
    report.finding(format!(
        "leader killed: node {successor} took over, write gap {} ms, {} of {} writes failed",
        milliseconds(longest_gap(&writes)),
        failed.len(),
        writes.len()
    ));
    if let Some(first) = failed.first() {
        report.say(&format!("first failure: {:?}", first.outcome));
    }
    cluster.restart(leader).await?;
    let ready = cluster.wait_ready(leader, READY_TIMEOUT).await?;
    report.say(&format!(
        "node {leader} is back {:.1} s after its restart",
        ready.as_secs_f64()
    ));
    let mut violations = checkers::revision_order(&writes, &[]);
    for node in &cluster.info.nodes {
        violations.extend(checkers::lost_writes(
            &writes,
            &read_all(&cluster.info, &node.kv, "/load/").await?,
        ));
    }
    ensure!(violations.is_empty(), "{}", violations.join("; "));
    report.finding(format!(
        "no acknowledged write is lost or applied twice: {acknowledged} checked on every node"
    ));
    Ok(())
}
