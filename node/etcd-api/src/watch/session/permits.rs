//! What a stream may still see after users, roles or permissions have changed.
//!
//! A watcher whose user is gone or may no longer read its keys is cancelled, with the reason that its creation would give. A
//! changed password ends no watch (decision 42): it ends the user's tokens, and an application that lost its watch with
//! them would miss the next switch.

use super::Session;
use crate::pb::etcdserverpb::WatchResponse;

/// etcd's reason, with gRPC's prefix, as it refuses a watch.
const DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

impl Session {
    /// Cancels the watchers that are no longer permitted.
    pub(super) fn check_permits(&mut self) {
        self.auth_revision.mark_unchanged();
        let denied = self.context.keyspace(|keyspace| {
            let caller = self.client.named_caller(keyspace);
            let denied = self.watchers.iter().filter(|(_, watcher)| {
                let (key, range_end) = watcher.span.to_request();
                keyspace.check_range(Some(&caller), key, range_end).is_err()
            });
            denied
                .map(|(serial, watcher)| (*serial, watcher.watch_id))
                .collect::<Vec<_>>()
        });
        let Ok(denied) = denied else { return };
        for (serial, watch_id) in denied {
            self.remove(serial);
            let revision = self
                .context
                .keyspace(|keyspace| keyspace.revision())
                .unwrap_or_default();
            self.outbox.push_back(WatchResponse {
                header: Some(self.context.header(revision)),
                watch_id,
                canceled: true,
                cancel_reason: DENIED.to_owned(),
                ..Default::default()
            });
        }
    }
}
