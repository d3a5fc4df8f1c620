//! The appliance's KV beside real etcd, operation by operation.
//!
//! Seeded random operations of every kind go to one member of real etcd and to a cluster of three nodes. Every reply,
//! header, code and text must be equal but for what two systems cannot have in common (`normal` lists it); at checkpoints
//! all keys at several revisions, etcd's own hash of all revisions, leases, users and every event of a watch that stands
//! from the beginning. The justified differences are in `docs/etcd-differences.md`, and the operations avoid them.
//!
//! Between two operations that may change something, reads and watches go out at the same time: they see the same state in
//! any order. That is what makes 100,000 operations affordable.
//!
//! It deliberately kills nothing: faults are the scenarios' matter.

mod checkpoint;
mod generate;
mod normal;
mod operation;
mod rebase;
mod run;
mod shrink;
mod sorting;
mod systems;
mod watching;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub use run::{Divergence, Tally};
pub use systems::{Asked, Pair, Programs, System, peer};

use generate::Generator;
use run::Session;

/// What to compare.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Operations, those of checkpoints included.
    pub operations: usize,
    /// Makes the sequence.
    pub seed: u64,
    /// Operations between two comparisons of everything.
    pub checkpoint_every: usize,
    /// Whether a difference is searched for its shortest cause.
    pub shrink: bool,
    /// Differences that are told without ending the sequence, to see more than the first at once. What follows a
    /// difference may be its consequence.
    pub tolerate: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            operations: 100_000,
            seed: 1,
            checkpoint_every: 10_000,
            shrink: true,
            tolerate: 0,
        }
    }
}

/// Compares and tells the figures; an error tells the difference and the shortest sequence found that shows it.
pub async fn run(programs: &Programs, options: Options) -> Result<Tally> {
    let started = Instant::now();
    let mut session = Session::start(programs).await?;
    session.tolerate(options.tolerate);
    let ready = started.elapsed();
    let mut generator = Generator::new(options.seed);
    let told = |tally: &Tally| report(options.seed, tally, started.elapsed().saturating_sub(ready));
    let (rounds, divergence) = session
        .generate(&mut generator, options.operations, options.checkpoint_every, told)
        .await?;
    let tally = session.tally;
    session.stop().await?;
    let Some(divergence) = divergence else {
        report(options.seed, &tally, started.elapsed().saturating_sub(ready));
        return Ok(tally);
    };
    let found = format!(
        "seed {}: a difference after {} operations\n{divergence}",
        options.seed, tally.operations
    );
    if !options.shrink {
        bail!("{found}");
    }
    eprintln!("{found}\nlooking for the shortest sequence that shows it");
    let shrunk = shrink::shrink(programs, rounds, divergence).await?;
    let steps = shrunk
        .rounds
        .iter()
        .flat_map(|round| std::iter::once(&round.change).chain(&round.reads));
    let steps: Vec<String> = steps.map(|step| format!("  {step:?}")).collect();
    bail!(
        "{found}\nshortest sequence found in {} tries:\n{}\nleads to\n{}",
        shrunk.tries,
        steps.join("\n"),
        shrunk.divergence
    )
}

fn report(seed: u64, tally: &Tally, elapsed: Duration) {
    println!(
        "seed {seed}: {} operations equal ({} of them refusals), {} checkpoints, {:.1} s",
        tally.operations,
        tally.refused,
        tally.checkpoints,
        elapsed.as_secs_f64()
    );
}
