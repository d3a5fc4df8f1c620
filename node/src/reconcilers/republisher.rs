//! Carries out the republications that are outstanding, when they are due.

use std::time::Duration;

use quorate_machine::{Command, Effect, Republish, RepublishItem, outstanding};
use quorate_raft::Handle;

use super::propose;

/// Most items of one command.
const MAX_ITEMS: usize = 256;
/// A look without a wake-up: leadership may have come here since.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two proposals.
const PAUSE: Duration = Duration::from_millis(200);

/// Works for ever.
pub async fn run(handle: Handle) {
    let mut wakeups = handle.wakeups();
    loop {
        wakeups.borrow_and_update();
        let effects = handle.read(outstanding);
        let now_ms = handle.cluster_time_ms();
        let (due, next_ms) = due_items(&effects, now_ms);
        if !due.is_empty() && handle.is_leader() {
            if let Err(error) = propose(&handle, Command::Republish(Republish { items: due })).await {
                tracing::debug!("a republication did not get through: {error}");
            }
            // Bounds the rate whatever came of it.
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let wait = next_ms.map_or(LOOK_INTERVAL, |next_ms| {
            Duration::from_millis(next_ms.saturating_sub(now_ms).max(1)).min(LOOK_INTERVAL)
        });
        if let Ok(Err(_)) = tokio::time::timeout(wait, wakeups.changed()).await {
            return;
        }
    }
}

/// What is due now (bounded), and when the next will be.
fn due_items(effects: &[Effect], now_ms: u64) -> (Vec<RepublishItem>, Option<u64>) {
    let mut due = Vec::new();
    let mut next_ms: Option<u64> = None;
    for effect in effects {
        let Effect::Republish {
            monitor,
            epoch,
            work,
            due_ms,
        } = *effect
        else {
            continue;
        };
        if due_ms > now_ms {
            next_ms = Some(next_ms.map_or(due_ms, |next| next.min(due_ms)));
        } else if due.len() < MAX_ITEMS {
            due.push(RepublishItem { monitor, epoch, work });
        }
    }
    (due, next_ms)
}
