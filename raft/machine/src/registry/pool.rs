//! The connection pool of a monitor (C10): saving it publishes every SDK key of the monitor in one revision.

use std::sync::Arc;

use crate::apply::Context;
use crate::audit;
use crate::command::SetConnectionPool;
use crate::health;
use crate::keyspaces::system_write;
use crate::registry::describe::describe_monitor;
use crate::registry::monitor::check_pool;
use crate::registry::{check_generation, not_found, object_reply};
use crate::reply::*;
use crate::sdk_keys::{changes, sdk_keys};
use crate::state::State;

pub(crate) fn set_connection_pool(
    state: &mut State,
    context: &mut Context<'_>,
    command: SetConnectionPool,
) -> Result<ReplyKind, Refusal> {
    let Some(present) = state.monitor(&command.monitor) else {
        return Err(not_found("monitor", command.monitor));
    };
    check_generation(&present.meta, command.generation)?;
    check_pool(&present.spec, &command.pool)?;
    if present
        .pool
        .as_ref()
        .is_some_and(|pool| pool.database != command.pool.database)
    {
        // It stands in every SDK key of the monitor: a change would take `active` away from running SDKs, which never look
        // at another key until they are started anew.
        let detail =
            "the database stands in the keys that SDKs read and is fixed once it was saved; create a new monitor";
        return Err(Refusal::invalid_field("/database", "fixed", detail));
    }
    let mut monitor = present.clone();
    monitor.pool = Some(command.pool);
    // The probed configuration stays what it was, and so do the votes.
    monitor.meta.generation += 1;
    let changed = audit::differences(&describe_monitor(present), &describe_monitor(&monitor));
    let writes = changes(&sdk_keys(present), &sdk_keys(&monitor));
    let (instance, reply) = (monitor.instance, object_reply(&monitor.meta));
    audit::record(
        state,
        context,
        "set-connection-pool",
        Some(command.monitor),
        Vec::new(),
        changed,
    );
    state.monitors.insert(command.monitor, Arc::new(monitor));
    if !writes.is_empty() {
        system_write(state, context, instance, &writes);
    }
    context.wake.monitors = true;
    // A failover may have waited for nothing but this.
    health::evaluate(state, context, &[command.monitor]);
    reply
}
