//! Compares this node's state with the other nodes': reports hashes of it, and fences this node if the majority has another
//! one.
//!
//! Every node hashes its state at the same log indexes, so a report follows 1024 entries and is one entry itself: a cluster
//! that is idle stays so. The state machine compares the reports; who is the one that differs is its word, not this file's.

use std::time::Duration;

use quorate_machine::{Command, Effect, ReportStateHash, outstanding};
use quorate_raft::{Handle, StateHash};

use super::{ProposeError, propose};

/// Pause before a report that did not get through is made again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A look without a wake-up.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a fenced node says of itself.
const DIVERGED: &str = "this node's state differs from the other nodes', so it answers nobody: move its data directory away, \
                        keep it for the investigation, and let the node join again";

/// Reports and compares until consensus ends, or this node is fenced.
pub async fn watch_consistency(handle: Handle) {
    tokio::select! {
        () = report(&handle) => {}
        () = fence_if_divergent(&handle) => {}
    }
}

async fn report(handle: &Handle) {
    let mut hashes = handle.state_hashes();
    loop {
        let newest = *hashes.borrow_and_update();
        let again = match newest {
            Some(newest) if is_news(handle, &newest) => !is_reported(handle, &newest).await,
            _ => false,
        };
        if again {
            // A newer hash takes its place.
            if let Ok(Err(_)) = tokio::time::timeout(RETRY_PAUSE, hashes.changed()).await {
                return;
            }
            hashes.mark_changed();
        }
        if hashes.changed().await.is_err() {
            return;
        }
    }
}

/// False if the state holds this very report, as after a replay of the log, or would not keep it.
fn is_news(handle: &Handle, newest: &StateHash) -> bool {
    let StateHash { index, hash } = *newest;
    handle.read(|state| {
        let known = state.hash_report_at(handle.node_id(), index);
        known.is_none_or(|known| known.hash != hash[..])
            && state.oldest_hash_index().is_none_or(|oldest| oldest <= index)
    })
}

async fn is_reported(handle: &Handle, newest: &StateHash) -> bool {
    let command = ReportStateHash {
        node: handle.node_id(),
        index: newest.index,
        hash: newest.hash.to_vec().into(),
    };
    match propose(handle, Command::ReportStateHash(command)).await {
        Ok(_) => true,
        Err(ProposeError::Refused(refusal)) => {
            tracing::warn!(
                index = newest.index,
                "a state hash was refused: {}",
                refusal.code().code()
            );
            true
        }
        Err(error) => {
            tracing::debug!(index = newest.index, "a state hash was not reported: {error}");
            false
        }
    }
}

async fn fence_if_divergent(handle: &Handle) {
    let own = Effect::FenceDivergentNode { node: handle.node_id() };
    let mut wakeups = handle.wakeups();
    loop {
        wakeups.borrow_and_update();
        if handle.read(outstanding).contains(&own) {
            tracing::error!("{DIVERGED}");
            handle.fence(DIVERGED.to_string()).await;
            return;
        }
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_INTERVAL, wakeups.changed()).await {
            return;
        }
    }
}
