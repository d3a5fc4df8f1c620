//! Loss of the leader or a follower under writers with a deadline of 1 s on the surviving nodes.

use anyhow::Result;

use super::Options;
use super::figures::{Figure, Target, Unit};
use crate::bench::leader_loss::{self, Victim};
use crate::bench::peers::Peer;
use crate::faults::Signal;
use crate::statistics::percentile;

/// Loses the node `runs` times.
pub async fn measure(peer: &mut Peer, options: &Options, victim: Victim, signal: Signal) -> Result<Vec<Figure>> {
    use Target::{AtMost, None};
    let mut record = leader_loss::measure(peer, options.runs, signal, victim).await?;
    let (row, p50, p99) = match (victim, signal) {
        (Victim::Leader, Signal::Stop) => ("leader SIGSTOP", AtMost(700.0), AtMost(1000.0)),
        (Victim::Leader, _) => ("leader SIGKILL", AtMost(250.0), AtMost(500.0)),
        (Victim::Follower, _) => ("follower SIGKILL", None, AtMost(50.0)),
    };
    let gap = |percent| percentile(&mut record.gaps.clone(), percent).as_secs_f64() * 1e3;
    let count = |number: usize| number as f64;
    let figures = vec![
        Figure::new(row, "write gap p50", Unit::Milliseconds, gap(50), p50),
        Figure::new(row, "write gap p99", Unit::Milliseconds, gap(99), p99),
        Figure::new(row, "failed puts", Unit::Count, count(record.failed), AtMost(0.0)),
        Figure::new(row, "puts", Unit::Count, count(record.puts), None),
        Figure::new(
            row,
            "acknowledged puts lost or applied twice",
            Unit::Count,
            count(record.violations.len()),
            AtMost(0.0),
        ),
    ];
    record.gaps.sort_unstable();
    println!("{row}, {}: gaps {:?}", peer.name(), record.gaps);
    for violation in record.violations.iter().take(SHOWN_VIOLATIONS) {
        println!("{row}, {}: {violation}", peer.name());
    }
    Ok(figures)
}

const SHOWN_VIOLATIONS: usize = 5;
