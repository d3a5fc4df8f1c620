//! What clients were told, and what of it no correct cluster could have told them.
//!
//! Every key has one writer, which writes 1, 2, 3… one after the other and leaves the key after the first write whose outcome
//! it was not told. So the key's value, its version and the number of applied writes are the same number, always.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known of one key.
#[derive(Debug, Default, Clone, Copy)]
struct Key {
    attempted: u64,
    acknowledged: u64,
    /// Highest value that a finished read has shown.
    seen: u64,
}

#[derive(Default)]
struct Record {
    keys: BTreeMap<String, Key>,
    hashes: BTreeMap<u64, (u64, [u8; 32])>,
    leaders: BTreeMap<u64, u64>,
    violations: Vec<String>,
    acknowledged: u64,
    reads: u64,
}

/// Shared by all clients of a run.
#[derive(Clone, Default)]
pub(crate) struct History {
    record: Arc<Mutex<Record>>,
}

/// What was true when a read began.
pub(crate) struct ReadBegun {
    key: String,
    least: u64,
}

impl History {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write_begins(&self, key: &str, value: u64) {
        self.record().keys.entry(key.to_owned()).or_default().attempted = value;
    }

    pub fn write_acknowledged(&self, key: &str, value: u64) {
        let mut record = self.record();
        record.acknowledged += 1;
        record.keys.entry(key.to_owned()).or_default().acknowledged = value;
    }

    /// Some key that was written, chosen by the number.
    pub fn some_key(&self, number: u64) -> Option<String> {
        let record = self.record();
        let count = record.keys.len() as u64;
        (count > 0).then(|| record.keys.keys().nth((number % count) as usize).cloned())?
    }

    pub fn read_begins(&self, key: &str) -> ReadBegun {
        let known = self.record().keys.get(key).copied().unwrap_or_default();
        ReadBegun {
            key: key.to_owned(),
            least: known.acknowledged.max(known.seen),
        }
    }

    /// A read that is to be linearizable showed this value (0: no such key) at this version.
    pub fn read_ends(&self, begun: &ReadBegun, value: u64, version: u64, node: u64) {
        let mut record = self.record();
        record.reads += 1;
        let known = record.keys.entry(begun.key.clone()).or_default();
        known.seen = known.seen.max(value);
        let attempted = known.attempted;
        if value < begun.least {
            let text = format!(
                "stale read of {} on node {node}: {value} after {}",
                begun.key, begun.least
            );
            record.violations.push(text);
        }
        if value > attempted || value != version {
            let text = format!("{} is {value} at version {version}, of {attempted} attempts", begun.key);
            record.violations.push(text);
        }
    }

    /// A node's state after an index: equal on all nodes.
    pub fn state_seen(&self, node: u64, index: u64, hash: [u8; 32]) {
        let mut record = self.record();
        let (other, known) = *record.hashes.entry(index).or_insert((node, hash));
        if known != hash {
            let text = format!("nodes {other} and {node} differ after index {index}");
            record.violations.push(text);
        }
    }

    /// A node says that it leads a term: one node per term at most.
    pub fn leader_seen(&self, term: u64, node: u64) {
        let mut record = self.record();
        let known = *record.leaders.entry(term).or_insert(node);
        if known != node {
            record
                .violations
                .push(format!("nodes {known} and {node} both led term {term}"));
        }
    }

    pub fn violated(&self, what: String) {
        self.record().violations.push(what);
    }

    /// Checks what is left at the end: nothing acknowledged is lost, nothing was applied twice.
    pub fn check_end(&self, node: u64, get: impl Fn(&str) -> (u64, u64)) {
        let mut record = self.record();
        let mut violations = Vec::new();
        for (key, known) in &record.keys {
            let (value, version) = get(key);
            if value < known.acknowledged {
                violations.push(format!("node {node} lost {key}={}: it has {value}", known.acknowledged));
            }
            if value != version || value > known.attempted {
                violations.push(format!(
                    "node {node} has {key}={value} at version {version}, of {}",
                    known.attempted
                ));
            }
        }
        record.violations.extend(violations);
    }

    /// Violations, acknowledged writes and answered reads.
    pub fn outcome(&self) -> (Vec<String>, u64, u64) {
        let record = self.record();
        (record.violations.clone(), record.acknowledged, record.reads)
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.record().acknowledged
    }
}
