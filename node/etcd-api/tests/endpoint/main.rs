//! The endpoint over real connections, on a single node's consensus.

mod alarms;
mod auth;
mod door;
mod election;
mod import;
mod kv;
mod lease;
mod maintenance;
mod quorum;
mod real;
mod snapshot;
mod support;
mod watch;
mod watch_like_etcd;
