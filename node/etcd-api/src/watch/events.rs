//! Encoding of a revision's events, each at most once per form.

use bytes::Bytes;
use prost::Message;
use quorate_kv::{EventKind, KeyValue, RevisionEvents};

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
        let count = events.iter().len();
        Encoder {
            events,
            value_before,
            plain: vec![None; count],
            with_previous: vec![None; count],
        }
    }

    pub(crate) fn encoded(&mut self, index: usize, prev_kv: bool) -> Bytes {
        let event = self.events.at(index);
        if !prev_kv {
            let slot = &mut self.plain[index];
            return slot.get_or_insert_with(|| encode(event, None)).clone();
        }
        let value_before = &mut self.value_before;
        let revision = self.events.revision();
        let slot = &mut self.with_previous[index];
        // As etcd: a key that the event creates has no value before, even if the same revision has deleted one.
        let creates = event.kind == EventKind::Put && event.kv.create_revision == event.kv.mod_revision;
        slot.get_or_insert_with(|| {
            let previous = (!creates).then(|| value_before(&event.kv.key, revision));
            encode(event, previous.flatten())
        })
        .clone()
    }
}

fn encode(event: &quorate_kv::Event, prev_kv: Option<KeyValue>) -> Bytes {
    Bytes::from(convert::event(event, prev_kv).encode_to_vec())
}

#[cfg(test)]
mod tests {
    use quorate_kv::Event;

    use super::*;
    use crate::pb::mvccpb;

    #[test]
    fn a_key_that_is_created_has_no_previous_value_even_if_the_same_revision_deleted_it() {
        let kv = |create_revision, mod_revision| KeyValue {
            key: Bytes::from_static(b"k"),
            create_revision,
            mod_revision,
            ..KeyValue::default()
        };
        let event = |kind, kv| Event { kind, kv };
        let events = RevisionEvents::new([
            event(EventKind::Delete, kv(0, 9)),
            event(EventKind::Put, kv(9, 9)),
            event(EventKind::Put, kv(5, 9)),
        ]);
        let mut encoder = Encoder::new(&events, |_, _| Some(kv(5, 7)));
        let mut previous = |index| {
            let decoded = mvccpb::Event::decode(encoder.encoded(index, true)).expect("an event");
            decoded.prev_kv.map(|kv| kv.mod_revision)
        };
        assert_eq!((previous(0), previous(1), previous(2)), (Some(7), None, Some(7)));
    }
}
