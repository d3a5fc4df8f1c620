//! Health: votes of workers, tally, monitor timeout, decision. All of it works on replicated state only.

mod conditions;
mod decide;
mod disks;
mod evaluate;
mod report;
mod tally;
mod workers;

pub use decide::{Decision, REPEAT_BLOCK_MS, decide};
pub(crate) use disks::disk_reported;
pub(crate) use evaluate::{evaluate, evaluate_all};
pub(crate) use report::{report, state_hash_reported, tick};
pub use tally::{Tally, Verdict, tally};
pub use workers::LEADER_SETTLE_MS;
pub(crate) use workers::{drop_votes, leader_started, worker_lapsed, worker_seen};
