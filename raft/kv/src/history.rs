//! The events of every revision since the compact revision, without gaps.

use imbl::Vector;

use crate::links::Place;
use crate::version::{RevisionEvents, Version};

/// One revision of the history.
#[derive(Clone)]
pub(crate) struct HistoryEntry {
    pub(crate) changes: RevisionEvents,
    /// Accounted bytes of all versions that a compaction at this revision makes unreachable.
    pub(crate) garbage_bytes: u64,
}

#[derive(Clone)]
pub(crate) struct History {
    entries: Vector<HistoryEntry>,
    /// Revision of the first entry.
    start: i64,
}

impl History {
    /// A history whose first revision will be `start`.
    pub(crate) fn starting_at(start: i64) -> Self {
        let entries = Vector::new();
        History { entries, start }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn at(&self, revision: i64) -> Option<&HistoryEntry> {
        let index = usize::try_from(revision.checked_sub(self.start)?).ok()?;
        self.entries.get(index)
    }

    pub(crate) fn version(&self, place: Place) -> Option<&Version> {
        self.at(place.revision)?.changes.as_slice().get(place.sub as usize)
    }

    /// Entries from `revision` on, ascending.
    pub(crate) fn from(&self, revision: i64) -> impl Iterator<Item = &HistoryEntry> {
        let skipped = revision.saturating_sub(self.start).max(0);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.focus().narrow(skipped..).into_iter()
    }

    /// Adds the next revision, which supersedes versions of so many accounted bytes.
    pub(crate) fn push(&mut self, changes: RevisionEvents, garbage_bytes: u64) {
        let before = self.entries.back().map_or(0, |entry| entry.garbage_bytes);
        let garbage_bytes = before + garbage_bytes;
        self.entries.push_back(HistoryEntry { changes, garbage_bytes });
    }

    /// Drops what is before `revision`.
    pub(crate) fn drop_before(&mut self, revision: i64) {
        while self.start < revision {
            self.entries.pop_front();
            self.start += 1;
        }
    }
}
