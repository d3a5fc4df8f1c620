//! The KV endpoint: etcd's v3 gRPC API in front of one instance's keyspace.
//!
//! etcd clients and the application SDKs speak to this crate unmodified. It translates wire messages to the operations of
//! [`quorate_kv`], authenticates callers, proposes and reads through [`quorate_raft::Handle`], streams watch events and
//! keeps the leases of the node that leads. It deliberately holds no data: what is stored, and who may do what, is decided
//! by the replicated state.
//!
//! - [`serve_kv`] opens one instance's port: gRPC, the JSON gateway, health, version and metrics, TLS and plaintext told apart by the first bytes;
//! - [`WatchHub`] is the one task per process that matches applied revisions with watchers;
//! - [`Lessor`] renews and expires leases while this node leads;
//! - [`TokenKey`] makes and checks the tokens that every node accepts;
//! - [`Clients`] knows which application processes watch, and which unknown keys were asked for;
//! - [`bolt`] reads and writes etcd's files, and [`SnapshotFile`] reads a snapshot of a real etcd;
//! - [`pb`] is the wire, generated from `proto/` (see `examples/codegen.rs`), with clients for tests and tools.

mod attempts;
mod backend;
mod body;
pub mod bolt;
mod caller;
mod certificates;
mod clients;
mod context;
mod convert;
mod credentials;
mod door;
mod errors;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gateway;
mod http2;
mod jwt;
mod lessor;
mod members;
mod metered;
mod metrics;
mod pages;
pub mod pb;
mod preface;
mod random;
mod route;
mod services;
mod strangers;
mod token;
mod watch;

pub use backend::{SnapshotError, SnapshotFile};
pub use certificates::certificate_expiry_seconds;
pub use clients::{Clients, ConnectedProcess, MAX_PROCESSES, MAX_UNKNOWN_KEYS, UnknownKey};
pub use context::{EMULATED_CLUSTER_VERSION, EMULATED_VERSION, REQUEST_TIMEOUT};
pub use door::{DoorError, KvDoor, KvPort, MAX_CONNECTIONS, serve_kv};
pub use jwt::{JwtError, JwtKeys};
pub use lessor::{LEASE_REQUEST_TAG, LeaseKeeper, Lessor, Remaining};
pub use members::{MAX_LEARNERS, MemberChange, MemberError, MemberKeeper};
pub use token::TokenKey;
pub use watch::{MAX_QUEUED_BYTES, MAX_STREAM_BYTES, MAX_STREAM_EVENTS, WatchHub};
