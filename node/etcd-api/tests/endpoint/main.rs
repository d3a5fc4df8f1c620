//! The endpoint over real connections, on a single node's consensus.

mod alarms;
mod auth;
mod door;
mod frames;
mod http2;
mod kv;
mod lease;
mod quorum;
mod snapshot;
mod support;
mod watch;
