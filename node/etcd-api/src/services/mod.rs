//! The gRPC services. Each method authenticates, translates, asks consensus or the local state, and translates back.

pub(crate) mod alarms;
mod auth;
mod cluster;
mod election;
pub(crate) mod hot;
mod import;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod queue;
mod watch;

use std::sync::Arc;

use crate::context::Context;

/// Implementation of all services of one port; cheap to clone.
#[derive(Clone)]
pub(crate) struct Services(pub(crate) Arc<Context>);
