//! The endpoint over real connections, on a single node's consensus.

mod acknowledged;
mod alarms;
mod auth;
mod bypasses;
mod door;
mod election;
mod frames;
mod gateway;
mod hostile;
mod http;
mod http2;
mod import;
mod installed_snapshot;
mod kv;
mod lease;
mod maintenance;
mod quorum;
mod real;
mod real_etcd;
mod snapshot;
mod strangers;
mod support;
mod unread;
mod watch;
mod watch_like_etcd;
mod websocket;
