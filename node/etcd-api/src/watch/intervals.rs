//! Ranges of keys, to be asked which of them hold a key.
//!
//! An implicit interval tree: groups sorted by start, with the farthest end of each subtree beside them. New groups wait in
//! a short list that is searched one by one, so that creating many watches does not rebuild the tree each time.

use bytes::Bytes;

use super::watcher::RangeEnd;

/// Groups that wait before the tree is built anew.
const MAX_RECENT_GROUPS: usize = 64;

/// Watchers of the same range.
struct Group {
    start: Bytes,
    end: RangeEnd,
    members: Vec<u64>,
}

impl Group {
    fn is(&self, start: &Bytes, end: &RangeEnd) -> bool {
        self.start == start && self.end == *end
    }
}

#[derive(Default)]
pub(crate) struct Intervals {
    sorted: Vec<Group>,
    /// Farthest end in the subtree whose root is the group of the same position.
    farthest: Vec<RangeEnd>,
    recent: Vec<Group>,
    /// Groups in `sorted` without members.
    empty_groups: usize,
}

impl Intervals {
    pub(crate) fn insert(&mut self, start: &Bytes, end: &RangeEnd, member: u64) {
        if let Some(group) = self.find(start, end) {
            group.members.push(member);
            if group.members.len() == 1 {
                self.empty_groups = self.empty_groups.saturating_sub(1);
            }
            return;
        }
        self.recent.push(Group {
            start: start.clone(),
            end: end.clone(),
            members: vec![member],
        });
        if self.recent.len() > MAX_RECENT_GROUPS.max(self.sorted.len() / MAX_RECENT_GROUPS) {
            self.rebuild();
        }
    }

    pub(crate) fn remove(&mut self, start: &Bytes, end: &RangeEnd, member: u64) {
        if let Some(position) = self.recent.iter().position(|group| group.is(start, end)) {
            let group = &mut self.recent[position];
            group.members.retain(|other| *other != member);
            if group.members.is_empty() {
                self.recent.swap_remove(position);
            }
            return;
        }
        if let Some(group) = self.find(start, end)
            && let Some(position) = group.members.iter().position(|other| *other == member)
        {
            group.members.swap_remove(position);
            if group.members.is_empty() {
                self.empty_groups += 1;
                if self.empty_groups > MAX_RECENT_GROUPS.max(self.sorted.len() / 2) {
                    self.rebuild();
                }
            }
        }
    }

    /// Calls `hit` for every member whose range holds the key.
    pub(crate) fn stab(&self, key: &[u8], hit: &mut impl FnMut(u64)) {
        for group in &self.recent {
            if &group.start[..] <= key && group.end.is_beyond(key) {
                group.members.iter().for_each(|member| hit(*member));
            }
        }
        self.stab_tree(0, self.sorted.len(), key, hit);
    }

    fn stab_tree(&self, low: usize, high: usize, key: &[u8], hit: &mut impl FnMut(u64)) {
        if low >= high {
            return;
        }
        let middle = low + (high - low) / 2;
        if !self.farthest[middle].is_beyond(key) {
            return;
        }
        self.stab_tree(low, middle, key, hit);
        let group = &self.sorted[middle];
        if &group.start[..] <= key {
            if group.end.is_beyond(key) {
                group.members.iter().for_each(|member| hit(*member));
            }
            self.stab_tree(middle + 1, high, key, hit);
        }
    }

    fn find(&mut self, start: &Bytes, end: &RangeEnd) -> Option<&mut Group> {
        let wanted = (start, end);
        match self
            .sorted
            .binary_search_by(|group| (&group.start, &group.end).cmp(&wanted))
        {
            Ok(position) => Some(&mut self.sorted[position]),
            Err(_) => self.recent.iter_mut().find(|group| group.is(start, end)),
        }
    }

    fn rebuild(&mut self) {
        self.sorted.append(&mut self.recent);
        self.sorted.retain(|group| !group.members.is_empty());
        self.sorted.sort_by(|a, b| (&a.start, &a.end).cmp(&(&b.start, &b.end)));
        self.empty_groups = 0;
        self.farthest = self.sorted.iter().map(|group| group.end.clone()).collect();
        self.raise_farthest(0, self.sorted.len());
    }

    fn raise_farthest(&mut self, low: usize, high: usize) -> Option<RangeEnd> {
        if low >= high {
            return None;
        }
        let middle = low + (high - low) / 2;
        let left = self.raise_farthest(low, middle);
        let right = self.raise_farthest(middle + 1, high);
        let own = self.farthest[middle].clone();
        let farthest = [Some(own), left, right].into_iter().flatten().max();
        if let Some(farthest) = &farthest {
            self.farthest[middle] = farthest.clone();
        }
        farthest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> Bytes {
        Bytes::from(vec![number / 16 + b'a', number % 16 + b'a'])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn finds_what_a_plain_list_finds(
            actions in prop::collection::vec((any::<bool>(), 0_u8..=255, 0_u8..=255, 0_u64..40), 1..400),
            keys in prop::collection::vec(0_u8..=255, 1..20),
        ) {
            let mut intervals = Intervals::default();
            let mut plain: Vec<(Bytes, RangeEnd, u64)> = Vec::new();
            for (next, (add, start, end, _)) in actions.into_iter().enumerate() {
                if add || plain.is_empty() {
                    let end = if end == 0 { RangeEnd::Unbounded } else { RangeEnd::Until(key(end)) };
                    intervals.insert(&key(start), &end, next as u64);
                    plain.push((key(start), end, next as u64));
                } else {
                    let (start, end, member) = plain.swap_remove(usize::from(start) % plain.len());
                    intervals.remove(&start, &end, member);
                }
            }
            for number in keys {
                let asked = key(number);
                let mut found = Vec::new();
                intervals.stab(&asked, &mut |member| found.push(member));
                found.sort_unstable();
                let mut expected: Vec<u64> = plain.iter()
                    .filter(|(start, end, _)| *start <= asked && end.is_beyond(&asked))
                    .map(|(_, _, member)| *member)
                    .collect();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
