//! Scenarios as text: one command a line in, what it came to out.
//!
//! [`check`] runs a scenario and then proves on its log what must hold for every log: replaying it gives the same state
//! hash, and a snapshot cut at any index changes nothing.

#![allow(dead_code)] // every test binary uses its own part

pub mod build;
pub mod kinds;
mod parse;
mod parse_instances;
mod parse_kv;
mod parse_rules;
mod parse_words;
mod print;
mod show;

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_kv::EventKind;
use quorate_machine::*;

/// A running scenario.
pub struct Scenario {
    pub state: State,
    pub log: Vec<Envelope>,
    pub now_ms: u64,
    author: Principal,
    stamp: Option<SessionStamp>,
    incarnations: BTreeMap<u64, u64>,
    sequences: BTreeMap<u64, u64>,
    names: BTreeMap<String, Id>,
    epochs: BTreeMap<Id, u64>,
    out: String,
    /// How far the leader's wall clock is wrong, milliseconds.
    wall_error_ms: i64,
}

/// Runs a scenario and checks its log; gives the output.
pub fn check(text: &str) -> String {
    let mut scenario = Scenario::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        scenario.line(line);
    }
    check_log(&scenario.log, &scenario.state);
    scenario.out
}

/// Equal logs give equal hashes, with and without a snapshot in between, wherever it is cut.
pub fn check_log(log: &[Envelope], end: &State) {
    let mut state = State::new();
    for cut in 0..=log.len() {
        let mut restored = restore(&state);
        assert_eq!(
            restored.state_hash(),
            state.state_hash(),
            "a snapshot at entry {cut} changes the state"
        );
        // From a few cuts on to the end; from all of them only the next entry.
        let until = if cut % 16 == 3 {
            log.len()
        } else {
            (cut + 1).min(log.len())
        };
        for (index, envelope) in (1..).zip(log).skip(cut).take(until - cut) {
            apply(&mut restored, index, envelope);
        }
        if let Some(envelope) = log.get(cut) {
            apply(&mut state, cut as u64 + 1, envelope);
        }
        let expected = if until == log.len() { end } else { &state };
        assert_eq!(
            restored.state_hash(),
            expected.state_hash(),
            "the log goes on differently after entry {cut}"
        );
    }
    assert_eq!(
        state.state_hash(),
        end.state_hash(),
        "replaying the log gives another state"
    );
}

/// The state through a snapshot.
pub fn restore(state: &State) -> State {
    let mut decoder = StateDecoder::new();
    for block in encode_snapshot(state) {
        decoder.push(&block).expect("own blocks decode");
    }
    decoder.finish().expect("own snapshots are whole")
}

impl Scenario {
    pub fn new() -> Self {
        Scenario {
            state: State::new(),
            log: Vec::new(),
            now_ms: 0,
            author: build::user_principal("root", 1),
            stamp: None,
            incarnations: BTreeMap::new(),
            sequences: BTreeMap::new(),
            names: BTreeMap::new(),
            epochs: BTreeMap::new(),
            out: String::new(),
            wall_error_ms: 0,
        }
    }

    /// Applies a command of the present author.
    pub fn apply(&mut self, command: Command) -> Outcome {
        self.apply_as(self.author.clone(), command)
    }

    /// Applies a command of an author and prints what it came to.
    pub fn apply_as(&mut self, author: Principal, command: Command) -> Outcome {
        let mut envelope = build::envelope(self.now_ms, self.stamp.take(), author, command);
        envelope.wall_ms += self.wall_error_ms;
        let index = self.log.len() as u64 + 1;
        let events_before = self.state.events().last_sequence();
        let outcome = apply(&mut self.state, index, &envelope);
        self.log.push(envelope);
        self.check_outcome(&outcome);
        let text = print::outcome(&self.state, &self.names, &outcome, events_before);
        self.out.push_str(&text);
        outcome
    }

    /// No revision names zero or two active data centers, and epochs never fall.
    fn check_outcome(&mut self, outcome: &Outcome) {
        check_revisions(&self.state, outcome);
        for monitor in self.state.all_monitors() {
            let known = self.epochs.insert(monitor.id(), monitor.epoch).unwrap_or(0);
            assert!(monitor.epoch >= known, "an epoch fell");
        }
        assert!(
            self.state.events().verify() && self.state.audit().verify(),
            "a chain of records is broken"
        );
    }
}

/// Every `active` key that a revision puts names one data center, and the last one is what the state says.
pub fn check_revisions(state: &State, outcome: &Outcome) {
    let mut last: BTreeMap<String, Bytes> = BTreeMap::new();
    for (instance, revision) in &outcome.revisions {
        assert!(state.keyspace(instance).is_some(), "a revision of an unknown keyspace");
        for event in revision.iter() {
            let key = String::from_utf8_lossy(&event.kv.key).into_owned();
            if !key.starts_with(RESERVED_PREFIX) || !key.ends_with("/active") {
                continue;
            }
            match event.kind {
                EventKind::Put => {
                    assert!(
                        matches!(&*event.kv.value, b"dc1" | b"dc2"),
                        "{key} names no data center"
                    );
                    last.insert(key, event.kv.value.clone());
                }
                EventKind::Delete => {
                    let live = state.all_monitors().flat_map(sdk_keys);
                    assert!(
                        !live.map(|(key, _)| key).any(|kept| kept == key),
                        "an active key was deleted: {key}"
                    );
                }
            }
        }
    }
    for (key, value) in last {
        let monitor = state
            .all_monitors()
            .find(|monitor| key.contains(&monitor.id().to_string()));
        let monitor = monitor.expect("only monitors have an active key");
        assert_eq!(value, monitor.active().name().as_bytes(), "{key}");
    }
}
