//! Reconcilers on three real nodes in this process: real logs, real elections, real time.

mod consistency;
mod leader_priority;
mod support;
