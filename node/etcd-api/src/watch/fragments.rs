//! Splitting of large responses for watchers that asked for it.

use std::collections::VecDeque;

use prost::Message;

use crate::pb::etcdserverpb::WatchResponse;

/// Responses below this size, in bytes, are not split: etcd's request limit with its overhead.
pub(crate) const MAX_FRAGMENT_BYTES: usize = quorate_kv::MAX_REQUEST_BYTES + 512 * 1024;

/// Bytes that an event takes in the encoding of a response.
fn framed_bytes(event: &bytes::Bytes) -> usize {
    1 + prost::length_delimiter_len(event.len()) + event.len()
}

/// The response in parts whose encodings stay below `max_bytes` each (more only where one event is larger), cut where etcd
/// cuts; all but the last are marked as fragments.
pub(crate) fn split(response: WatchResponse, max_bytes: usize) -> VecDeque<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() < max_bytes {
        return VecDeque::from([response]);
    }
    let part = |fragment, events| WatchResponse {
        header: response.header,
        watch_id: response.watch_id,
        fragment,
        events,
        ..Default::default()
    };
    // The mark counts for the last part too, as in etcd.
    let empty_bytes = part(true, Vec::new()).encoded_len();
    let mut parts: Vec<Vec<bytes::Bytes>> = vec![Vec::new()];
    let mut part_bytes = empty_bytes;
    for event in &response.events {
        let bytes = framed_bytes(event);
        if part_bytes > empty_bytes && part_bytes + bytes >= max_bytes {
            parts.push(Vec::new());
            part_bytes = empty_bytes;
        }
        part_bytes += bytes;
        if let Some(part) = parts.last_mut() {
            part.push(event.clone());
        }
    }
    let last = parts.len() - 1;
    let parts = parts.into_iter().enumerate();
    parts.map(|(position, events)| part(position < last, events)).collect()
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
