//! The endpoint over real connections, on a single node's consensus.

mod alarms;
mod auth;
mod bypasses;
mod door;
mod frames;
mod gateway;
mod hostile;
mod http;
mod http2;
mod kv;
mod lease;
mod quorum;
mod real_etcd;
mod snapshot;
mod strangers;
mod support;
mod watch;
