//! The tally of one side: who votes, and what the votes say (architecture: Failover safety).

use crate::live::{Side, Worker};
use crate::model::Vote;
use crate::state::State;

/// With fewer voters than this, one worker that reaches the side is enough whatever the precision says.
const VOTERS_FOR_PRECISION: u32 = 3;
/// Fewer voters than this never condemn a side.
const VOTERS_TO_FAIL: u32 = 2;

#[cfg(not(feature = "planted-bugs"))]
const fn voters_to_fail() -> u32 {
    VOTERS_TO_FAIL
}

/// In tests of the tests, a single voter may be let condemn a side.
#[cfg(feature = "planted-bugs")]
fn voters_to_fail() -> u32 {
    if crate::planted::single_voter_switches() {
        1
    } else {
        VOTERS_TO_FAIL
    }
}

/// What the votes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Healthy,
    Failed,
    /// Too few voters to say either.
    Held,
}

/// Counted votes of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Workers whose vote counts: neither unknown nor lapsed.
    pub voters: u32,
    pub ups: u32,
    /// Of the ups, those with three running successes.
    pub steady: u32,
    /// Ups that are needed, as the precision and the number of voters ask.
    pub needed: u32,
}

impl Tally {
    /// What the votes say of the side.
    pub fn verdict(&self) -> Verdict {
        if self.ups >= self.needed {
            Verdict::Healthy
        } else if self.voters >= voters_to_fail() {
            Verdict::Failed
        } else {
            Verdict::Held
        }
    }

    /// Good enough as the target of an automatic switch.
    pub fn steady_target(&self) -> bool {
        self.steady >= self.needed
    }
}

/// Counts the votes of a side with a health precision.
pub fn tally(state: &State, side: &Side, precision: u32) -> Tally {
    count(state, side, precision, |worker| !worker.lapsed)
}

/// Counts only the votes of workers that the present leader has heard: what a switch may rest on. A worker that stayed
/// silent through a leader change is about to lapse, and its vote is the old leader's knowledge.
pub(crate) fn tally_heard(state: &State, side: &Side, precision: u32) -> Tally {
    let term = state.current_term();
    count(state, side, precision, |worker| {
        !worker.lapsed && worker.seen_term == term
    })
}

fn count(state: &State, side: &Side, precision: u32, counts: impl Fn(&Worker) -> bool) -> Tally {
    let votes = side.votes.iter().filter(|vote| vote.vote() != Vote::Unknown);
    let counted = votes.filter(|vote| state.worker(vote.node).is_some_and(&counts));
    let (mut voters, mut ups, mut steady) = (0, 0, 0);
    for vote in counted {
        voters += 1;
        ups += u32::from(matches!(vote.vote(), Vote::Up | Vote::UpSteady));
        steady += u32::from(vote.vote() == Vote::UpSteady);
    }
    let needed = if voters < VOTERS_FOR_PRECISION {
        1
    } else {
        precision.max(1)
    };
    Tally {
        voters,
        ups,
        steady,
        needed,
    }
}
