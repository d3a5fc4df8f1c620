//! Proposes this node's changed votes, in batches, until the cluster has accepted them.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::{Command, DataCenter, ReportHealth};
use quorate_raft::Handle;

use super::board::{Board, Taken, wall_ms};
use super::{ProposeError, propose};

/// Findings that come within this time of each other travel in one report.
const GATHER: Duration = Duration::from_millis(4);
/// Pause before a report that did not get through is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Reports for ever.
pub async fn run(handle: Handle, board: Arc<Board>) {
    // Rises with every report of this incarnation, so that a later one is never taken for a repetition.
    let mut sequence = 0;
    loop {
        board.changed().await;
        tokio::time::sleep(GATHER).await;
        while let Some(taken) = board.take() {
            sequence += 1;
            let accepted = report(&handle, &taken, sequence).await;
            board.settle(&taken, accepted);
            if !accepted {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

async fn report(handle: &Handle, taken: &Taken, sequence: u64) -> bool {
    let command = Command::ReportHealth(ReportHealth {
        node: handle.node_id(),
        incarnation: handle.incarnation(),
        sequence,
        votes: taken.votes.clone(),
        full: taken.full,
    });
    match propose(handle, command).await {
        Ok(_) => {
            for vote in &taken.votes {
                tracing::info!(
                    event = "vote-reported",
                    monitor = %vote.monitor,
                    data_center = DataCenter::try_from(vote.data_center).unwrap_or(DataCenter::Dc1).name(),
                    vote = ?vote.vote(),
                    class = ?vote.class(),
                    age_ms = vote.age_ms,
                    sequence,
                    wall_ms = wall_ms(),
                    "vote accepted"
                );
            }
            true
        }
        // Refused for ever with this content: the next change or the digest brings a newer one.
        Err(ProposeError::Refused(refusal)) => {
            tracing::warn!(
                sequence,
                "a health report was refused: {}",
                ProposeError::Refused(refusal)
            );
            true
        }
        Err(ProposeError::Call(error)) => {
            tracing::debug!(sequence, "a health report did not get through: {error}");
            false
        }
    }
}
