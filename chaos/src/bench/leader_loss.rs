//! Loss of the KV's leader, or of a follower, under writers with a deadline of 1 s on the surviving nodes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Programs;
use super::peers::{Peer, System};
use crate::checkers;
use crate::etcd::{Client, ConnectOptions};
use crate::faults::Signal;
use crate::statistics::summary;
use crate::writers::{Write, WriteOutcome, WriterOptions, Writers, failures, longest_gap};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which node is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The node that leads.
    Leader,
    /// A node that does not.
    Follower,
}

/// What losses did.
#[derive(Debug, Default)]
pub struct Record {
    /// The longest time without an acknowledged write in each run, from the last one before the loss on.
    pub gaps: Vec<Duration>,
    pub failed: usize,
    pub puts: usize,
    /// Acknowledged writes that were lost, applied twice or out of order, in words.
    pub violations: Vec<String>,
}

/// Ours alone: kills (or stops) the leader or a follower `runs` times and prints gaps and failures.
pub async fn run(programs: &Programs, runs: usize, signal: Signal, victim: Victim) -> Result<()> {
    let mut peer = Peer::start(programs, System::Quorate).await?;
    let mut record = measure(&mut peer, runs, signal, victim).await?;
    println!("{victim:?} {signal:?}: write gap {}", summary(&mut record.gaps));
    println!(
        "{victim:?} {signal:?}: {} of {} puts failed; {} acknowledged puts lost or applied twice",
        record.failed,
        record.puts,
        record.violations.len()
    );
    for violation in &record.violations {
        println!("{violation}");
    }
    peer.stop().await
}

/// Loses the node `runs` times, and has it back each time.
pub async fn measure(peer: &mut Peer, runs: usize, signal: Signal, victim: Victim) -> Result<Record> {
    let mut record = Record::default();
    for number in 0..runs {
        let leader = peer.leader().await?;
        let lost = match victim {
            Victim::Leader => leader,
            Victim::Follower => (leader + 1) % 3,
        };
        let mut survivors = peer.access();
        let gone = survivors.remove(lost);
        let options = WriterOptions {
            prefix: format!("/run-{number}/"),
            ..WriterOptions::default()
        };
        let writers = Writers::start(&survivors, &options).await?;
        writers.wait_acknowledged(200, READY_TIMEOUT).await?;
        let struck = Instant::now();
        peer.signal(lost, signal)?;
        writers.wait_acknowledged(400, READY_TIMEOUT).await?;
        let writes = writers.finish().await;
        record.gaps.push(gap_from(&writes, struck));
        record.failed += failures(&writes).len();
        record.puts += writes.len();
        if signal == Signal::Stop {
            peer.signal(lost, Signal::Continue)?;
        } else {
            peer.wait_ended(lost).await?;
            peer.restart(lost).await?;
        }
        peer.wait_serving(lost, READY_TIMEOUT).await?;
        let present = read_all(&gone, &options.prefix).await?;
        record.violations.extend(checkers::lost_writes(&writes, &present));
        record.violations.extend(checkers::revision_order(&writes, &[]));
    }
    Ok(record)
}

/// The longest gap of those that end after the loss.
fn gap_from(writes: &[Write], struck: Instant) -> Duration {
    let acknowledged = |write: &&Write| matches!(write.outcome, WriteOutcome::Acknowledged(_));
    let before = writes.iter().filter(acknowledged).filter(|write| write.ended < struck);
    let last_before = before.map(|write| write.ended).max();
    let since: Vec<Write> = writes
        .iter()
        .filter(|write| last_before.is_none_or(|last| write.ended >= last))
        .cloned()
        .collect();
    longest_gap(&since)
}

/// Everything under the prefix with values and revisions of the last change.
async fn read_all(options: &ConnectOptions, prefix: &str) -> Result<BTreeMap<String, (String, i64)>> {
    let mut client = Client::connect(options, CONNECT_TIMEOUT).await?;
    let reply = client.get_prefix(prefix).await;
    let reply = reply.with_context(|| format!("reading {prefix} from {}", options.endpoint))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pair = |kv: crate::etcd::KeyValue| (text(&kv.key), (text(&kv.value), kv.mod_revision));
    Ok(reply.kvs.into_iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_begins_with_the_last_write_before_the_loss() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let write = |ms, outcome| Write {
            key: "key".to_owned(),
            value: "value".to_owned(),
            started: at(ms),
            ended: at(ms),
            outcome,
        };
        let acknowledged = |ms| write(ms, WriteOutcome::Acknowledged(1));
        let failed = write(420, WriteOutcome::Failed("no answer".to_owned()));
        // 300 ms before the loss are none of its doing, and a failed put ends no gap.
        let writes = [
            acknowledged(0),
            acknowledged(300),
            failed,
            acknowledged(500),
            acknowledged(510),
        ];
        assert_eq!(gap_from(&writes, at(310)), Duration::from_millis(200));
    }
}
