//! Hands leadership over when this node's disk or apply stalls: a leader that cannot write or answer is better a follower.
//!
//! The heir is the voter with the furthest acknowledged log, which is a voter whose own disk works. A hand-over that fails
//! leaves things to the next election.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, Instant};

use crate::core::Core;
use crate::log::LogReader;
use crate::network::Transport;

/// A synced write or a waiting entry this old is a stall.
const STALL_MS: u64 = 300;
/// How often it is looked for.
const CHECK_INTERVAL_MS: u64 = 50;
/// Pause after a hand-over, so that two slow nodes do not pass leadership back and forth.
const HAND_OVER_PAUSE_MS: u64 = 10_000;
/// Pause between the attempts of a fenced node to be rid of leadership.
const FENCED_PAUSE_MS: u64 = 1_000;
/// How long a hand-over may take.
const HAND_OVER_TIMEOUT_MS: u64 = 1_000;

/// Watches until consensus stops on this node.
pub(crate) async fn watch_stalls<RT: AsyncRuntime, T: Transport>(core: Arc<Core<RT, T>>, log: LogReader<RT>) {
    let stall = Duration::from_millis(STALL_MS);
    // The applied index and since when it has been behind the committed one.
    let mut behind: Option<(u64, RT::Instant)> = None;
    loop {
        RT::sleep(Duration::from_millis(CHECK_INTERVAL_MS)).await;
        let standing = core.standings.now();
        if standing.fatal.is_some() {
            return;
        }
        let committed = {
            let metrics = core.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.local_committed.map_or(0, |id| id.index)
        };
        let applied = core.observers.applied_index();
        behind = match behind {
            _ if applied >= committed => None,
            Some((index, since)) if index == applied => Some((index, since)),
            _ => Some((applied, RT::Instant::now())),
        };
        let writing_since = log.stats().in_flight_since;
        let disk_stalls = writing_since.is_some_and(|since| since.elapsed() > stall);
        let apply_stalls = behind.is_some_and(|(_, since)| since.elapsed() > stall);
        if standing.leading && standing.fenced.is_some() {
            // It led before it was fenced, or the others elected it all the same.
            hand_over(&core).await;
            RT::sleep(Duration::from_millis(FENCED_PAUSE_MS)).await;
            continue;
        }
        if !standing.leading || !(disk_stalls || apply_stalls) {
            continue;
        }
        let what = if disk_stalls { "disk" } else { "apply" };
        tracing::warn!("the {what} of this leader stalls for more than {STALL_MS} ms: handing leadership over");
        hand_over(&core).await;
        RT::sleep(Duration::from_millis(HAND_OVER_PAUSE_MS)).await;
    }
}

async fn hand_over<RT: AsyncRuntime, T: Transport>(core: &Core<RT, T>) {
    let limit = Duration::from_millis(HAND_OVER_TIMEOUT_MS);
    if let Err(error) = core.transfer_leadership(None, limit).await {
        tracing::warn!("leadership was not handed over: {error}");
    }
}
