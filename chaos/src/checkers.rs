//! Judges of recordings: each gives the violations it found, in words; an empty list means that the guarantee held.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::readers::Read;
use crate::watcher::SeenEvent;
use crate::writers::{Write, WriteOutcome};

/// Every acknowledged write is in `present` (key to value and revision) as it was acknowledged.
pub fn lost_writes(writes: &[Write], present: &BTreeMap<String, (String, i64)>) -> Vec<String> {
    let mut violations = Vec::new();
    for write in writes {
        let WriteOutcome::Acknowledged(revision) = write.outcome else {
            continue;
        };
        match present.get(&write.key) {
            None => violations.push(format!(
                "{} was acknowledged at revision {revision} and is gone",
                write.key
            )),
            Some((value, _)) if *value != write.value => {
                violations.push(format!("{} holds {value}, acknowledged was {}", write.key, write.value));
            }
            Some((_, at)) if *at != revision => {
                violations.push(format!(
                    "{} was acknowledged at revision {revision} and stands at {at}: applied twice",
                    write.key
                ));
            }
            Some(_) => {}
        }
    }
    violations
}

/// Revisions order writes as real time does: what ended before another began has the lower revision, and none repeats.
/// Reads know every revision, and find the one key, that had been acknowledged before they began.
pub fn revision_order(writes: &[Write], reads: &[Read]) -> Vec<String> {
    let mut acknowledged: Vec<(Instant, Instant, i64)> = writes
        .iter()
        .filter_map(|write| match write.outcome {
            WriteOutcome::Acknowledged(revision) => Some((write.started, write.ended, revision)),
            WriteOutcome::Failed(_) => None,
        })
        .collect();
    let mut violations = Vec::new();
    let mut seen = BTreeSet::new();
    for (_, _, revision) in &acknowledged {
        if !seen.insert(*revision) {
            violations.push(format!("revision {revision} was given to two writes"));
        }
    }
    acknowledged.sort_by_key(|(_, ended, _)| *ended);
    let highest = running_maximum(&acknowledged);
    for (started, _, revision) in &acknowledged {
        if let Some(before) = highest_before(&highest, *started).filter(|before| before > revision) {
            violations.push(format!(
                "revision {revision} began after revision {before} had been acknowledged"
            ));
        }
    }
    for read in reads {
        if let Some(before) = highest_before(&highest, read.started).filter(|before| *before > read.revision) {
            violations.push(format!(
                "stale read: revision {} after {before} had been acknowledged",
                read.revision
            ));
        }
        if read.found != Some(read.acknowledged) {
            violations.push(format!(
                "stale read: {} was acknowledged at revision {} before the read began, which found {:?}",
                read.key, read.acknowledged, read.found
            ));
        }
    }
    violations
}

/// (end, highest revision acknowledged until then), in order of ends.
fn running_maximum(sorted_by_end: &[(Instant, Instant, i64)]) -> Vec<(Instant, i64)> {
    let mut highest = 0;
    sorted_by_end
        .iter()
        .map(|(_, ended, revision)| {
            highest = highest.max(*revision);
            (*ended, highest)
        })
        .collect()
}

fn highest_before(highest: &[(Instant, i64)], at: Instant) -> Option<i64> {
    let index = highest.partition_point(|(ended, _)| *ended < at);
    index.checked_sub(1).map(|last| highest[last].1)
}

/// A watcher saw every acknowledged write exactly once and in order of revision.
pub fn watch_gaps(name: &str, events: &[SeenEvent], writes: &[Write]) -> Vec<String> {
    let mut violations = Vec::new();
    for pair in events.windows(2) {
        if pair[1].revision < pair[0].revision {
            violations.push(format!(
                "{name}: revision {} came after {}",
                pair[1].revision, pair[0].revision
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for event in events {
        if !seen.insert((event.revision, event.key.clone())) {
            violations.push(format!(
                "{name}: revision {} of {} came twice",
                event.revision, event.key
            ));
        }
    }
    for write in writes {
        if let WriteOutcome::Acknowledged(revision) = write.outcome
            && !seen.contains(&(revision, write.key.clone()))
        {
            violations.push(format!("{name}: revision {revision} of {} never came", write.key));
        }
    }
    violations
}

/// `active` only ever names one of the two data centers, and changes exactly as often as switches were due.
pub fn active_changes(name: &str, events: &[SeenEvent], initial: &str, expected_changes: usize) -> Vec<String> {
    let mut violations = Vec::new();
    let (mut current, mut changes) = (initial.to_owned(), 0);
    for event in events.iter().filter(|event| event.key.ends_with("/active")) {
        match event.value.as_deref() {
            Some(value @ ("dc1" | "dc2")) => {
                if value != current {
                    changes += 1;
                    value.clone_into(&mut current);
                }
            }
            Some(other) => violations.push(format!("{name}: active became {other:?}")),
            None => violations.push(format!("{name}: active was deleted at revision {}", event.revision)),
        }
    }
    if changes != expected_changes {
        violations.push(format!(
            "{name}: active changed {changes} times, {expected_changes} were due"
        ));
    }
    violations
}

/// All watchers agree: a key at a revision has one value, so no revision names two active data centers.
pub fn agreement(records: &[(String, Vec<SeenEvent>)]) -> Vec<String> {
    let mut known: BTreeMap<(String, i64), (Option<String>, String)> = BTreeMap::new();
    let mut violations = Vec::new();
    for (name, events) in records {
        for event in events {
            let entry = known
                .entry((event.key.clone(), event.revision))
                .or_insert_with(|| (event.value.clone(), name.clone()));
            if entry.0 != event.value {
                violations.push(format!(
                    "{} at revision {} is {:?} for {name} and {:?} for {}",
                    event.key, event.revision, event.value, entry.0, entry.1
                ));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn write(key: &str, start_ms: u64, end_ms: u64, outcome: WriteOutcome, origin: Instant) -> Write {
        let at = |ms| origin + Duration::from_millis(ms);
        Write {
            key: key.into(),
            value: "v".into(),
            started: at(start_ms),
            ended: at(end_ms),
            outcome,
        }
    }

    fn event(revision: i64, key: &str, value: Option<&str>) -> SeenEvent {
        SeenEvent {
            revision,
            key: key.into(),
            value: value.map(Into::into),
            at: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    #[test]
    fn lost_changed_and_repeated_writes_are_found() {
        let origin = Instant::now();
        let writes: Vec<Write> = ["a", "b", "c", "d"]
            .iter()
            .enumerate()
            .map(|(index, key)| write(key, 0, 1, WriteOutcome::Acknowledged(index as i64 + 2), origin))
            .collect();
        let present = BTreeMap::from([
            ("b".to_owned(), ("other".to_owned(), 3)),
            ("c".to_owned(), ("v".to_owned(), 9)),
            ("d".to_owned(), ("v".to_owned(), 5)),
        ]);
        assert_eq!(lost_writes(&writes, &present).len(), 3);
    }

    #[test]
    fn revisions_against_real_time_and_stale_reads_are_found() {
        let origin = Instant::now();
        let first = write("a", 0, 10, WriteOutcome::Acknowledged(7), origin);
        let late = write("b", 20, 30, WriteOutcome::Acknowledged(6), origin);
        assert_eq!(revision_order(&[first.clone(), late], &[]).len(), 1);
        let after = origin + Duration::from_millis(40);
        let read = |revision, found| Read {
            started: after,
            ended: after,
            revision,
            key: "a".into(),
            acknowledged: 7,
            found,
        };
        assert!(revision_order(std::slice::from_ref(&first), &[read(7, Some(7))]).is_empty());
        assert_eq!(
            revision_order(std::slice::from_ref(&first), &[read(6, Some(7))]).len(),
            1
        );
        assert_eq!(revision_order(&[first], &[read(7, None)]).len(), 1);
    }

    #[test]
    fn gaps_doubles_and_disorder_are_found() {
        let origin = Instant::now();
        let writes = [2, 3, 4].map(|revision| write("k", 0, 1, WriteOutcome::Acknowledged(revision), origin));
        let events = [
            event(3, "k", Some("v")),
            event(2, "k", Some("v")),
            event(2, "k", Some("v")),
        ];
        assert_eq!(watch_gaps("w", &events, &writes).len(), 3);
    }

    #[test]
    fn a_second_switch_a_deletion_and_a_foreign_name_are_found() {
        let events = [event(2, "/x/active", Some("dc2")), event(3, "/x/active", Some("dc1"))];
        assert!(active_changes("w", &events, "dc1", 2).is_empty());
        assert_eq!(active_changes("w", &events, "dc1", 1).len(), 1);
        let events = [event(2, "/x/active", None), event(3, "/x/active", Some("dc3"))];
        assert_eq!(active_changes("w", &events, "dc1", 0).len(), 2);
    }

    #[test]
    fn two_values_of_one_revision_are_found() {
        let one = ("one".to_owned(), vec![event(5, "/x/active", Some("dc1"))]);
        let two = ("two".to_owned(), vec![event(5, "/x/active", Some("dc2"))]);
        assert_eq!(agreement(&[one, two]).len(), 1);
    }
}
