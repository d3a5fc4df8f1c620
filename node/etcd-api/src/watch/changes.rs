//! Waiting for the next change of some keys, for calls that wait on the server.

use std::sync::Arc;

use tonic::Status;

use super::hub::Synced;
use super::watcher::{KeySpan, Options};
use crate::context::Context;
use crate::errors;

/// Takes the watcher out again, also when the caller gives up waiting.
struct Joined<'a> {
    context: &'a Context,
    id: u64,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.context.hub.leave(self.context.instance, self.id);
    }
}

/// Returns once a key of `span` may have changed after revision `seen`, at the latest when it has. The caller looks again.
///
/// # Errors
///
/// When the port closes or this node loses contact with the cluster.
pub(crate) async fn changed(context: &Context, span: KeySpan, seen: i64) -> Result<(), Status> {
    let queue = context.hub.new_queue();
    let synced = Synced {
        queue: Arc::clone(&queue),
        serial: 0,
        span,
        options: Options::default(),
        next_revision: seen + 1,
    };
    let Some(id) = context.hub.join(context.instance, synced) else {
        // A later revision has been matched already.
        tokio::task::yield_now().await;
        return Ok(());
    };
    let _joined = Joined { context, id };
    let mut standing = context.hub.standing();
    loop {
        if !standing.borrow_and_update().watchable {
            return Err(errors::lost_contact());
        }
        tokio::select! {
            () = context.drain.cancelled() => return Err(errors::server_stopped()),
            () = queue.wake.notified() => return Ok(()),
            changed = standing.changed() => changed.map_err(|_| errors::server_stopped())?,
        }
    }
}
