//! Encoding of a revision's events, each at most once per form.

use bytes::Bytes;
use prost::Message;
use quorate_kv::{KeyValue, RevisionEvents};

use crate::convert;

/// Encodes the events of one revision when they are asked for, and keeps the result for the next watcher.
pub(crate) struct Encoder<'a, F> {
    events: &'a RevisionEvents,
    /// Gives the key as it was before a revision.
    value_before: F,
    plain: Vec<Option<Bytes>>,
    with_previous: Vec<Option<Bytes>>,
}

impl<'a, F: FnMut(&[u8], i64) -> Option<KeyValue>> Encoder<'a, F> {
    pub(crate) fn new(events: &'a RevisionEvents, value_before: F) -> Self {
        let count = events.events.len();
        Encoder {
            events,
            value_before,
            plain: vec![None; count],
            with_previous: vec![None; count],
        }
    }

    pub(crate) fn encoded(&mut self, index: usize, prev_kv: bool) -> Bytes {
        let event = &self.events.events[index];
        if !prev_kv {
            let slot = &mut self.plain[index];
            return slot.get_or_insert_with(|| encode(event, None)).clone();
        }
        let value_before = &mut self.value_before;
        let revision = self.events.revision;
        let slot = &mut self.with_previous[index];
        slot.get_or_insert_with(|| encode(event, value_before(&event.kv.key, revision)))
            .clone()
    }
}

fn encode(event: &quorate_kv::Event, prev_kv: Option<KeyValue>) -> Bytes {
    Bytes::from(convert::event(event, prev_kv).encode_to_vec())
}
