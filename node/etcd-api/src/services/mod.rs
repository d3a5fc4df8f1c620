//! The gRPC services. Each method authenticates, translates, asks consensus or the local state, and translates back.

pub(crate) mod alarms;
mod auth;
mod cluster;
pub(crate) mod hot;
mod kv;
mod lease;
mod maintenance;
mod watch;

use std::sync::Arc;

use crate::context::Context;

/// Implementation of all services of one port; cheap to clone.
#[derive(Clone)]
pub(crate) struct Services(pub(crate) Arc<Context>);
