//! Consensus for the appliance: the only crate that knows openraft and RocksDB.
//!
//! It carries encoded proposals to one agreed order, applies them to [`quorate_machine::State`] and lets edges read that
//! state. It knows no etcd, no HTTP and no database: edges speak to it through [`Handle`].

mod attempts;
mod clock;
pub mod codec;
mod core;
mod fast_election;
mod greeting;
mod growth;
mod hand_over;
mod handle;
mod leader_requests;
pub mod log;
mod machine_store;
mod measures;
mod members;
mod network;
mod node_requests;
mod observers;
mod priority;
mod propose;
mod published;
mod revisions;
mod running;
#[cfg(feature = "testing")]
pub mod sim;
mod snapshot;
mod standing;
mod start;
mod state_hashes;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod watchdog;
mod withdraw;

pub use clock::{SystemWallClock, WallClock};
pub use core::{CoreError, Retention, Timers};
pub use greeting::Greeting;
pub use handle::*;
pub use machine_store::OpenError;
pub use measures::{ConsensusMetrics, DurationHistogram};
pub use network::{NamelessTls, PeerDialer, PeerTls, Purpose, TcpDialer, TlsError, peer_certificate_name};
pub use node_requests::{AskNodeError, MAX_NODE_ANSWER_BYTES, MAX_NODE_REQUEST_BYTES, NodeRequestHandler};
pub use priority::step_back;
pub use revisions::{MAX_PUBLISHED_BYTES, Revisions};
pub use start::{Beginning, RaftOptions, StartError, start};
pub use state_hashes::{STATE_HASH_EVERY_ENTRIES, StateHash};
pub use types::{Applied, Member, TypeConfig};
