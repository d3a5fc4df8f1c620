//! Digest of one worker's votes, carried by heartbeats: where the leader's differs from the node's, the leader asks for a
//! full report. Both sides compute it with this function.

use sha2::{Digest, Sha256};

use crate::model::{DataCenter, Id, Vote};
use crate::state::State;

/// One vote as it enters the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DigestVote {
    pub monitor: Id,
    /// The probed configuration: `MonitorRecord::probe_generation`.
    pub generation: u64,
    pub data_center: DataCenter,
    pub vote: Vote,
}

/// Digest over a worker's votes in any order. `unknown` counts as no vote, because it is what an absent vote means.
pub fn worker_digest(votes: impl IntoIterator<Item = DigestVote>) -> u64 {
    let mut votes: Vec<DigestVote> = votes.into_iter().filter(|vote| vote.vote != Vote::Unknown).collect();
    votes.sort_unstable();
    let mut hash = Sha256::new();
    for vote in votes {
        hash.update(vote.monitor.as_u128().to_be_bytes());
        hash.update(vote.generation.to_be_bytes());
        hash.update([vote.data_center as u8, vote.vote as u8]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_be_bytes(digest[..8].try_into().expect("eight of thirty-two bytes"))
}

impl State {
    /// Digest of the votes of `node` as they stand in the state.
    pub fn digest_of(&self, node: u64) -> u64 {
        worker_digest(self.all_monitors().flat_map(|monitor| {
            DataCenter::ALL.into_iter().filter_map(move |dc| {
                let vote = monitor.side(dc).votes.iter().find(|vote| vote.node == node)?;
                Some(DigestVote {
                    monitor: monitor.id(),
                    generation: vote.generation,
                    data_center: dc,
                    vote: vote.vote(),
                })
            })
        }))
    }
}
