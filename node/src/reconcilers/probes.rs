//! Keeps exactly those probers running that the state asks for.

use std::time::Duration;

use quorate_raft::Handle;

use super::prober::{ProberSet, Probers, TargetSpec};

/// A look without a wake-up, for wake-ups that were lost.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Adjusts the probers at every wake-up.
pub async fn run(handle: Handle, probers: Probers) {
    let mut wakeups = handle.wakeups();
    let mut set = ProberSet::new(probers);
    loop {
        wakeups.borrow_and_update();
        set.adjust(handle.read(|state| {
            state
                .all_monitors()
                .flat_map(|monitor| TargetSpec::of(monitor, state.effective_timing(monitor)))
                .collect::<Vec<_>>()
        }));
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_INTERVAL, wakeups.changed()).await {
            return;
        }
    }
}
