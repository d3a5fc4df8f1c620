//! What an application process told of its statements and of its SDK, and what must hold of it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Microseconds since the Unix epoch, as the application prints them; everything runs on one machine.
pub type UnixMicros = i64;

/// How long after an SDK has logged the new `active` a statement may still start on the old side: the SDK logs the event
/// first, takes it over next, and reads it for each statement without a lock.
pub const TAKE_OVER_MICROS: UnixMicros = 100_000;

/// One line of an application in `chaos/sdk-trial`.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    pub kind: String,
    #[serde(default)]
    pub worker: String,
    pub number: i64,
    pub begun_us: UnixMicros,
    pub ended_us: UnixMicros,
    /// The server where the statement itself tells it, else 0.
    pub server: i64,
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub text: String,
}

/// A value of `active` as the SDK's own log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub at_us: UnixMicros,
    pub data_center: String,
}

/// Everything that one process has told.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub statements: Vec<Line>,
    /// Without repetitions of the same value, which the SDK ignores.
    pub changes: Vec<Change>,
    /// Warnings and errors of the SDK that are no statement's own.
    pub complaints: Vec<String>,
}

impl Record {
    /// Adds a line.
    pub fn take(&mut self, line: Line) {
        match line.kind.as_str() {
            "sdk" => self.take_log(&line),
            "open" => {}
            _statement => self.statements.push(line),
        }
    }

    fn take_log(&mut self, line: &Line) {
        if let Some(data_center) = active_of(&line.text) {
            if self.changes.last().is_none_or(|last| last.data_center != data_center) {
                self.changes.push(Change {
                    at_us: line.begun_us,
                    data_center: data_center.to_owned(),
                });
            }
        } else if !line.text.contains(" failed, err ") && !line.text.contains("INFO") {
            self.complaints.push(line.text.clone());
        }
    }

    /// The first change to `data_center` at or after `since`.
    pub fn change_to(&self, data_center: &str, since: UnixMicros) -> Option<&Change> {
        self.changes
            .iter()
            .find(|change| change.at_us >= since && change.data_center == data_center)
    }

    /// The first statement that began at or after `since` and was carried out by `server`.
    pub fn first_on(&self, server: i64, since: UnixMicros) -> Option<&Line> {
        let succeeded = self
            .statements
            .iter()
            .filter(|statement| statement.server == server && statement.error.is_empty());
        succeeded
            .filter(|statement| statement.begun_us >= since)
            .min_by_key(|statement| statement.ended_us)
    }

    /// How many statements that began between both times failed.
    pub fn failed_between(&self, from: UnixMicros, to: UnixMicros) -> usize {
        let within = |statement: &&Line| (from..to).contains(&statement.begun_us);
        self.statements
            .iter()
            .filter(within)
            .filter(|statement| !statement.error.is_empty())
            .count()
    }

    /// Gives every write the server that carried it out, by what was found written; returns the acknowledged ones of which
    /// nothing was found.
    pub fn locate(&mut self, rows: &BTreeMap<(String, i64), i64>) -> Vec<String> {
        let mut missing = Vec::new();
        let write = |line: &&mut Line| line.kind == "insert" || line.kind == "set";
        for insert in self.statements.iter_mut().filter(write) {
            match rows.get(&(insert.worker.clone(), insert.number)) {
                Some(server) => insert.server = *server,
                None if insert.error.is_empty() => missing.push(format!("{} number {}", insert.worker, insert.number)),
                None => {}
            }
        }
        missing
    }

    /// Statements that began after the SDK had taken a change over and still ran on another side.
    pub fn misdirected(&self, server_of: &BTreeMap<String, i64>) -> Vec<String> {
        let mut found = Vec::new();
        for statement in self.statements.iter().filter(|statement| statement.server != 0) {
            let started = |change: &&Change| change.at_us + TAKE_OVER_MICROS <= statement.begun_us;
            let Some(current) = self.changes.iter().rev().find(started) else {
                continue;
            };
            // What began shortly before a further change may have run on either side.
            let next = self.changes.iter().find(|change| change.at_us > current.at_us);
            let next_is_near = next.is_some_and(|next| statement.ended_us >= next.at_us);
            if !next_is_near && server_of.get(&current.data_center) != Some(&statement.server) {
                found.push(format!(
                    "{} {} of {} ran on server {} {} ms after the SDK had seen {}",
                    statement.kind,
                    statement.number,
                    statement.worker,
                    statement.server,
                    (statement.begun_us - current.at_us) / 1000,
                    current.data_center
                ));
            }
        }
        found
    }
}

/// The data center in the SDK's log line of a watch event on an `active` key.
fn active_of(text: &str) -> Option<&str> {
    let event = text.split_once("watch event type:PUT, key:")?.1;
    let (key, rest) = event.split_once(", v:")?;
    let value = rest.split_once(", modversion:")?.0;
    key.ends_with("/active").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, begun_us: UnixMicros, server: i64, error: &str) -> Line {
        Line {
            kind: kind.to_owned(),
            worker: "process-1".to_owned(),
            number: begun_us,
            begun_us,
            ended_us: begun_us + 1000,
            server,
            error: error.to_owned(),
            text: String::new(),
        }
    }

    fn log(at_us: UnixMicros, data_center: &str) -> Line {
        Line {
            text: format!(
                "2026/11/22 23:00:00.000001 client_v3.go:154: INFO: watch event type:PUT, \
                 key:/mas-monitor/status/db/services/a/m/database/orders/active, v:{data_center}, modversion:17"
            ),
            ..line("sdk", at_us, 0, "")
        }
    }

    fn servers() -> BTreeMap<String, i64> {
        BTreeMap::from([("dc1".to_owned(), 1), ("dc2".to_owned(), 2)])
    }

    fn record(lines: impl IntoIterator<Item = Line>) -> Record {
        let mut record = Record::default();
        for line in lines {
            record.take(line);
        }
        record
    }

    #[test]
    fn a_repeated_value_is_no_change() {
        let record = record([log(1, "dc2"), log(2, "dc2"), log(3, "dc1")]);
        let seen: Vec<_> = record
            .changes
            .iter()
            .map(|change| (change.at_us, change.data_center.as_str()))
            .collect();
        assert_eq!(seen, [(1, "dc2"), (3, "dc1")]);
    }

    #[test]
    fn a_statement_on_the_old_side_after_the_change_is_found() {
        let late = TAKE_OVER_MICROS + 1;
        let wrong = record([log(0, "dc2"), line("select", late, 1, "")]);
        assert_eq!(wrong.misdirected(&servers()).len(), 1);
        let right = record([log(0, "dc2"), line("select", late, 2, "")]);
        assert!(right.misdirected(&servers()).is_empty());
        let taken_over_meanwhile = record([log(0, "dc2"), line("select", 10, 1, "")]);
        assert!(taken_over_meanwhile.misdirected(&servers()).is_empty());
    }

    #[test]
    fn a_statement_that_meets_the_next_change_may_run_on_either_side() {
        let late = TAKE_OVER_MICROS + 1;
        let met = record([log(0, "dc2"), line("select", late, 1, ""), log(late + 500, "dc1")]);
        assert!(met.misdirected(&servers()).is_empty());
    }

    #[test]
    fn an_acknowledged_insert_without_a_row_is_named() {
        let mut record = record([
            line("insert", 5, 0, ""),
            line("insert", 6, 0, ""),
            line("insert", 7, 0, "refused"),
        ]);
        let rows = BTreeMap::from([(("process-1".to_owned(), 5), 2)]);
        assert_eq!(record.locate(&rows), ["process-1 number 6"]);
        assert_eq!(record.statements[0].server, 2);
    }
}
