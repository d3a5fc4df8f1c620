//! How the SDK follows `active`.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::etcd::{Client, revision};

use super::{ActiveChange, SdkConfiguration, Shared, path_at};

/// What the SDK waits after the server has cancelled its watch.
const CANCELLED_PAUSE: Duration = Duration::from_secs(1);
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// How a stream ended.
enum End {
    /// The connection or the stream broke: the client library resumes from the last revision, on the next endpoint.
    Broken,
    /// The server cancelled the watch: the SDK watches again from now.
    Cancelled,
}

/// What a client does with a value of the key.
pub(super) type TakeOver = Arc<dyn Fn(&str) + Send + Sync>;

/// Follows `key` for ever.
pub(super) async fn follow_active(
    configuration: SdkConfiguration,
    key: String,
    first: usize,
    client: Client,
    take: TakeOver,
) {
    let (mut endpoint, mut client, mut next_revision) = (first, Some(client), None);
    loop {
        if let Some(connected) = client.take() {
            match watch(connected, &key, &mut next_revision, &take).await {
                End::Broken => endpoint += 1,
                End::Cancelled => {
                    next_revision = None;
                    tokio::time::sleep(CANCELLED_PAUSE).await;
                }
            }
        }
        match Client::connect(&path_at(&configuration, endpoint), RECONNECT_TIMEOUT).await {
            Ok(connected) => client = Some(connected),
            Err(_unreachable) => {
                endpoint += 1;
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
    }
}

async fn watch(mut client: Client, key: &str, next_revision: &mut Option<i64>, take: &TakeOver) -> End {
    let Ok(mut stream) = client.watch_prefix(key, next_revision.unwrap_or(0)).await else {
        return End::Broken;
    };
    loop {
        let Ok(Some(response)) = stream.message().await else {
            return End::Broken;
        };
        if response.canceled {
            return End::Cancelled;
        }
        *next_revision = Some(revision(response.header.as_ref()) + 1);
        for event in &response.events {
            let Some(kv) = &event.kv else { continue };
            *next_revision = (*next_revision).max(Some(kv.mod_revision + 1));
            if event.kind == 0 && kv.key == key.as_bytes() {
                take(&String::from_utf8_lossy(&kv.value));
            }
        }
    }
}

/// The relational SDK ignores a name that its router does not know, and a value that it has already.
pub(super) fn take_over(shared: &Shared, value: &str) {
    let mut active = shared.active.lock().expect("not poisoned");
    if *active == value || !shared.router.nodes.contains_key(value) {
        return;
    }
    value.clone_into(&mut active);
    let change = ActiveChange {
        data_center: value.to_owned(),
        at: Instant::now(),
        wall: SystemTime::now(),
    };
    shared.changes.lock().expect("not poisoned").push(change);
}
