//! Scenarios, faults, recording clients and checkers for a cluster of real processes.
//!
//! Everything here speaks to the appliance over the network only, as a user would: REST for the console, etcd's API for the
//! KV endpoint, signals and the development launcher's fault proxy for faults. The demonstration, the benchmarks and the
//! process tests are programs over this library. It deliberately shares no code with the appliance.

pub mod accounting;
pub mod bench;
pub mod checkers;
pub mod clocks;
pub mod cluster;
pub mod demo;
pub mod differential;
pub mod etcd;
pub mod fault_table;
pub mod faults;
pub mod harness;
pub mod kv;
pub mod kv_load;
pub mod leases;
pub mod ports;
pub mod readers;
pub mod rest;
pub mod scenario;
pub mod sdk;
pub mod sdk_trial;
pub mod sides;
pub mod statistics;
pub mod suites;
pub mod timeline;
pub mod watcher;
pub mod wire;
pub mod writers;
