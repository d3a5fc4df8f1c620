//! One node of the appliance: configuration, identity, wiring, reconcilers and the development cluster.
//!
//! Everything that touches the world starts here; decisions do not. The crates below know nothing of each other's edges:
//! this one hands consensus to the doors (KV, console) and to the reconcilers, which carry out what the replicated state
//! says is outstanding.

pub mod cli;
pub mod commands;
pub mod config;
pub mod dev;
pub mod etcd;
pub mod identity;
pub mod links;
pub mod logging;
pub mod membership;
pub mod reconcilers;
pub mod serve;
