//! Real servers for tests, benchmarks and the demo: found on the machine, started as an ordinary user with a data
//! directory of their own, failed on purpose, and gone when their owner is gone.
//!
//! A test that needs a server starts the server itself; a missing program is a failure that names `cargo xtask setup`,
//! never a silent skip. This crate installs nothing and knows nothing of the appliance: what it hands out are
//! addresses, accounts and faults (kill, pause, stop).

mod account;
mod cache;
mod directory;
mod dns;
mod ports;
mod process;
mod program;
mod tree;
mod user;

pub mod api;
pub mod mariadb;
pub mod mongodb;
pub mod mysql;
pub mod postgresql;
pub mod redis;
pub mod search;

pub use account::Account;
pub use directory::ServerDirectory;
pub use dns::{DnsMode, DnsServer};
pub use ports::{PORTS_PER_BLOCK, PortBlock};
pub use process::ServerProcess;
pub use program::find_program;
pub use user::ServerUser;
