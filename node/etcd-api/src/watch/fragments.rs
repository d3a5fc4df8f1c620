//! Splitting of large responses for watchers that asked for it.

use std::collections::VecDeque;

use crate::pb::etcdserverpb::WatchResponse;

/// Responses up to this size, in bytes, are not split: etcd's request limit with its overhead.
pub(crate) const MAX_FRAGMENT_BYTES: usize = quorate_kv::MAX_REQUEST_BYTES + 512 * 1024;

/// Bytes of an event's tag and length on the wire, at most.
const EVENT_FRAMING_BYTES: usize = 6;

/// The response in parts of at most `max_bytes` of events each (more only where one event is larger); all but the last are
/// marked as fragments.
pub(crate) fn split(response: WatchResponse, max_bytes: usize) -> VecDeque<WatchResponse> {
    let mut parts: Vec<Vec<bytes::Bytes>> = vec![Vec::new()];
    let mut part_bytes = 0;
    for event in response.events {
        let bytes = event.len() + EVENT_FRAMING_BYTES;
        if part_bytes > 0 && part_bytes + bytes > max_bytes {
            parts.push(Vec::new());
            part_bytes = 0;
        }
        part_bytes += bytes;
        if let Some(part) = parts.last_mut() {
            part.push(event);
        }
    }
    let last = parts.len() - 1;
    let part = |(position, events)| WatchResponse {
        header: response.header,
        watch_id: response.watch_id,
        fragment: position < last,
        events,
        ..Default::default()
    };
    parts.into_iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn parts_keep_every_event_in_order_and_mark_all_but_the_last() {
        let events: Vec<Bytes> = (0..10_u8).map(|number| Bytes::from(vec![number; 100])).collect();
        let response = WatchResponse {
            watch_id: 4,
            events: events.clone(),
            ..Default::default()
        };
        let parts = split(response.clone(), 350);
        assert_eq!(
            parts.iter().map(|part| part.events.len()).collect::<Vec<_>>(),
            [3, 3, 3, 1]
        );
        assert_eq!(
            parts.iter().map(|part| part.fragment).collect::<Vec<_>>(),
            [true, true, true, false]
        );
        assert_eq!(
            parts.into_iter().flat_map(|part| part.events).collect::<Vec<_>>(),
            events
        );
        assert_eq!(split(response, 10).len(), 10, "an event is never split");
    }
}
