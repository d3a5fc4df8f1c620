//! Proposes `Tick` when the state's next deadline has come, while this node leads.

use std::time::Duration;

use quorate_machine::{Command, Tick, next_deadline};
use quorate_raft::Handle;

use super::propose;

/// A look without a wake-up: leadership may have come here since.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Least time between two ticks for the same deadline.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// Ticks for ever.
pub async fn run(handle: Handle) {
    let mut wakeups = handle.wakeups();
    loop {
        wakeups.borrow_and_update();
        let deadline = if handle.is_leader() {
            handle.read(next_deadline)
        } else {
            None
        };
        let left = deadline.map(|due_ms| Duration::from_millis(due_ms.saturating_sub(handle.cluster_time_ms())));
        // Looked at before any wake-up: however many of them there are, a deadline that has come is not put off.
        if left == Some(Duration::ZERO) {
            if let Err(error) = propose(&handle, Command::Tick(Tick {})).await {
                tracing::debug!("a tick did not get through: {error}");
            }
            if handle.read(next_deadline) == deadline {
                tokio::time::sleep(REPEAT_PAUSE).await;
            }
            continue;
        }
        let wait = left.unwrap_or(LOOK_INTERVAL).min(LOOK_INTERVAL);
        if let Ok(Err(_)) = tokio::time::timeout(wait, wakeups.changed()).await {
            return;
        }
    }
}
