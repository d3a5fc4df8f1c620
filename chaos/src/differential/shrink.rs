//! Makes a sequence that ends in a difference as short as a few minutes allow: leaves out ever smaller parts and keeps what
//! still differs. Each try starts both systems anew.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::generate::Round;
use super::run::{Divergence, Session};
use super::systems::Programs;

/// Where shrinking ends with what it has.
const BUDGET: Duration = Duration::from_secs(240);

/// A sequence and where it leads.
pub(super) struct Shrunk {
    pub rounds: Vec<Round>,
    pub divergence: Divergence,
    /// Sequences that were tried.
    pub tries: usize,
}

/// Shortens `rounds`, whose last one shows `divergence`.
pub(super) async fn shrink(programs: &Programs, rounds: Vec<Round>, divergence: Divergence) -> Result<Shrunk> {
    let started = Instant::now();
    let mut best = Shrunk {
        rounds: without_other_reads(rounds),
        divergence,
        tries: 0,
    };
    // The end is what differs; parts of what comes before are left out, halves first.
    let mut part = best.rounds.len() / 2;
    while part > 0 && started.elapsed() < BUDGET {
        let mut start = 0;
        while start + part < best.rounds.len() && started.elapsed() < BUDGET {
            let mut candidate = best.rounds.clone();
            candidate.drain(start..start + part);
            best.tries += 1;
            match attempt(programs, &candidate).await? {
                Some(divergence) => {
                    best.rounds = candidate;
                    best.divergence = divergence;
                }
                None => start += part,
            }
        }
        part = part.min(best.rounds.len()) / 2;
    }
    Ok(best)
}

/// Reads of earlier rounds change nothing.
fn without_other_reads(mut rounds: Vec<Round>) -> Vec<Round> {
    let last = rounds.len().saturating_sub(1);
    rounds[..last].iter_mut().for_each(|round| round.reads.clear());
    rounds
}

async fn attempt(programs: &Programs, rounds: &[Round]) -> Result<Option<Divergence>> {
    let mut session = Session::start(programs).await?;
    let divergence = session.replay(rounds).await?;
    session.stop().await?;
    Ok(divergence)
}
