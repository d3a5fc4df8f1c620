//! Kill -9 at random moments: whatever the process had acknowledged is there when the log opens again.

mod log_common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use log_common::*;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use quorate_raft::codec::log_id;
use quorate_raft::log::DataDir;

const DIRECTORY: &str = "QUORATE_TEST_LOG_DIRECTORY";
const BUDGET: Duration = Duration::from_secs(6);
const LEAST_ROUNDS: u64 = 5;

/// What the child has told.
#[derive(Default)]
struct Told {
    /// Term of every acknowledged entry, by index.
    terms: Vec<u64>,
    vote: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(what), Some(Ok(number))) = (words.next(), words.next().map(str::parse::<u64>)) else {
            return;
        };
        let term = || {
            line.rsplit(' ')
                .next()
                .and_then(|term| term.parse().ok())
                .expect("a term")
        };
        match what {
            // Everything below is durable; what is new of it has this term.
            "acknowledged" => self.terms.resize((number as usize).max(self.terms.len()), term()),
            "cut" => self.terms.truncate(number as usize),
            "vote" => self.vote = number,
            _ => {}
        }
    }
}

/// Not a test by itself: the process that is killed. It does nothing unless told where to write.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    run(append_for_ever(Path::new(&directory)));
}

async fn append_for_ever(directory: &Path) {
    println!();
    let lock = DataDir::open(directory).expect("the directory is free");
    let term = lock.identity().expect("an identity").incarnation;
    let mut store = open(directory).expect("the log opens");
    let found = read_all(&store).await.expect("readable");
    let mut end = found.len() as u64;
    let mut random = Random(term);
    // What is found was perhaps not acknowledged; now it is, with the terms it has. One line for each term.
    for pair in found.windows(2) {
        if pair[0].log_id.leader_id != pair[1].log_id.leader_id {
            println!("acknowledged {} {}", pair[1].log_id.index, pair[0].log_id.leader_id);
        }
    }
    if let Some(last) = found.last() {
        println!("acknowledged {end} {}", last.log_id.leader_id);
    }
    loop {
        let mut pending = Vec::new();
        for _ in 0..1 + random.below(8) {
            let count = 1 + random.below(8);
            let entries = (end..end + count).map(|index| entry(term, index)).collect();
            end += count;
            pending.push((end, submit(&mut store, entries).await.expect("the writer runs")));
        }
        for (end, flushed) in pending {
            flushed.await.expect("an answer").expect("the disk works");
            println!("acknowledged {end} {term}");
        }
        match random.below(20) {
            0 => {
                store.save_vote(&vote(term, 1, false)).await.expect("the disk works");
                println!("vote {term}");
            }
            1 => {
                let known = read_all(&store).await.expect("readable");
                end -= random.below(10).min(end - 1);
                println!("cut {end}");
                let last = known[end as usize - 1].log_id;
                store.truncate_after(Some(last)).await.expect("the writer runs");
            }
            2 => {
                let committed = Some(log_id(term, end - 1));
                store.save_committed(committed).await.expect("the writer runs");
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    DataDir::open(directory.path())
        .and_then(|mut data| data.initialise(quorate_machine::Id::from_u128(1), 1))
        .expect("an empty directory");
    let (started, mut random, mut told) = (Instant::now(), Random(9), Told::default());
    let mut round = 0;
    while round < LEAST_ROUNDS || started.elapsed() < BUDGET {
        round += 1;
        run_and_kill(directory.path(), Duration::from_millis(random.below(150)), &mut told);
        run(check(directory.path(), &told, round));
    }
    assert!(told.terms.len() > 100, "the child got to work");
}

fn run_and_kill(directory: &Path, after: Duration, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().expect("this test's binary"))
        .args(["--exact", "child_appends_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test's binary runs");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let mut deadline = None;
    for line in output.lines() {
        let line = line.expect("text");
        told.hear(&line);
        let working = line.starts_with("acknowledged");
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + after);
        if working && Instant::now() >= deadline {
            // Killing it a second time does nothing; what is still in the pipe counts as told.
            child.kill().expect("the child is ours");
        }
    }
    let status = child.wait().expect("the child is ours");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "{status}"
    );
}

async fn check(directory: &Path, told: &Told, round: u64) {
    let _lock = DataDir::open(directory).expect("a killed process holds no lock");
    let store = open(directory).unwrap_or_else(|error| panic!("round {round}: {error}"));
    let found = read_all(&store).await.expect("readable");
    assert!(
        found.len() >= told.terms.len(),
        "round {round}: acknowledged entries are lost"
    );
    for (index, term) in (0..).zip(&told.terms) {
        assert_eq!(
            found[index as usize],
            entry(*term, index),
            "round {round}, index {index}"
        );
    }
    let vote = store.reader().read_vote().await.expect("readable");
    assert!(
        vote.map_or(0, |vote| vote.leader_id.term) >= told.vote,
        "round {round}: a vote is lost"
    );
    store.close().await.expect("the disk works");
}
