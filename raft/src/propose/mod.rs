//! The way of a proposal from any node to `apply` and back, at most once; and the reads that need a leader's word.
//!
//! - [`door`] is what a leader does: stamp the time, propose in batches;
//! - [`session`] holds what this node has under way, numbered for de-duplication;
//! - [`pump`] sends it to whoever leads, again after every change of leader, under the same numbers;
//! - [`reads`] confirms leadership and fetches read indexes, one round for many callers.

mod door;
mod forwarded;
mod pump;
mod reads;
mod session;

pub(crate) use door::{DoorItem, DoorOutcomes, EntryOutcome, LeaderDoor};
pub(crate) use forwarded::serve_forwarded;
pub(crate) use pump::Pump;
pub(crate) use reads::{LeaderRounds, ReadRounds};
pub(crate) use session::{Session, WithoutQuorum};
