//! The replicated state machine: everything the cluster agrees on, as a pure value.
//!
//! [`apply`] takes one entry of the log and gives a reply, revisions and wake-ups; [`outstanding`] tells a new leader what
//! is still to be done; [`next_deadline`] tells the leader when to propose a `Tick`. Decisions about failover live here
//! and nowhere else ([`decide`]). It knows no clock, no randomness, no I/O: time, ids, nonces and sealed secrets arrive in
//! the command. It is deliberately no server and renders no text but that of its `catalog`.

mod access;
mod apply;
mod audit;
mod batch;
pub mod catalog;
mod command;
mod deadline;
mod digest;
mod divergence;
mod etcd_ids;
mod events;
mod hash;
mod health;
mod history;
mod keyspaces;
mod kinds;
mod live;
mod live_sites;
mod model;
mod names;
mod outstanding;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod preview;
mod principal;
mod registry;
mod replies;
mod reply;
mod ring;
mod sdk_configuration;
mod sdk_keys;
mod sessions;
mod sites;
mod snapshot;
mod state;
mod switch;
mod text;
mod validate;
mod withhold;

pub use access::{Action, Object, authorize, effective_role};
pub use apply::{Outcome, Wake, apply, try_out};
pub use audit::{AuditRecord, Change, MAX_AUDIT_RECORDS, actor};
pub use batch::{
    Batch, BatchedCommand, BatchedCommands, Commands, MAX_BATCH_BYTES, MAX_BATCH_COMMANDS, apply_entry, may_share_entry,
};
pub use command::*;
pub use deadline::next_deadline;
pub use digest::{DigestVote, worker_digest};
pub use etcd_ids::{FIRST_ETCD_MEMBER_ID, etcd_cluster_id, etcd_member_id, etcd_numbered_cluster};
pub use events::{EventCode, EventRecord, Level, MAX_EVENTS_RECORDS};
pub use health::{Decision, LEADER_SETTLE_MS, REPEAT_BLOCK_MS, Tally, Verdict, decide, tally};
pub use history::{MAX_HISTORY_TEXT_BYTES, MAX_HISTORY_TRANSITIONS};
pub use kinds::*;
pub use live::*;
pub use model::*;
pub use outstanding::{Effect, outstanding};
pub use preview::{Preview, PreviewMonitor, preview_switch};
pub use registry::{MAX_KEYSPACE_QUOTA_BYTES, MIN_ETCD_QUOTA_BYTES, MIN_KEYSPACE_QUOTA_BYTES};
pub use reply::*;
pub use ring::{MAX_RING_BYTES, Ring, RingRecord};
pub use sdk_configuration::{SdkConfiguration, SdkNode, sdk_configuration};
pub use sdk_keys::{RESERVED_PREFIX, sdk_keys};
pub use sessions::{MAX_SESSION_BYTES, MAX_SESSION_REPLIES, MAX_SESSIONS};
pub use sites::{MAX_TARGETS_PER_SITE, SITE_TIMEOUT_MS};
pub use snapshot::{SNAPSHOT_FORMAT_VERSION, SnapshotError, StateDecoder, encode_snapshot};
pub use state::State;
pub use withhold::{MAX_WINDOW_LEAD_MS, MAX_WINDOW_MS, MAX_WINDOWS};
