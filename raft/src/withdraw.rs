//! Withdrawing a node: from leadership, because it stops, or from service altogether, because its state is not to be trusted.
//! Either way it goes on voting as long as it runs.

use std::time::Duration;

use openraft::AsyncRuntime;

use crate::core::Core;
use crate::network::Transport;

/// How long a node that fences itself waits for its successor.
const FENCE_HAND_OVER_TIMEOUT_MS: u64 = 1_000;

impl<RT: AsyncRuntime, T: Transport> Core<RT, T> {
    /// From now on this node takes no leadership: it is about to stop.
    pub fn prepare_stop(&self) {
        self.standings.stop();
        self.raft.runtime_config().elect(false);
    }

    /// Hands leadership over, if this node has it, and then serves nobody any more; consensus goes on here as a voter that
    /// does not lead.
    pub async fn fence(&self, reason: String) {
        if self.standings.now().leading {
            let limit = Duration::from_millis(FENCE_HAND_OVER_TIMEOUT_MS);
            if let Err(error) = self.transfer_leadership(None, limit).await {
                tracing::warn!("leadership was not handed over before the fence: {error}");
            }
        }
        self.fence_now(reason);
    }

    /// The same without a hand-over, which the watchdog then brings about.
    pub fn fence_now(&self, reason: String) {
        self.raft.runtime_config().elect(false);
        self.door.close();
        self.standings.fence(reason);
    }
}
