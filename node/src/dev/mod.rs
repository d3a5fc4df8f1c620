//! `quorate dev`: a whole cluster on one machine, for trying out, tests and fault drills.
//!
//! Three child processes of the same program, each with its own folder, configuration and identity, on loopback. The parent
//! makes the certificates and passwords, starts and watches the children, writes `dev.json` for everything that drives the
//! cluster, and carries the fault proxy. It is no way to run a production cluster: all keys lie on one disk, the KV endpoint
//! takes plaintext, and no certificate is asked of clients.

mod cluster;
mod devfile;
pub mod faults;
mod launcher;
pub mod ports;
pub mod proxy;
mod proxy_admin;
mod pump;

pub use cluster::{DevCluster, DevError};
pub use devfile::{DevConsole, DevFile, DevKv, DevNode, DevUser};
pub use launcher::{DevOptions, run};
pub use proxy_admin::serve_admin;

/// Set in a child's environment: it stops when its standard input ends, which it does when the parent dies.
pub const STOP_WITH_PARENT: &str = "QUORATE_DEV_STOP_WITH_PARENT";
