//! What a watcher watches.

use bytes::Bytes;
use quorate_kv::{Event, EventKind};

/// Exclusive end of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RangeEnd {
    Until(Bytes),
    Unbounded,
}

impl RangeEnd {
    pub(crate) fn is_beyond(&self, key: &[u8]) -> bool {
        match self {
            RangeEnd::Until(end) => key < &end[..],
            RangeEnd::Unbounded => true,
        }
    }
}

/// The keys of a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySpan {
    One(Bytes),
    Range(Bytes, RangeEnd),
}

impl KeySpan {
    /// From the request's fields, with etcd's conventions; `None` if the range holds no key.
    pub(crate) fn from_request(key: Bytes, range_end: Bytes) -> Option<KeySpan> {
        let key = if key.is_empty() { Bytes::from_static(&[0]) } else { key };
        match &range_end[..] {
            [] => Some(KeySpan::One(key)),
            [0] => Some(KeySpan::Range(key, RangeEnd::Unbounded)),
            end => (&key[..] < end).then(|| KeySpan::Range(key, RangeEnd::Until(range_end.clone()))),
        }
    }

    /// Key and range end as a request has them.
    pub(crate) fn to_request(&self) -> (&[u8], &[u8]) {
        match self {
            KeySpan::One(key) => (key, &[]),
            KeySpan::Range(key, RangeEnd::Until(end)) => (key, end),
            KeySpan::Range(key, RangeEnd::Unbounded) => (key, &[0]),
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeySpan::One(only) => key == &only[..],
            KeySpan::Range(start, end) => &start[..] <= key && end.is_beyond(key),
        }
    }
}

/// Which events a watcher wants, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
    pub(crate) prev_kv: bool,
}

impl Options {
    pub(crate) fn wants(self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}
