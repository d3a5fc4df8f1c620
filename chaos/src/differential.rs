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

use anyhow::{Context, Result, anyhow};
use tokio::task::JoinSet;

pub use run::{Divergence, Tally};
pub use systems::{Asked, Pair, Programs, System, peer};

use generate::{Generator, Round};
use run::Session;

/// What to compare.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Operations, those of checkpoints included, over all lanes.
    pub operations: usize,
    /// Pairs of systems that are compared at the same time, each with a sequence of its own: one waits for the network and
    /// consensus most of the time.
    pub lanes: usize,
    /// Makes the sequence of the first lane; the others follow with the next seeds.
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
            lanes: 1,
            seed: 1,
            checkpoint_every: 10_000,
            shrink: true,
            tolerate: 0,
        }
    }
}

/// Where a lane came to.
struct Ended {
    seed: u64,
    tally: Tally,
    /// What was done, if it is to be shrunk.
    rounds: Vec<Round>,
    divergence: Option<Divergence>,
}

/// Compares and tells the figures; an error tells the difference and the shortest sequence found that shows it.
pub async fn run(programs: &Programs, options: Options) -> Result<Tally> {
    let started = Instant::now();
    let lanes = options.lanes.max(1);
    let mut running = JoinSet::new();
    for (lane, seed) in (0..lanes).zip(options.seed..) {
        let own = Options {
            operations: (options.operations + lane) / lanes,
            seed,
            ..options
        };
        let programs = programs.clone();
        running.spawn(async move { run_lane(&programs, own).await });
    }
    let mut sum = Tally::default();
    while let Some(ended) = running.join_next().await {
        let ended = ended.context("a lane broke off")??;
        sum.add(&ended.tally);
        if let Some(divergence) = ended.divergence {
            // The others' outcome would tell no more.
            running.shutdown().await;
            return Err(explain(programs, options, ended.seed, &ended.tally, ended.rounds, divergence).await);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} operations equal ({} of them refusals), {} checkpoints, {lanes} lanes from seed {}, {seconds:.1} s",
        sum.operations, sum.refused, sum.checkpoints, options.seed
    );
    Ok(sum)
}

async fn run_lane(programs: &Programs, options: Options) -> Result<Ended> {
    let started = Instant::now();
    let mut session = Session::start(programs).await?;
    session.tolerate(options.tolerate);
    let ready = started.elapsed();
    let mut generator = Generator::new(options.seed);
    let mut rounds = options.shrink.then(Vec::new);
    let told = |tally: &Tally| report(options.seed, tally, started.elapsed().saturating_sub(ready));
    let divergence = session
        .generate(
            &mut generator,
            options.operations,
            options.checkpoint_every,
            rounds.as_mut(),
            told,
        )
        .await
        .with_context(|| format!("seed {}", options.seed))?;
    let tally = session.tally;
    session.stop().await?;
    Ok(Ended {
        seed: options.seed,
        tally,
        rounds: rounds.unwrap_or_default(),
        divergence,
    })
}

/// The error for a difference.
async fn explain(
    programs: &Programs,
    options: Options,
    seed: u64,
    tally: &Tally,
    rounds: Vec<Round>,
    divergence: Divergence,
) -> anyhow::Error {
    let operations = tally.operations;
    let found = format!("seed {seed}: a difference after {operations} operations of its lane\n{divergence}");
    if !options.shrink {
        return anyhow!("{found}");
    }
    eprintln!("{found}\nlooking for the shortest sequence that shows it");
    let shrunk = match shrink::shrink(programs, rounds, divergence).await {
        Ok(shrunk) => shrunk,
        Err(error) => return error.context(found),
    };
    let steps = shrunk
        .rounds
        .iter()
        .flat_map(|round| std::iter::once(&round.change).chain(&round.reads));
    let steps: Vec<String> = steps.map(|step| format!("  {step:?}")).collect();
    anyhow!(
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
