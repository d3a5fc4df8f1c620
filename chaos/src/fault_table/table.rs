//! The rows, for a terminal and for `docs/faults.md`.

use std::time::Duration;

use super::{Expected, Seen};

/// One scenario on one engine.
#[derive(Debug, Clone)]
pub struct Row {
    pub engine: &'static str,
    pub name: &'static str,
    pub what: String,
    pub expected: Expected,
    pub seen: Seen,
    /// From the fault until everything was as expected; `None`: it never was.
    pub after: Option<Duration>,
    /// Nodes whose SDK keys and watchers were right in the end.
    pub keys_right: usize,
    /// What differs from what is expected, in words; empty: nothing.
    pub differences: Vec<String>,
}

impl Row {
    /// Whether everything was as expected.
    pub fn is_right(&self) -> bool {
        self.differences.is_empty()
    }
}

/// One row on the terminal.
pub fn print(row: &Row) {
    let mark = if row.is_right() { "✓" } else { "✗" };
    println!("{mark} {} {}: {}; {}", row.engine, row.name, row.seen, time(row));
    if !row.is_right() {
        println!("    expected: {}", row.expected);
        for difference in &row.differences {
            println!("    differs: {difference}");
        }
    }
}

fn time(row: &Row) -> String {
    row.after.map_or_else(
        || "never as expected".to_owned(),
        |after| format!("{:.1} s", after.as_secs_f64()),
    )
}

/// The page, with the day on which it was written.
pub fn markdown(rows: &[Row], date: &str) -> String {
    let differing = rows.iter().filter(|row| !row.is_right()).count();
    let mut page = format!(
        "# Faults\n\nWhat is expected of each fault and what was seen, on real servers and three nodes; fast profile (retry 300 ms, access \
         timeout 500 ms,\nmonitor timeout 1000 ms) where a row says nothing else. Written by `cargo xtask faults --write` on \
         {date}: {} scenarios, {differing}\nwith a difference. How to run one: [operations](operations.md).\n\n\
         The time is counted from the fault until states, reasons and switches were as expected on the console; after it they were \
         watched for\nfurther seconds and had to stay so. A changed reason beside an unchanged vote is told at most every 10 s, which \
         is what the\nlonger times without a switch are. *SDK keys*: nodes on which every key of the monitor was right and whose watcher \
         saw exactly\nthese switches, each in one revision.\n\n\
         | engine | scenario | what is done | expected (dc1 / dc2) | seen | SDK keys | time |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        rows.len()
    );
    for row in rows {
        let differs = if row.is_right() {
            String::new()
        } else {
            format!(" **differs**: {}", row.differences.join("; "))
        };
        let cells = [
            row.engine.to_owned(),
            row.name.to_owned(),
            row.what.clone(),
            row.expected.to_string(),
            format!("{}{differs}", row.seen),
            format!("{} of 3", row.keys_right),
            time(row),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    page
}
