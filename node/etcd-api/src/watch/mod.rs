//! Watches: one matcher task for the process, one session per stream.
//!
//! - [`WatchHub`] takes every applied revision once, finds the watchers it concerns ([`index`]) and puts events, encoded
//!   once, into the queues of their streams ([`queue`]). It never waits: a watcher whose stream is full is set aside with
//!   nothing but its next revision.
//! - [`Session`] is the stream itself. It runs only while the client takes responses, drains its queue, and lets watchers
//!   that were set aside, or that start in the past, catch up from the keyspace's history.
//!
//! A watcher is either synced (the hub knows it) or catching up (only its session does). It changes sides under the hub's
//! lock and only when its next revision lies beyond what the hub has matched, so it misses nothing and sees nothing twice.

mod catch_up;
mod changes;
mod events;
mod fragments;
mod hub;
mod index;
mod intervals;
mod queue;
mod session;
mod watcher;

pub(crate) use changes::changed;
pub use hub::{MAX_QUEUED_BYTES, WatchHub};
pub use queue::{MAX_STREAM_BYTES, MAX_STREAM_EVENTS};
pub(crate) use session::Session;
pub(crate) use watcher::{KeySpan, RangeEnd};
