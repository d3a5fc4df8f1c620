//! Reading a stretch of history for a watcher that is behind.

use bytes::Bytes;
use quorate_kv::Keyspace;

use super::events::Encoder;
use super::queue::{MAX_STREAM_BYTES, MAX_STREAM_EVENTS};
use super::watcher::{KeySpan, Options};

/// Revisions looked at in one step.
const MAX_STEP_REVISIONS: usize = 1000;

/// Result of one step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CaughtUp {
    /// Everything up to `last_revision` has been looked at; these events are the watcher's.
    Read { last_revision: i64, events: Vec<Bytes> },
    /// What the watcher needs next is gone.
    Compacted { compact_revision: i64 },
}

/// Reads from `next_revision` on until a response is full or the step's limit is reached, whole revisions only.
pub(crate) fn read(keyspace: &Keyspace, next_revision: i64, span: &KeySpan, options: Options) -> CaughtUp {
    let Ok(history) = keyspace.events_from(next_revision) else {
        return CaughtUp::Compacted {
            compact_revision: keyspace.compact_revision(),
        };
    };
    let mut events: Vec<Bytes> = Vec::new();
    let mut bytes = 0;
    // Where no revision has a change any more, everything is looked at: the first revision of a keyspace never has one, nor that
    // which an import began after.
    let mut last_revision = keyspace.revision().max(next_revision - 1);
    for revision in history.take(MAX_STEP_REVISIONS) {
        last_revision = revision.revision();
        let mut encoder = Encoder::new(&revision, |key, revision| keyspace.value_before(key, revision));
        for (position, event) in revision.iter().enumerate() {
            if span.contains(&event.kv.key) && options.wants(event) {
                let encoded = encoder.encoded(position, options.prev_kv);
                bytes += encoded.len();
                events.push(encoded);
            }
        }
        if bytes >= MAX_STREAM_BYTES || events.len() >= MAX_STREAM_EVENTS {
            break;
        }
    }
    CaughtUp::Read { last_revision, events }
}
