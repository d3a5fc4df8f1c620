//! Key ranges as etcd writes them, and unions of such ranges.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Lower and upper bound of a lookup.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A key and a range end with etcd's conventions resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRange<'a> {
    /// Range end empty: this key alone.
    One(&'a [u8]),
    /// From the first key up to, not including, the second; empty where the second is not greater.
    Span(&'a [u8], &'a [u8]),
    /// Range end `"\0"`: every key from this one on.
    From(&'a [u8]),
}

impl<'a> KeyRange<'a> {
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => KeyRange::One(key),
            [0] => KeyRange::From(key),
            end => KeyRange::Span(key, end),
        }
    }

    /// Bounds for a lookup in an ordered map; `None` where the range holds no key at all.
    pub(crate) fn bounds(self) -> Option<Bounds<'a>> {
        match self {
            KeyRange::One(key) => Some((Bound::Included(key), Bound::Included(key))),
            KeyRange::Span(start, end) => (start < end).then_some((Bound::Included(start), Bound::Excluded(end))),
            KeyRange::From(start) => Some((Bound::Included(start), Bound::Unbounded)),
        }
    }

    pub(crate) fn start(self) -> &'a [u8] {
        match self {
            KeyRange::One(start) | KeyRange::Span(start, _) | KeyRange::From(start) => start,
        }
    }

    pub(crate) fn contains(self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(only) => key == only,
            KeyRange::Span(start, end) => start <= key && key < end,
            KeyRange::From(start) => start <= key,
        }
    }

    /// Whether the range can hold a key that begins with `prefix`.
    pub(crate) fn meets_prefix(self, prefix: &[u8]) -> bool {
        match self {
            KeyRange::One(key) => key.starts_with(prefix),
            // Keys with the prefix fill one gapless stretch that begins at the prefix itself: the range meets it if it
            // begins inside, or begins before and reaches beyond the prefix.
            KeyRange::Span(start, end) => {
                start < end && (start.starts_with(prefix) || (start < prefix && prefix < end))
            }
            KeyRange::From(start) => start.starts_with(prefix) || start < prefix,
        }
    }

    /// Where the range ends, for [`Intervals`].
    pub(crate) fn limit(self) -> Limit<'a> {
        match self {
            KeyRange::One(key) => Limit::after(key),
            KeyRange::Span(_, end) => Limit::Until(Cow::Borrowed(end)),
            KeyRange::From(_) => Limit::Unbounded,
        }
    }
}

/// Exclusive upper end of an interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit<'a> {
    Until(Cow<'a, [u8]>),
    Unbounded,
}

impl<'a> Limit<'a> {
    /// The end of the interval that holds `key` alone: the next key in byte order.
    fn after(key: &'a [u8]) -> Self {
        let mut next = Vec::with_capacity(key.len() + 1);
        next.extend_from_slice(key);
        next.push(0);
        Limit::Until(Cow::Owned(next))
    }

    fn is_beyond(&self, key: &[u8]) -> bool {
        match self {
            Limit::Until(end) => key < end.as_ref(),
            Limit::Unbounded => true,
        }
    }

    fn reaches(&self, key: &[u8]) -> bool {
        match self {
            Limit::Until(end) => key <= end.as_ref(),
            Limit::Unbounded => true,
        }
    }
}

/// A union of intervals, kept as disjoint stretches, so that every question costs one lookup.
#[derive(Default)]
pub(crate) struct Intervals<'a> {
    stretches: BTreeMap<&'a [u8], Limit<'a>>,
}

impl<'a> Intervals<'a> {
    /// Adds an interval; an empty one adds nothing.
    pub(crate) fn insert(&mut self, start: &'a [u8], limit: Limit<'a>) {
        if !limit.is_beyond(start) {
            return;
        }
        let (mut start, mut limit) = (start, limit);
        if let Some((&before, reach)) = self.stretches.range(..=start).next_back()
            && reach.reaches(start)
        {
            limit = limit.max(reach.clone());
            start = before;
        }
        while let Some((&next, _)) = self
            .stretches
            .range::<[u8], _>((Bound::Excluded(start), Bound::Unbounded))
            .next()
        {
            if !limit.reaches(next) {
                break;
            }
            let absorbed = self.stretches.remove(next).expect("the stretch was just found");
            limit = limit.max(absorbed);
        }
        self.stretches.insert(start, limit);
    }

    pub(crate) fn merge(&mut self, other: Intervals<'a>) {
        for (start, limit) in other.stretches {
            self.insert(start, limit);
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.stretches
            .range(..=key)
            .next_back()
            .is_some_and(|(_, limit)| limit.is_beyond(key))
    }

    /// Whether the union covers the whole of `range`.
    pub(crate) fn covers(&self, range: KeyRange<'_>) -> bool {
        let stretch = self.stretches.range(..=range.start()).next_back();
        stretch.is_some_and(|(_, limit)| limit.is_beyond(range.start()) && *limit >= range.limit())
    }
}
