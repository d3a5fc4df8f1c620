//! Which synced watchers a key concerns.

use std::collections::HashMap;

use bytes::Bytes;

use super::intervals::Intervals;
use super::watcher::KeySpan;

/// Exact keys in a hash map, ranges in an interval tree.
#[derive(Default)]
pub(crate) struct WatchIndex {
    exact: HashMap<Bytes, Vec<u64>>,
    ranges: Intervals,
}

impl WatchIndex {
    pub(crate) fn insert(&mut self, span: &KeySpan, watcher: u64) {
        match span {
            KeySpan::One(key) => self.exact.entry(key.clone()).or_default().push(watcher),
            KeySpan::Range(start, end) => self.ranges.insert(start, end, watcher),
        }
    }

    pub(crate) fn remove(&mut self, span: &KeySpan, watcher: u64) {
        match span {
            KeySpan::One(key) => {
                if let Some(watchers) = self.exact.get_mut(key) {
                    watchers.retain(|other| *other != watcher);
                    if watchers.is_empty() {
                        self.exact.remove(key);
                    }
                }
            }
            KeySpan::Range(start, end) => self.ranges.remove(start, end, watcher),
        }
    }

    /// Calls `hit` for every watcher of the key.
    pub(crate) fn for_each(&self, key: &[u8], mut hit: impl FnMut(u64)) {
        if let Some(watchers) = self.exact.get(key) {
            watchers.iter().for_each(|watcher| hit(*watcher));
        }
        self.ranges.stab(key, &mut hit);
    }
}
