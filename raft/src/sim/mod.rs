//! Deterministic simulation of a cluster: the real core on virtual time, a simulated network and simulated disks.
//!
//! One seed decides everything: delays, faults, what a crash leaves on a disk, what clients do. Clients record what they
//! were told, and a checker compares it with what any correct cluster could have told them. Planted bugs show that the
//! checker sees what it should. Threads, files, TLS and gRPC are deliberately not simulated.

mod cluster;
mod engine;
mod faults;
mod history;
mod network;
mod workload;

use std::time::Duration;

use openraft::AsyncRuntime;
use openraft_rt_sim::SimRuntime;

pub use faults::FaultMix;

/// A bug that the simulation puts in, to prove that its checker finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// The log acknowledges entries before they are on the disk.
    AckBeforeFlush,
    /// A vote given is not remembered after a crash.
    ForgottenVote,
    /// A leader answers reads without asking a quorum whether it still leads.
    ReadWithoutQuorum,
}

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct SimOptions {
    /// Decides everything that is not fixed here.
    pub seed: u64,
    /// Virtual time with faults; then everything heals and the end is checked.
    pub duration: Duration,
    /// Which faults happen.
    pub faults: FaultMix,
    /// Elections that do not wait for the lease.
    pub fast_elections: bool,
    /// The bug put in, if any.
    pub bug: Option<PlantedBug>,
    /// Whether to record and hash every step of the scheduler.
    pub trace: bool,
}

impl SimOptions {
    /// Three virtual seconds with every kind of fault and no bug.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            duration: Duration::from_secs(3),
            faults: FaultMix::Everything,
            fast_elections: true,
            bug: None,
            trace: false,
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimReport {
    /// What no correct cluster does; empty for a good run.
    pub violations: Vec<String>,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Highest term at the end.
    pub term: u64,
    /// For every crash of a leader: virtual milliseconds until the next write was acknowledged.
    pub write_gaps_ms: Vec<u64>,
    /// Leaders that handed over while their disk stalled.
    pub hand_overs: u64,
    /// Hash of the end state.
    pub state_hash: [u8; 32],
    /// Checksum over every step of the scheduler, if it was asked for.
    pub trace: Option<u32>,
}

/// Runs one simulation.
pub fn simulate(options: SimOptions) -> SimReport {
    let mut runtime = SimRuntime::with_seed(options.seed);
    runtime.record_trace(options.trace);
    let mut report = runtime.block_on(cluster::run(options));
    if options.trace {
        let steps = runtime.take_trace();
        report.trace = Some(
            steps
                .iter()
                .fold(0, |sum, step| crc32c::crc32c_append(sum, step.as_bytes())),
        );
    }
    report
}

/// A small seeded generator (SplitMix64), so that draws do not depend on any library.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Between the two, in milliseconds.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}
