//! Probers of data sources, and the pure judge that turns their observations into votes.
//!
//! One module per kind of monitor makes *attempts*; each yields an [`Observation`]. The [`judge`] keeps what changed:
//! the node reports only transitions. A prober decides nothing about failover, writes nothing to a data source but the
//! row of a [`canary`] where a monitor has one, and keeps no schedule: [`schedule`] says when an attempt is due, the
//! caller makes one at a time per target.

mod address;
pub mod api;
pub mod canary;
pub mod elasticsearch;
mod endpoint;
mod failure;
pub mod judge;
pub mod kept;
pub mod mongodb;
pub mod mysql;
pub mod names;
pub mod observation;
pub mod oracle;
pub mod postgresql;
pub mod prober;
pub mod redis;
mod refusals;
pub mod schedule;
pub mod secret;
pub mod self_check;
mod several;
mod steps;
mod tls;

pub use address::Address;
pub use endpoint::TargetError;
pub use judge::{Judge, JudgeSettings, Transition};
pub use names::{NameSettings, Names};
pub use observation::{CanaryFinding, Connections, Observation, RoleInfo, Stage, StageResult};
pub use prober::{AddressTest, Engine, Paths, ProbeTarget, Prober, StartError, engine};
pub use schedule::Schedule;
pub use secret::Secret;
pub use self_check::WorkerSummary;
pub use several::MAX_ADDRESSES;
pub use tls::Tls;
