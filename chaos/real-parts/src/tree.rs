//! The processes below a server: PostgreSQL answers with children that a signal to their parent does not reach.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Children of a process, now. None where it is gone.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let listed = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let listed: Vec<String> = listed.collect();
    let numbers = listed.iter().flat_map(|line| line.split_whitespace());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Sends a signal; a process that is gone needs none.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// SIGKILL to each, and waits until all are gone (or are left to be buried by somebody else).
pub(crate) fn kill_and_wait(pids: &[u32], timeout: Duration) -> Result<()> {
    for pid in pids {
        signal(*pid, Signal::KILL);
    }
    let deadline = Instant::now() + timeout;
    for pid in pids {
        while !matches!(state(*pid), None | Some('Z' | 'X')) {
            if Instant::now() >= deadline {
                bail!("process {pid} is not gone within {timeout:?}");
            }
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// Whether every thread of a process is stopped; one that has ended is no longer running either.
pub(crate) fn all_threads_stopped(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default())
        .all(|stat| matches!(state_in(&stat), None | Some('T' | 'Z' | 'X')))
}

fn state(pid: u32) -> Option<char> {
    state_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The first field after the name in parentheses.
fn state_in(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}
